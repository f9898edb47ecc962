"""What a tuned network adds to a bundle: its files, its row in the table, its part of the card."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from engines import bundle_writer, export
from engines.bundle import CARD, MODEL, TUNED, Bundle, read_model
from engines.calibration import Calibration, to_plain
from engines.denoiser import Array
from engines.golden import read_golden
from engines.networks import build, from_plain
from engines.training.tune import Tuned
from streamer.commands.bundle_calibrate import with_section
from streamer.commands.bundle_table import section

#: Seed of the golden cases' noise.
_SEED = 0


def network_files(bundle: Bundle, tuned: Tuned) -> dict[str, bytes]:
    """Return the network's files by name: ONNX, weights, and golden vectors at its own levels."""
    settings = from_plain(bundle.network, str(bundle.path / MODEL))
    network = build(settings)
    network.load_state_dict(tuned.network.state_dict())
    network.eval()
    first = read_golden(bundle)
    levels = np.resize(np.array(tuned.sampler.levels, np.float32), len(first.sigma))
    around = bundle.preconditioning
    cases = export.golden_cases(
        network, around, _states(first.x, levels, around.sigma_data), levels, first.condition
    )
    model = export.to_onnx(network, settings)
    return bundle_writer.network_files(TUNED, model, export.weights(network), cases, first.bound)


def table_files(bundle: Bundle, table: Calibration, told: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the manifest and the card that tell of the new table."""
    model = {**read_model(bundle), "calibration": to_plain(table)}
    card = (bundle.path / CARD).read_text(encoding="utf-8")
    for part in (section(table), _chapter(told)):
        card = with_section(card, part)
    return {MODEL: (json.dumps(model, indent=2) + "\n").encode(), CARD: card.encode()}


def _states(like: Array, levels: Array, sigma_data: float) -> Array:
    """Return noise as strong as the network meets it at each level, (N, C, h, w)."""
    noise = np.random.default_rng(_SEED).standard_normal(like.shape, dtype=np.float32)
    return noise * np.hypot(levels, np.float32(sigma_data))[:, None, None, None]


def _chapter(told: Mapping[str, Any]) -> str:
    """Return the card's chapter on the tuned network."""
    rules = [
        f"- {'kept' if one['is_kept'] else 'broken'}: {one['words']}." for one in told["rules"]
    ]
    what = "It serves its own few calls only; the network that it came from serves all others."
    return "\n".join(["## The tuned network", what, "", *rules, "", *_story(told)])


def _story(told: Mapping[str, Any]) -> list[str]:
    """Return a line for each tuning that led here, the first one first."""
    before = _story(told["before"]) if "before" in told else []
    how = (
        f"- Tuned in {told['minutes']} minutes and {told['steps']} steps, of which step "
        f"{told['best_step']} was best on the days held back, {', '.join(told['held_back_days'])}: "
        f"`{told['command']}`"
    )
    return [*before, how]
