"""What products cost: seconds and memory by the number of draws, files, and scores.

`python -m tests.benchmarks products`. Each line is a whole `downscaled replay` of one step in a
process of its own: the wind bundle on real input, and six parameters on the globe of a quarter
degree, a narrow `adm` with random weights and one call a tile, since it is not the network that
is measured. Statistics alone must not grow with the draws.
"""

import os
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
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = status
        if status:
            said.seek(0)
            raise SystemExit(said.read().decode(errors="replace"))
    return Spent(seconds, usage.ru_maxrss / _MIB_KB)


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
