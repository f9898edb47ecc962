"""The page that a bundle says of itself to a person: written into it, shown by `bundle info`."""

from collections.abc import Mapping, Sequence
from typing import Any

Model = Mapping[str, Any]
COLUMNS = (
    "", "draws", "CRPS", "CRPS / baseline MAE", "MAE", "RMSE", "spread/skill",
    "baseline MAE, RMSE", "ridge RMSE",
)  # fmt: skip


def card(model: Model) -> str:
    """Return the model card, one page of Markdown, from the manifest's JSON values."""
    sections = (
        _head(model),
        _does(model),
        _scores(model),
        _sampler(model),
        _training(model),
        _limits(model),
        f"## Licence and attribution\n{model['licence']}.\n{model['attribution']}\n",
    )
    return "\n".join(section for section in sections if section)


def _head(model: Model) -> str:
    return f"# {model['name']}\n\n{model['description']}\n"


def _does(model: Model) -> str:
    grib, network = model["grib"], model["network"]
    rows, columns = model["shape"]
    spacing, coarse = grib["grid"]["spacing_lat"], grib["coarse"]
    names = ", ".join(f"{name} ({one['units']})" for name, one in grib["parameters"].items())
    tile, overlap = model["tile"], model["overlap"]
    return (
        "## What it does\n"
        f"- Parameters: {names}.\n"
        f"- From {coarse['grid'][0]:g} degrees (MIR `{coarse['interpolation']}`) "
        f"to {spacing:g} degree{'s' if spacing != 1 else ''}, {rows} rows of {columns} columns.\n"
        f"- It adds to the coarse field, interpolated by MIR `{grib['interpolation']}`, "
        "a residual drawn by a diffusion model; several draws make an ensemble.\n"
        f"- Constants it knows: {', '.join(model['constants'])}. No date, no hour.\n"
        f"- Network: SongUNet ({network['architecture']}), width {network['width']}, "
        f"multipliers {list(network['multipliers'])}, {network['blocks']} blocks a level, "
        f"{network['parameters'] / 1e6:.2f} million weights; "
        f"tiles of {tile[0]}x{tile[1]} points that share at least {overlap[0]}x{overlap[1]}.\n"
        f"- Preconditioning: {model['preconditioning']['kind']}, the residual in units of its own "
        "deviation.\n"
    )


def _scores(model: Model) -> str:
    training = model["training"]
    if not training["scores"]:
        return ""
    states, days = training["states"]["held_back"], ", ".join(training["held_back_days"])
    where = "whole globe" if model["periodic"] else "whole area"
    lines = [
        "## Scores",
        f"On {states} states of days that it never saw ({days}), area weighted, {where}.",
        "The baseline is the interpolated coarse field; CRPS is fair; MAE and RMSE are those of",
        "the ensemble mean; spread/skill carries the factor (D + 1) / D and is 1 at its best.",
        "",
        "The ridge regression is one for each point, learnt from the same states, its penalty",
        "chosen on the days held back. So was the step.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    lines += [
        f"| {name} | {s['draws']} | {s['crps']:.4f} | **{s['gain']:.3f}** | {s['mae']:.4f} "
        f"| {s['rmse']:.4f} | {s['spread_skill']:.3f} | {s['baseline_mae']:.4f}, "
        f"{s['baseline_rmse']:.4f} | {s['ridge_rmse']:.4f} |"
        for name, s in training["scores"].items()
    ]
    lines += [line for name, s in training["scores"].items() for line in _details(name, s)]
    return "\n".join(lines) + "\n"


def _details(name: str, found: Model) -> list[str]:
    """Return where and when the scores hold, a line each."""
    if "days" not in found:
        return []
    days = ", ".join(f"{day} {gain:.3f}" for day, gain in found["days"].items())
    spread = found["interval"]
    within = f" (mean {spread[0]:.3f} to {spread[1]:.3f}, 95 %)" if spread else ""
    places = (("polar", "poleward of 75 degrees"), ("date_line", "8 columns about the date line"),
              ("first_column", "8 columns about the first one"))  # fmt: skip
    there = [f"{words} x{found[key]:.3f}" for key, words in places if found[key] is not None]
    bands = ", ".join(f"{low}-{high} {ratio:.2f}" for low, high, ratio in found["bands"])
    lines = ["", f"{name}: CRPS / baseline MAE by day: {days}{within}."]
    lines += [f"{name}: against everywhere: {', '.join(there)}."] if there else []
    power = "power of single draws over the truth's by zonal wavenumber, 60 S to 60 N"
    lines += [f"{name}: {power}: {bands}."] if bands else []
    return lines


def _sampler(model: Model) -> str:
    sampler = model["sampler"]
    return (
        "## Recommended sampler\n"
        f"Heun, {sampler['steps']} levels from {sampler['sigma_max']:g} to "
        f"{sampler['sigma_min']:g}, rho {sampler['rho']:g}, churn {sampler['s_churn']:g}: "
        f"{2 * sampler['steps'] - 1} network calls a tile and draw.\n"
    )


def _training(model: Model) -> str:
    training, fit = model["training"], model["training"]["fit"]
    days = training["days"]
    return (
        "## How it was made\n"
        f"```sh\n{training['command']}\n```\n"
        f"- {training['states']['learnt']} states, {days[0]} to {days[-1]}, chosen by calendar day "
        "of their valid time.\n"
        f"{_filled(training)}"
        f"- EDM loss, ln sigma ~ N({fit['noise'][0]:g}, {fit['noise'][1]:g}^2), "
        f"{training['steps']} steps of {fit['batch']} random tiles of "
        f"{fit['tile'][0]}x{fit['tile'][1]} points, AdamW (rate {fit['learning_rate']:g}, decay "
        f"{fit['weight_decay']:g}), dropout {model['network']['dropout']:g}, averaged weights, "
        f"seed {fit['seed']}, inner arithmetic {fit['precision']} on {fit['device']}; "
        f"{training['minutes']:g} minutes.\n"
        f"{_fitted_by(training)}"
        f"{_started(training.get('start'))}"
        f"{_augmented(model)}"
        f"- The weights are those of step {training['best_step']}, which did best on the days held "
        f"back: loss {training['held_back_loss']:.4f} (1 for a network that knows nothing), "
        f"{training['loss']:.4f} at the end on what it learnt from, with dropout.\n"
        f"{_levels(training['levels'])}"
    )


def _augmented(model: Model) -> str:
    """Say how tiles were varied: a limited area is neither rolled nor mirrored."""
    if not model["periodic"]:
        return (
            "- Tiles lie anywhere within the area; a part of the globe can neither be rolled nor "
            "be seen from the other pole, so the network may know its places by heart.\n"
        )
    mirrored = model["training"]["fit"]["mirror"]
    return (
        "- Tiles roll freely in longitude, which the network is not told"
        f"{', and half of them are seen from the other pole' if mirrored else ''}.\n"
    )


def _started(start: Model | None) -> str:
    """Say which bundles a fit began with, the latest first."""
    told = ""
    while start is not None:
        told += (
            f"- It began with the weights of `{start['bundle']}` ({start['digest'][:12]}), which "
            f"had learnt for {start['steps']} steps, {start['minutes']:g} minutes: "
            f"`{start['command']}`\n"
        )
        start = start.get("start")
    return told


def _fitted_by(training: Model) -> str:
    command = training["fitted_by"]
    return f"- The weights were fitted elsewhere: `{command}`\n" if command else ""


def _filled(training: Model) -> str:
    count = training["filled"]
    return f"- {count} missing values were taken from the nearest point.\n" if count else ""


def _levels(levels: Sequence[Model]) -> str:
    """Return the losses level by level: apart means learnt by heart."""
    if not levels:
        return ""
    rows = (
        ("sigma", [f"{one['sigma']:g}" for one in levels]),
        ("learnt", [f"{one['learnt']:.3f}" for one in levels]),
        ("held back", [f"{one['held_back']:.3f}" for one in levels]),
    )
    head, *rest = (f"| {name} | {' | '.join(cells)} |" for name, cells in rows)
    return "\n".join(["", head, "|---" * (len(levels) + 1) + "|", *rest]) + "\n"


def _limits(model: Model) -> str:
    days = model["training"]["days"]
    return (
        "## Limits\n"
        f"- It learnt from {len(days)} days of one season ({days[0]} to {days[-1]}): other seasons "
        "are not proven.\n"
        "- Draws differ in what the coarse field leaves open; they know nothing of errors in the "
        "coarse forecast itself.\n"
        "- Extremes of storms smaller than the coarse grid are drawn, not known.\n"
        f"{_edges(model)}"
    )


def _edges(model: Model) -> str:
    """Say what a limited area does not know."""
    if model["periodic"]:
        return ""
    return (
        "- The outermost coarse boxes reach half beyond the area, and their means are of the half "
        "within. Finer input is cut so too; input that comes as coarse as that brings means of "
        "whole boxes, which it has not learnt.\n"
        "- Rows do not close, so no spectra were taken.\n"
    )
