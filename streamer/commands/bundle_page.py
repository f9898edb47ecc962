"""The page on which a scientist can check a bundle: every fact that decides its numbers."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engines.calibration import parse_calibration
from engines.manifest import Normalisation
from engines.sampler import SamplerSettings, calls
from streamer.commands.bundle_table import section
from streamer.downscale.tiles import Layout

Model = Mapping[str, Any]


def facts(model: Model, statistics: Mapping[str, Normalisation], weights: int) -> dict[str, Any]:
    """Return what the page says as JSON values, in the network's order of channels.

    model: the manifest's JSON values. weights: how many numbers the network learned.
    """
    bodies = model["grib"].get("parameters", {})
    sampler = asdict(_sampler(model))
    once = calls(_sampler(model), model["preconditioning"]["kind"])
    tiles = len(_layout(model).tiles)
    return {
        "name": model["name"],
        "description": model.get("description", ""),
        "parameters": [
            {"name": name, **bodies.get(name, {}), "normalisation": asdict(statistics[name])}
            for name in model["channels"]
        ],
        "grid": model["grib"].get("grid", {}),
        "coarse": model["grib"].get("coarse", {}),
        "interpolation": model["grib"].get("interpolation", "resize"),
        "constraints": model["grib"].get("constraints"),
        "constants": model["constants"],
        "labels": model["labels"],
        "network": {**model.get("network", {}), "parameters": weights},
        "preconditioning": model["preconditioning"],
        "tile": model["tile"],
        "overlap": model["overlap"],
        "tiles": tiles,
        # JSON has no infinity.
        "sampler": sampler
        | {"s_max": None if math.isinf(sampler["s_max"]) else sampler["s_max"]}
        | {"calls": once, "calls_a_draw": once * tiles},
        "calibration": model.get("calibration"),
        "training": model["training"],
        "licence": model["licence"],
        "attribution": model["attribution"],
    }


def page(found: Mapping[str, Any]) -> str:
    """Return one page of Markdown from what `facts` found."""
    sections = (
        f"# {found['name']}\n\n{found['description']}",
        _parameters(found),
        _normalisation(found),
        _condition(found),
        _network(found),
        _constraints(found),
        _cost(found),
        _table(found),
        "## How it was made\n" + "\n".join(_lines(found["training"])),
        f"## Licence and attribution\n{found['licence']}.\n{found['attribution']}",
    )
    return "\n\n".join(one.strip() for one in sections if one) + "\n"


def _parameters(found: Mapping[str, Any]) -> str:
    rows = [
        f"| {i} | {one['name']} | {one.get('units', '?')}{_rate(one)} | {_identities(one)} "
        f"| {_range(one)} |"
        for i, one in enumerate(found["parameters"])
    ]
    head = [
        "## Parameters, in the network's order",
        "",
        "| channel | parameter | units | paramId | sound values |",
        "|---|---|---|---|---|",
    ]
    return "\n".join(head + rows)


def _rate(one: Mapping[str, Any]) -> str:
    per = one.get("accumulation", {}).get("per")
    return f" per {per}, from accumulations" if per else ""


def _identities(one: Mapping[str, Any]) -> str:
    texts = []
    for identity in one.get("identities", ()):
        extra = [f"{k} {v}" for k, v in identity.items() if k not in ("paramId", "factor")]
        factor = identity.get("factor", 1.0)
        extra += [f"times {factor:g}"] if factor != 1.0 else []
        texts.append(f"{identity['paramId']}{' (' + ', '.join(extra) + ')' if extra else ''}")
    return ", ".join(texts) or "?"


def _range(one: Mapping[str, Any]) -> str:
    limits = one.get("range")
    return f"{limits[0]:g} to {limits[1]:g}" if limits else "any"


def _normalisation(found: Mapping[str, Any]) -> str:
    rows = []
    for one in found["parameters"]:
        n = one["normalisation"]
        of = "ln(1 + value)" if n["transform"] == "log1p" else "value"
        rows.append(
            f"| {one['name']} | {of} | {n['coarse_mean']:.6g} | {n['coarse_std']:.6g} "
            f"| {n['fine_mean']:.6g} | {n['fine_std']:.6g} | {n['residual_std']:.6g} |"
        )
    head = [
        "## Normalisation",
        "(f(value) - mean) / deviation; residual = (fine - coarse) / its deviation.",
        "",
        "| parameter | f | coarse mean | deviation | fine mean | deviation | of the residual |",
        "|---|---|---|---|---|---|---|",
    ]
    return "\n".join(head + rows)


def _condition(found: Mapping[str, Any]) -> str:
    grid, coarse = found["grid"], found["coarse"]
    lines = ["## What it is told"]
    if {"rows", "columns", "spacing_lat", "spacing_lon", "north", "west"} <= set(grid):
        lines.append(
            f"- Fine grid: {grid['rows']} rows from {grid['north']:g} N every "
            f"{grid['spacing_lat']:g} degrees, {grid['columns']} columns from {grid['west']:g} E "
            f"every {grid['spacing_lon']:g}."
        )
    if "resize" in coarse:
        rows, columns = coarse["resize"]["rows"], coarse["resize"]["columns"]
        lines.append(
            f"- Coarse fields: resized as images to {rows}x{columns} points and back, bilinear, "
            "antialiased, not periodic."
        )
    elif "grid" in coarse:
        lon, lat = coarse["grid"]
        lines.append(
            f"- Coarse fields: MIR `{coarse['interpolation']}` to {lat:g}x{lon:g} degrees, "
            f"back by `{found['interpolation']}`."
        )
    lines += [
        f"- Constants: {', '.join(found['constants']) or 'none'}.",
        f"- Labels of the valid time: {', '.join(found['labels']) or 'none'}.",
    ]
    return "\n".join(lines)


def _network(found: Mapping[str, Any]) -> str:
    network, around = found["network"], found["preconditioning"]
    (height, width), (rows, columns) = found["tile"], found["overlap"]
    told = {k: v for k, v in network.items() if k not in ("parameters", "tile", "architecture")}
    name = network.get("architecture", "an unnamed architecture")
    is_direct = around["kind"] == "direct"
    around_it = (
        "none: a plain regression of the condition"
        if is_direct
        else f"{around['kind']}, sigma_data {around['sigma_data']:g}; "
        "the condition is scaled like the residual"
    )
    details = f": {', '.join(f'{k} {_plain(v)}' for k, v in told.items())}" if told else ""
    return (
        f"## Network\n- {name}, {network['parameters']:,} weights{details}.\n"
        f"- Preconditioning: {around_it}.\n"
        f"- Tiles of {height}x{width} points that share at least {rows}x{columns}: "
        f"{found['tiles']} for the whole grid."
    )


def _end(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


def _constraints(found: Mapping[str, Any]) -> str:
    part = found["constraints"] or {}
    lines = [
        f"- {name}: {_end(low)} to {_end(high)}."
        for name, (low, high) in part.get("bounds", {}).items()
    ]
    lines += [f"- {one['below']} not above {one['above']}." for one in part.get("relations", [])]
    kept = {name: way for name, way in part.get("conservation", {}).items() if way != "none"}
    lines += [f"- Box means of {name} are the coarse field's, {way}." for name, way in kept.items()]
    return "\n".join(["## What every draw must obey", *lines]) if lines else ""


def _cost(found: Mapping[str, Any]) -> str:
    s, tiles = found["sampler"], found["tiles"]
    cost = (
        f"{s['calls']} network calls a tile and draw, {s['calls_a_draw']} a draw of {tiles} tiles"
    )
    if found["preconditioning"]["kind"] == "direct":
        return f"## Sampler\nNone: a plain regression, the same answer whatever the seed; {cost}."
    most = "no limit" if s["s_max"] is None else f"{s['s_max']:g}"
    aside = ", where the table is left aside" if found["calibration"] else ", as recommended"
    return (
        f"## Sampler{aside}\n"
        f"Heun, {s['steps']} levels from {s['sigma_max']:g} to {s['sigma_min']:g}, "
        f"rho {s['rho']:g}, churn {s['s_churn']:g} (between {s['s_min']:g} and {most}, "
        f"noise {s['s_noise']:g}): {cost}."
    )


def _table(found: Mapping[str, Any]) -> str:
    if found["calibration"] is None:
        return ""
    table = parse_calibration(found["calibration"], [])
    assert table is not None  # who opened the bundle refused anything else
    return "\n".join([section(table), *_lines(table.told)])


def _lines(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """Return nested facts as a list; whatever a bundle's maker thought worth telling."""
    lines = []
    for key, one in value.items():
        if isinstance(one, Mapping) and one:
            lines += [f"{indent}- {key}:", *_lines(one, indent + "  ")]
        else:
            lines.append(f"{indent}- {key}: {_plain(one)}")
    return lines or ["- nothing is told"]


def _plain(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not stated"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value)) or "none"
    return str(value) or "none"


def _sampler(model: Model) -> SamplerSettings:
    stated = dict(model["sampler"])
    if stated.get("s_max", 0) is None:
        del stated["s_max"]
    return SamplerSettings(**stated)


def _layout(model: Model) -> Layout:
    shape, tile, overlap = (
        (int(model[key][0]), int(model[key][1])) for key in ("shape", "tile", "overlap")
    )
    return Layout.cover(shape, tile, overlap, periodic=model["periodic"])
