"""Measures PyTorch on a device: `python -m tests.benchmarks.gpu`, or `make bench-gpu`.

Needs torch, numpy and safetensors only. First what must hold (answers, bytes that repeat, lack of
memory), then every way to run the networks, batch 1 to 64: milliseconds a call, tiles a second,
peak memory, error against eager float32, share of what the card can do, and ratio to eager fp16 at
batch 1 a tile. Each result is a JSON line of FILE; checks and tables go to standard output.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

from engines.backends.torch_network import device_of, settle
from tests.benchmarks.gpu_bench import Bench, Result
from tests.benchmarks.gpu_cases import Case, foreign, narrow, wind
from tests.benchmarks.gpu_checks import checks
from tests.benchmarks.gpu_timing import ceilings
from tests.benchmarks.gpu_ways import measure, measure_compiled, profile

BATCHES = (1, 2, 4, 8, 16, 32, 64)
BASELINE = ("eager", "fp16", 1)
COLUMNS = (
    "way", "precision", "batch", "ms a call", "tiles/s", "ratio", "of FLOP/s", "of the floor",
    "error", "peak GB",
)  # fmt: skip


def main() -> int:
    """Run all of it; 1 where a check failed."""
    chosen = _arguments()
    device = device_of(chosen.device)
    settle(device)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    with chosen.output.open("w", encoding="utf-8") as output:
        deadline = time.monotonic() + chosen.budget_s
        side, copied = (256, 1 << 22) if chosen.quick else (8192, 1 << 31)
        limits = ceilings(device, side, copied)
        batches = (1, 2) if chosen.quick else BATCHES
        bench = Bench(device, limits, output, deadline, batches)
        bench.note("machine", **_machine(device))
        bench.note("ceilings", **asdict(limits))
        print(json.dumps(asdict(limits)), flush=True)
        cases = [_case(name, quick=chosen.quick) for name in chosen.networks]
        for case in cases:
            _check(bench, case)
            measure(bench, case)
        for case in cases:
            measure_compiled(bench, case)
        for case in cases:
            _print_table(bench, case.name)
        for case in cases if device.type == "cuda" else ():
            profile(bench, case, chosen.output.parent)
    return 0 if all(found["ok"] for found in bench.found("check")) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "networks", nargs="*", default=["wind", "adm"], help="wind, adm, ddpmpp, ncsnpp"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="narrow networks, for a desk")
    parser.add_argument("--budget-s", type=float, default=255.0, help="what is later is left out")
    folder = Path(os.environ.get("OUT", "."))
    parser.add_argument("--output", type=Path, default=folder / "gpu.jsonl", metavar="FILE")
    return parser.parse_args()


def _machine(device: torch.device) -> Result:
    facts: Result = {"torch": torch.__version__, "device": str(device)}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        facts |= {"name": card.name, "bytes": card.total_memory, "cuda": torch.version.cuda}
        facts |= {"cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    return facts


def _case(name: str, *, quick: bool) -> Case:
    case = wind() if name == "wind" else foreign(name)
    return narrow(case) if quick else case


def _check(bench: Bench, case: Case) -> None:
    for found in checks(case, bench.device):
        bench.note("check", **found)
        print("ok  " if found["ok"] else "FAIL", json.dumps(found, default=float), flush=True)
        bench.let_go()


def _print_table(bench: Bench, network: str) -> None:
    rows = [row for row in bench.found("way") if row["network"] == network]
    named = {(row["way"], row["precision"], row["batch"]): row for row in rows}
    if BASELINE not in named:
        print(f"\n## {network}\nno baseline was measured")
        return
    base = named[BASELINE]["ms_a_tile"]
    print(f"\n## {network}\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        cells = (
            row["way"], row["precision"], row["batch"], f"{row['ms']:.3f}",
            f"{row['tiles_per_s']:.1f}", f"{base / row['ms_a_tile']:.2f}",
            f"{row['share_of_flops']:.3f}", f"{row['share_of_floor']:.3f}",
            f"{row['error']:.1e}" if row["error"] is not None else "",
            f"{row['peak_bytes'] / 1e9:.2f}",
        )  # fmt: skip
        print(f"| {' | '.join(map(str, cells))} |")
    for row in bench.found("left out"):
        if row["network"] == network:
            print(f"left out: {row['way']} {row['precision']} batch {row['batch']}: {row['why']}")


if __name__ == "__main__":
    sys.exit(main())
