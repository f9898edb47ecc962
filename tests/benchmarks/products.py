"""What products cost: seconds and memory by the number of draws, files, and scores.

`python -m tests.benchmarks products`. Each line is a whole `downscaled replay` of one step in a
process of its own: the wind bundle on real input, and six parameters on the globe of a quarter
degree, a narrow `adm` with random weights and one call a tile, since it is not the network that
is measured. Statistics alone must not grow with the draws.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from engines.bundle import locate
from tests.benchmarks import forecast
from tests.end_to_end.six import NAMES, Globe, coarse_message, ecmwf, import_bundle

WHOLE = Globe((721, 1440), coarse=(80, 128), tile=(144, 360), width=32, levels=1, draws=1)
WIND_DRAWS, SIX_DRAWS = (4, 16, 64), (2, 4, 8)
STATISTICS = ["mean", "variance"]
FORMATS = ("grib", "netcdf", "geotiff", "zarr")
_MIB_KB = 1024
_POLL_S = 0.02


@dataclass(frozen=True)
class Case:
    """A bundle and one step for it."""

    name: str
    bundle: Path
    step: Path
    draws: Sequence[int]
    more: Mapping[str, Any]


@dataclass(frozen=True)
class Spent:
    """What a command took: wall time, and the most memory that its process had."""

    seconds: float
    peak_mib: float


def run(folder: Path, bundle: str, home: Path) -> None:
    """Print a line for every number of draws, with statistics alone and with all draws."""
    makers: dict[str, Callable[[Path], Case]] = {
        "wind": partial(_wind, folder, bundle),
        "six": _six,
    }
    for name, make in makers.items():
        case = make(home / name)
        print(f"{case.name}:")
        for draws in case.draws:
            told = _replayed(case, home, draws, STATISTICS)
            kept = _replayed(case, home, draws, ["draws"])
            print(
                f"  {draws:3d} draws: mean and variance {told.seconds:.1f} s, "
                f"{told.peak_mib:.0f} MiB; all draws {kept.seconds:.1f} s, {kept.peak_mib:.0f} MiB",
                flush=True,
            )
        _print_shares(case, home)


def _print_shares(case: Case, home: Path) -> None:
    """Print what files and scores cost, as shares of a replay."""
    draws = case.draws[0]
    plain = _replayed(case, home, draws, ["draws"])
    for one in FORMATS:
        files = [{"format": one, "folder": str(home / "files" / one)}]
        spent = _replayed(case, home, draws, ["draws"], files)
        more = (spent.seconds - plain.seconds) / plain.seconds
        print(f"  {one} files: {more:+.1%} of {plain.seconds:.1f} s, {draws} draws", flush=True)
    scored = _spent(["verify", str(home / "output" / "fine"), "--truth", str(case.step), "--json"])
    print(f"  scores: {scored.seconds / plain.seconds:.1%}", flush=True)


def _replayed(
    case: Case,
    home: Path,
    draws: int,
    of: Sequence[str],
    files: Sequence[Mapping[str, str]] = (),
) -> Spent:
    config = {
        "bus": {"memory": True, "group_id": "products"},
        "input": {"topic": "coarse", "steps": "0/3"},
        "output": {"topic": "fine", "files": list(files)},
        "model": {"bundle": str(case.bundle), "draws": draws},
        "products": [{"name": "all", "of": list(of)}],
        "engine": {"cache": str(home / "cache")},
        **case.more,
    }
    shutil.rmtree(home / "output", ignore_errors=True)
    path = home / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    arguments = ["--input", str(case.step), "--output", str(home / "output"), "--json"]
    return _spent(["replay", str(path), *arguments])


def _spent(arguments: Sequence[str]) -> Spent:
    """Run one of our commands; SystemExit with what it said where it fails."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "streamer.commands.main", *arguments]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        peak_kb = 0
        while process.poll() is None:
            peak_kb = max(peak_kb, _high_water_kb(process.pid))
            time.sleep(_POLL_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode(errors="replace"))
    return Spent(seconds, peak_kb / _MIB_KB)


def _high_water_kb(pid: int) -> int:
    """Return the most memory a process has had; what wait4 tells counts who started it, too."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _wind(folder: Path, bundle: str, home: Path) -> Case:
    home.mkdir()
    (messages,) = forecast.steps(folder, 1)
    (home / "step.grib2").write_bytes(b"".join(messages))
    return Case("wind, 181x360, 2 parameters", locate(bundle), home / "step.grib2", WIND_DRAWS, {})


def _six(home: Path) -> Case:
    home.mkdir()
    imported = import_bundle(home, WHOLE, architecture="adm")
    sender = ecmwf(WHOLE.shape)
    step = home / "step.grib2"
    step.write_bytes(b"".join(coarse_message(name, 3, sender) for name in NAMES))
    name = "adm of width 32, 721x1440, 6 parameters"
    return Case(name, imported.bundle, step, SIX_DRAWS, {"limits": {"workers": 1}})
