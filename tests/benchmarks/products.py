"""What products cost: seconds and memory by the number of draws, files, and scores.

`python -m tests.benchmarks products`, or `python -m tests.benchmarks.products --help`. Two cases:
the wind bundle on real input, drawing as it does by default; and six parameters on the globe of a
quarter degree, a narrow `adm` with random weights and one call a tile, since it is not the network
that is measured: IPSL-AID's has 50 times as many weights, beside which the shares are far smaller.

Memory: one step by `downscaled replay` in a process of its own, with statistics alone and with all
draws kept. Shares: see `products_shares`. The tables that are printed are Markdown.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from engines.bundle import locate
from tests.benchmarks import forecast, products_shares
from tests.benchmarks.products_shares import Case, Spent, configuration
from tests.conftest import REPOSITORY
from tests.end_to_end.six import NAMES, Globe, coarse_message, ecmwf, import_bundle

WHOLE = Globe((721, 1440), coarse=(80, 128), tile=(144, 360), width=32, levels=1, draws=1)
CASES, PARTS = ("wind", "six"), ("memory", "shares")
STATISTICS = ["mean", "variance"]
_MIB_KB = 1024
_POLL_S = 0.02


def run(
    folder: Path,
    bundle: str,
    home: Path,
    cases: Sequence[str] = CASES,
    parts: Sequence[str] = PARTS,
    *,
    quick: bool = False,
) -> None:
    """Print a table of memory and one of shares for each case.

    quick: the fewest draws and steps, and a narrower `adm`, to see that all of it works; its
    figures say nothing.
    """
    makers: dict[str, Callable[[Path], Case]] = {
        "wind": partial(_wind, folder, bundle, quick=quick),
        "six": partial(_six, quick=quick),
    }
    for name in cases:
        (home / name).mkdir()
        case = makers[name](home / name)
        print(f"\n{case.title}:", flush=True)
        if "memory" in parts:
            _print_memory(case)
        if "shares" in parts:
            products_shares.print_shares(case, _spent)


def _print_memory(case: Case) -> None:
    print("\n| draws | mean and variance, s | MiB | all draws, s | MiB |\n|---|---|---|---|---|")
    for draws in case.draws:
        told, kept = (_replayed(case, draws, of) for of in (STATISTICS, ["draws"]))
        figures = (told.seconds, told.peak_mib, kept.seconds, kept.peak_mib)
        print(f"| {draws} | {' | '.join(_digits(figure) for figure in figures)} |", flush=True)


def _digits(figure: float) -> str:
    return f"{figure:.0f}" if figure >= 100 else f"{figure:.1f}"


def _replayed(case: Case, draws: int, of: Sequence[str]) -> Spent:
    """Replay one step; its seconds are those from the first record to the last commit."""
    output = case.home / "output"
    shutil.rmtree(output, ignore_errors=True)
    path = case.home / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(case, draws, of)))
    spent = _spent(["replay", str(path), "--input", str(case.steps[0]), "--output", str(output)])
    shutil.rmtree(output)
    return spent


def _spent(arguments: Sequence[str]) -> Spent:
    """Run one of our commands; SystemExit with what it said where it fails."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "streamer.commands.main", *arguments, "--json"]
    with tempfile.TemporaryFile() as found, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=found, stderr=said, cwd=REPOSITORY)
        peak_kb = 0
        while process.poll() is None:
            peak_kb = max(peak_kb, _high_water_kb(process.pid))
            time.sleep(_POLL_S)
        seconds = time.perf_counter() - started
        found.seek(0)
        said.seek(0)
        if process.returncode:
            raise SystemExit(said.read().decode(errors="replace"))
        told: Mapping[str, float] = json.loads(found.read())
    return Spent(told.get("seconds", seconds), peak_kb / _MIB_KB)


def _high_water_kb(pid: int) -> int:
    """Return the most memory a process has had; what wait4 tells counts who started it, too."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def _wind(folder: Path, bundle: str, home: Path, *, quick: bool) -> Case:
    count = 2 if quick else 4
    steps = [
        _written(home, number, messages)
        for number, messages in enumerate(forecast.steps(folder, count))
    ]
    return Case(
        title="wind, 181x360, 2 parameters, the bundle's own sampler",
        home=home,
        bundle=locate(bundle),
        steps=steps,
        minutes=(0,),
        draws=(2, 4) if quick else (4, 16, 32),
        drawn=2 if quick else 4,
    )


def _six(home: Path, *, quick: bool) -> Case:
    globe = replace(WHOLE, width=8) if quick else WHOLE
    with contextlib.redirect_stdout(sys.stderr):
        imported = import_bundle(home, globe, architecture="adm")
    sender = ecmwf(WHOLE.shape)
    hours = (3, 6)
    return Case(
        title=f"adm of width {globe.width}, 721x1440, 6 parameters, 1 call a tile",
        home=home,
        bundle=imported.bundle,
        steps=[
            _written(home, hour, [coarse_message(name, hour, sender) for name in NAMES])
            for hour in hours
        ],
        minutes=tuple(60 * hour for hour in hours),
        draws=(2,) if quick else (2, 6),
        drawn=1,
    )


def _written(home: Path, number: int, messages: Sequence[bytes]) -> Path:
    folder = home / "input"
    folder.mkdir(exist_ok=True)
    path = folder / f"{number:02}.grib2"
    path.write_bytes(b"".join(messages))
    return path


def main() -> None:
    """Run what is asked for, in a folder that is gone afterwards."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.products",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--quick", action="store_true", help="only to see that it works")
    parser.add_argument("--bundle", default="gfs-wind-4to1", help="of the case `wind`")
    winds = REPOSITORY.parent / "shared" / "data" / "gfs-wind-1deg" / "train"
    parser.add_argument("--data", type=Path, default=winds, help="10u and 10v at 1 degree")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="downscaled-bench-") as home:
        given = chosen.data, chosen.bundle, Path(home)
        run(*given, chosen.cases, chosen.parts, quick=chosen.quick)


if __name__ == "__main__":
    main()
