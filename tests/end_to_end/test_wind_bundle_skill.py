"""The bundle that ships is worth running: its own scores hold on a day that it never saw."""

from pathlib import Path

import pytest

from engines.bundle import open_manifest
from engines.open import open_bundle
from streamer.archive import read_archive, split_by_day
from streamer.skill import score, trial_of
from streamer.verify.scores import Score

DRAWS = 2
#: One state of 16 states whose gains are told in the model card; single states differ by 0.02.
BOUND = 0.70


@pytest.fixture(scope="module")
def scores(shared_data: Path) -> dict[str, Score]:
    bundle = open_manifest("gfs-wind-4to1")
    archive = read_archive(shared_data / "gfs-wind-1deg" / "train")
    state = [split_by_day(archive, 2).held_back[8]]
    trial = trial_of(archive, state, bundle)
    assert str(trial.keys[0].valid_time.date()) in bundle.training["held_back_days"]
    found = score(bundle, open_bundle(bundle), bundle.sampler, trial, DRAWS)
    return {name: one.score for name, one in found.items()}


@pytest.mark.parametrize("parameter", ["10u", "10v"])
def test_draws_beat_the_interpolated_field_on_a_day_held_back(
    scores: dict[str, Score], parameter: str
) -> None:
    one = scores[parameter]

    print(f"{parameter}: CRPS / baseline MAE {one.gain:.3f}, spread/skill {one.spread_skill:.3f}")
    assert one.gain <= BOUND
    assert one.spread_skill is not None
    assert 0.85 <= one.spread_skill <= 1.15


def test_the_model_card_tells_the_scores_of_the_manifest() -> None:
    bundle = open_manifest("gfs-wind-4to1")
    card = (bundle.path / "README.md").read_text(encoding="utf-8")

    for name in bundle.channels:
        gain = bundle.training["scores"][name]["gain"]
        assert gain <= BOUND
        assert f"**{gain:.3f}**" in card
