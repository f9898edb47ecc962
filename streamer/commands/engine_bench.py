"""`downscaled engine bench`: one bundle on every backend that runs here, as a table and a plot."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engines.bench import BASELINE, Measured, contenders, cores, measured
from engines.bundle import Bundle, open_manifest
from engines.devices import gpus
from engines.errors import BundleError, UsageError
from engines.hardware import hardware
from streamer.commands.console import progress, result, say
from streamer.verify.engine_picture import EngineBar, save_engines

#: Of the cores: more work than this in the minute before, and timings mean little.
_BUSY = 0.3
#: A contender that takes longer is listed with that reason.
_LIMIT_S = 900.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="a folder, or a name that ships")
    add("--device", help="cpu, cuda or cuda:1; default: the CPU, and a GPU if there is one")
    add("--batch", type=int, default=4, help="the most tiles in one call (4)")
    add("--threads", type=int, help="of every engine on a CPU; default: every core")
    add("--plot", type=Path, metavar="FILE", help="draw it too, as PNG")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and draw; 0 when something ran."""
    if arguments.batch < 1:
        raise UsageError(f"--batch is {arguments.batch}, wanted at least 1")
    bundle = open_manifest(arguments.bundle)
    devices = [arguments.device] if arguments.device else ["cpu", *(["cuda"] if gpus() else [])]
    load = os.getloadavg()[0]
    if load > _BUSY * cores():
        # Threads that spin while they wait suffer tenfold from a neighbour; others hardly.
        say(f"the machine is busy (load {load:.1f}, {cores()} cores): ratios will be wrong")
    tables = []
    for device in devices:
        among = contenders(device, arguments.batch, arguments.threads or cores())
        say(f"measuring {len(among)} engines on {device}, each in a process of its own")
        found = measured(bundle, among, progress(len(among), "engines"), _LIMIT_S)
        tables.append(_table(bundle, device, found))
    if arguments.plot:
        _draw(bundle, tables, arguments.plot)
    plain = {"bundle": bundle.name, "digest": bundle.digest, "load": load, "devices": tables}
    text = "\n\n".join(_text(bundle, table) for table in tables)
    result(plain if arguments.json else text, as_json=arguments.json)
    return 0 if any(row["runs"] for table in tables for row in table["engines"]) else 1


def _table(bundle: Bundle, device: str, found: Sequence[Measured]) -> dict[str, Any]:
    """Return what was measured on a device, as numbers."""
    eager = [
        m for m in found if m.contender.name == BASELINE and m.contender.choice.precision == "f32"
    ]
    base = next((m.proof.seconds_a_tile for m in eager if m.proof), None)
    runs = sorted({str(m.contender.choice.precision) for m in found if m.proof})
    limits, reason = _limits(bundle, device, runs)
    shown = hardware("cpu") if device == "cpu" else hardware(device)
    return {
        "device": device,
        "name": shown.device,
        "units": shown.units,
        "limits": limits,
        "without_limits": reason,
        "engines": [_row(one, base, limits) for one in found],
    }


def _row(one: Measured, base: float | None, limits: dict[str, Any]) -> dict[str, Any]:
    choice, proof = one.contender.choice, one.proof
    head = {"engine": one.contender.name, "precision": choice.precision, "runs": proof is not None}
    if proof is None:
        return head | {"reason": one.fault}
    row = head | {
        "version": proof.key.version,
        "seconds_a_call": {str(tiles): value for tiles, value in proof.seconds.items()},
        "tiles_per_s": 1.0 / proof.seconds_a_tile,
        "seconds_to_open": proof.opened_s,
        "peak_bytes": proof.peak_bytes,
        "device_bytes": proof.device_bytes,
        "error": proof.error,
        "bound": proof.bound,
        "ratio_to_eager": base / proof.seconds_a_tile if base else None,
    }
    limit = limits.get(str(choice.precision))
    if limit is not None:
        took_s = proof.seconds_a_tile
        row["share_of_arithmetic"] = limit["flops_a_tile"] / limit["flops_per_s"] / took_s
        row["share_of_bandwidth"] = limit["bytes_a_tile"] / limit["bytes_per_s"] / took_s
    return row


def _limits(bundle: Bundle, device: str, runs: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Return what the network needs and the device can do, by precision; or why that is unknown."""
    try:
        # torch is heavy, and everything else here does without it.
        from engines import limits  # noqa: PLC0415

        work = limits.work(bundle)
    except (ModuleNotFoundError, BundleError) as error:
        return {}, str(error)
    found = {}
    for precision in runs:
        top = limits.ceiling(device, precision)
        found[precision] = {
            "flops_a_tile": work.flops,
            "bytes_a_tile": work.numbers * (4 if precision == "f32" else 2),
            "flops_per_s": top.flops_per_s,
            "bytes_per_s": top.bytes_per_s,
        }
    return found, ""


def _text(bundle: Bundle, table: dict[str, Any]) -> str:
    """Return the table as a person reads it."""
    lines = [f"{bundle.name} on {table['device']}, {table['name']}, {table['units']} units"]
    lines += [
        f"{precision}: {limit['flops_a_tile'] / 1e9:.1f} GFLOP a tile, device measured at "
        f"{limit['flops_per_s'] / 1e9:.0f} GFLOP/s and {limit['bytes_per_s'] / 1e9:.0f} GB/s"
        for precision, limit in table["limits"].items()
    ]
    if table["without_limits"]:
        lines.append(f"shares of the limits are unknown: {table['without_limits']}")
    ran = [row for row in table["engines"] if row["runs"]]
    sizes = sorted({int(tiles) for row in ran for tiles in row["seconds_a_call"]})
    head = ["engine", "", *(f"s for {tiles}" for tiles in sizes), "tiles/s", "x eager", "error"]
    cells = [[*head, "peak MB", "GPU MB", "arithmetic", "bandwidth"]]
    cells += [_cells(row, sizes) for row in ran]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    for row in cells:
        first, *rest = (text.ljust(w) if i < 2 else text.rjust(w)
                        for i, (text, w) in enumerate(zip(row, widths, strict=True)))  # fmt: skip
        lines.append("  ".join([first, *rest]).rstrip())
    lines += [
        f"{row['engine']} {row['precision']} does not run here: {row['reason']}"
        for row in table["engines"]
        if not row["runs"]
    ]
    return "\n".join(lines)


def _cells(row: dict[str, Any], sizes: Sequence[int]) -> list[str]:
    seconds = row["seconds_a_call"]
    shares = (row.get("share_of_arithmetic"), row.get("share_of_bandwidth"))
    return [
        row["engine"],
        row["precision"],
        *(f"{seconds[str(tiles)]:.3g}" if str(tiles) in seconds else "-" for tiles in sizes),
        f"{row['tiles_per_s']:.3g}",
        "-" if row["ratio_to_eager"] is None else f"{row['ratio_to_eager']:.2f}",
        f"{row['error']:.1e}",
        f"{row['peak_bytes'] / 1e6:.0f}",
        f"{row['device_bytes'] / 1e6:.0f}" if row["device_bytes"] else "-",
        *("-" if share is None else f"{share:.0%}" for share in shares),
    ]


def _draw(bundle: Bundle, tables: Sequence[dict[str, Any]], path: Path) -> None:
    bars = [
        EngineBar(
            name=f"{row['engine']} {row['precision']}, {table['device']}",
            tiles_per_s=row["tiles_per_s"],
            ratio=row["ratio_to_eager"],
            error=row["error"],
        )
        for table in tables
        for row in table["engines"]
        if row["runs"]
    ]
    if not bars:
        raise UsageError(f"nothing ran, so there is nothing to draw into {path}")
    where = "; ".join(f"{table['device']}: {table['name']}" for table in tables)
    save_engines(bars, f"{bundle.name}, {bundle.tile[0]} x {bundle.tile[1]} points", where, path)
