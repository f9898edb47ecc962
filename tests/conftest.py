"""What all tests share: real data, tools, and how a missing part is told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# Two shared cores make any deadline a coin toss, and the tests leave nothing in the checkout.
settings.register_profile("house", deadline=None, database=None, print_blob=True)
settings.load_profile("house")

REPOSITORY = Path(__file__).resolve().parents[1]

# ONNX Runtime sends events to its maker unless it is told not to before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

#: Where more fixtures are: `kafka_broker`, a real Apache Kafka; `wind_bundle`, a global one.
pytest_plugins = ("tests.kafka_broker", "tests.wind")

#: What the wheel installs.
PACKAGES = ("engines", "monitoring", "streamer")

#: Where a tool comes from, told when it is missing.
TOOLS = {
    "cdo": "Debian package cdo",
    "grib_ls": "Debian package libeccodes-tools",
    "java": "Debian package default-jre-headless",
    "kcat": "Debian package kcat",
    "mvn": "Debian package maven",
}


def skip_at_a_desk(reason: str) -> None:
    """Skip the test with `reason`; fail it where CI is set, which promises every part."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must have it", pytrace=False)
    pytest.skip(reason)


def require_tool(name: str) -> str:
    """Return the path of a program; without it the test skips at a desk and fails in CI."""
    found = shutil.which(name)
    if found is None:
        skip_at_a_desk(f"{name} is not installed ({TOOLS.get(name, 'not on the PATH')})")
    return str(found)


def tracked() -> list[Path]:
    """Return the files of the repository, as git knows them."""
    require_tool("git")
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("not a git checkout, so nothing says which files belong to the project")
    files = [REPOSITORY / name for name in done.stdout.split("\0") if name]
    return [path for path in files if path.exists()]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout that is tested."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real GRIB and NetCDF, beside the checkout or where DOWNSCALED_SHARED_DATA says."""
    named = os.environ.get("DOWNSCALED_SHARED_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(
            f"no real data: {folder} is not a folder (DOWNSCALED_SHARED_DATA names another)"
        )
    return folder
