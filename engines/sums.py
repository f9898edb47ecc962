"""Sums as `sha256sum` writes and checks them, and what is wrong with the files they stand for."""

import hashlib
import re
from pathlib import Path

from engines.errors import BundleError

SUMS = "SHA256SUMS"

_SUM_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def parse_sums(raw: bytes, listed: Path) -> dict[str, str]:
    """Return the sums by file name. Raises BundleError naming the line that is none."""
    sums: dict[str, str] = {}
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), start=1):
        matched = _SUM_LINE.fullmatch(line)
        if matched is None:
            raise BundleError(
                f"{listed}, line {number}: found {line[:80]!r}, wanted 64 hexadecimal digits, "
                "two spaces and a file name"
            )
        sums[matched[2]] = matched[1]
    return sums


def file_fault(path: Path, name: str, wanted: str) -> str:
    """Return what is wrong with a file of a folder, "" where nothing is."""
    file = path / name
    # A name such as ../x, an absolute one, or a link that leads out of the folder.
    if Path(name).name != name or not file.resolve().is_relative_to(path.resolve()):
        return "points outside the bundle"
    if not file.is_file():
        return "missing"
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    return "" if found == wanted else f"SHA-256 is {found}, {SUMS} says {wanted}"
