"""What is installed and from what: the wheel, the lock, the Makefile."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import PurePosixPath

import pytest
from packaging.requirements import Requirement

from tests.conftest import PACKAGES, REPOSITORY, require_tool, tracked


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built without a network from a copy, so that the checkout stays clean."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked():
        target = copy / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(out), str(copy)],
        check=True,
        capture_output=True,
        timeout=100,
    )
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_installs_the_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {PurePosixPath(name).parts[0] for name in wheel.namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    names = (path.relative_to(REPOSITORY).as_posix() for path in tracked())
    wanted = {name for name in names if name.split("/")[0] in PACKAGES}

    assert wanted - set(wheel.namelist()) == set()


def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    meta = {
        name.partition(".dist-info/")[2]: name for name in wheel.namelist() if "dist-info" in name
    }

    scripts = wheel.read(meta["entry_points.txt"]).decode()
    assert "downscaled = streamer.commands.main:main" in scripts
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= set(meta)


def project() -> dict[str, list[Requirement]]:
    """Return what pyproject.toml asks for: per lock, the requirements that it serves."""
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = table["optional-dependencies"]
    run = [Requirement(text) for text in table["dependencies"]]
    locked = extras["torch"] + extras["files"] + extras["dev"]
    return {"run": run, "dev": run + [Requirement(text) for text in locked]}


def locked(name: str) -> list[tuple[Requirement, str]]:
    """Return what a lock pins, each with the lines of its hashes."""
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    entries = re.findall(
        r"^([\w.\-\[\]]+==[^\\\n]+?) *\\\n((?:    --hash=.*\n)+)", text, re.MULTILINE
    )
    return [(Requirement(pin), hashes) for pin, hashes in entries]


@pytest.mark.parametrize("name", ["run", "dev"])
def test_the_lock_pins_a_version_that_pyproject_accepts_for_every_requirement(name: str) -> None:
    pins: dict[str, list[str]] = {}
    for pin, _ in locked(name):
        pins.setdefault(pin.name.lower(), []).append(str(pin.specifier).removeprefix("=="))

    for wanted in project()[name]:
        versions = pins.get(wanted.name.lower(), [])
        assert versions, f"{wanted} is not in the lock: make lock"
        assert all(version in wanted.specifier for version in versions), f"{wanted}: {versions}"


@pytest.mark.parametrize("name", ["run", "dev"])
def test_every_line_of_the_lock_is_a_pin_with_its_hashes(name: str) -> None:
    lines = (REPOSITORY / "requirements" / f"{name}.txt").read_text().splitlines()

    pins = [line for line in lines if line and not line.startswith((" ", "#"))]

    assert len(pins) == len(locked(name))
    assert all(hashes.count("--hash=sha256:") >= 1 for _, hashes in locked(name))


def test_torch_is_a_matter_of_developers() -> None:
    assert "torch" not in {pin.name for pin, _ in locked("run")}
    assert "torch" in {pin.name for pin, _ in locked("dev")}


def test_make_help_explains_every_target() -> None:
    require_tool("make")
    text = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: (\S+)$", text, re.MULTILINE))

    # Below another make it would also say which folder it enters.
    words = ["make", "--no-print-directory"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert {line.split()[1] for line in done.stdout.splitlines()} == targets


def test_the_scripts_of_the_house_are_sound_bash() -> None:
    for script in (".ci/run", "requirements/lock", "deployment/kafka/kafka.sh"):
        subprocess.run(["bash", "-n", str(REPOSITORY / script)], check=True)
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & 0o111
