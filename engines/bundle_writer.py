"""Write a model to disk in the layout that `bundle.py` reads and verifies."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from engines import bundle
from engines.denoiser import Array
from engines.errors import DownscaledError, UsageError
from engines.manifest import FORMAT, Normalisation
from engines.sums import SUMS


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BundleParts:
    """All that a bundle is made of.

    model: the manifest without its format version. statistics: by channel. constants: (K, H, W)
    float32. golden: as `golden.py` reads it, without the bound. golden_bound: largest error of an
    engine relative to the largest value. network: the ONNX file's bytes. card: Markdown.
    """

    model: Mapping[str, Any]
    statistics: Mapping[str, Normalisation]
    constants: Array
    golden: Mapping[str, Array]
    golden_bound: float
    network: bytes
    weights: Mapping[str, Array]
    card: str


def write_bundle(folder: Path, parts: BundleParts) -> None:
    """Write a whole bundle or nothing: files appear under another name and then move.

    An older bundle at `folder` is replaced. Raises UsageError if something else is there.
    """
    _refuse_other(folder)
    beside = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    _write_json(beside / bundle.MODEL, {"format": FORMAT, **parts.model})
    _write_json(
        beside / bundle.STATISTICS, {name: asdict(one) for name, one in parts.statistics.items()}
    )
    np.savez_compressed(beside / bundle.CONSTANTS, constants=parts.constants)
    files = network_files(
        bundle.DENOISER, parts.network, parts.weights, parts.golden, parts.golden_bound
    )
    for name, content in files.items():
        (beside / name).write_bytes(content)
    (beside / bundle.CARD).write_text(parts.card, encoding="utf-8")
    seal(beside)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)


def rewrite(source: Path, output: Path, changes: Mapping[str, bytes]) -> None:
    """Write a bundle again with some files changed or added, all others as they are.

    output: the same folder, an older bundle, or a new folder. It holds the old bundle or the
    whole new one, whose files were read back before. Raises UsageError if something else is
    there, BundleError if the changes make no sound bundle.
    """
    _refuse_other(output)
    beside, old = (output.with_name(f"{output.name}.{end}") for end in ("new", "old"))
    for leftover in (beside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in {SUMS, *changes}:
            shutil.copyfile(path, beside / path.name)
    for name, content in changes.items():
        (beside / name).write_bytes(content)
    seal(beside)
    try:
        bundle.open_manifest(beside)
    except DownscaledError:
        shutil.rmtree(beside)
        raise
    if output.exists():
        output.rename(old)
    beside.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def network_files(
    name: str,
    network: bytes,
    weights: Mapping[str, Array],
    golden: Mapping[str, Array],
    golden_bound: float,
) -> dict[str, bytes]:
    """Return the files of one of a bundle's networks by their names; see `BundleParts`."""
    files = bundle.NETWORKS[name]
    packed = BytesIO()
    arrays: dict[str, Any] = dict(golden)
    np.savez_compressed(packed, bound=np.float32(golden_bound), **arrays)
    return {
        files.network: network,
        files.weights: save(dict(weights)),
        files.golden: packed.getvalue(),
    }


def seal(folder: Path) -> None:
    """Write the sums of all files of a bundle, which makes it one."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != SUMS
    ]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _refuse_other(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / SUMS).is_file():
        raise UsageError(f"{folder} holds something that is not a bundle, want a new folder")


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
