"""A model of IPSL-AID at work: from its checkpoint and a forecast of GRIB to fine GRIB 2."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import open_manifest
from streamer.downscale.tiles import Layout
from streamer.grib import codes
from streamer.grib.manifest import read_manifest
from streamer.grib.wants import Wants
from streamer.scoring import Results, read_known, score_results
from tests.end_to_end import plain_ipsl as plain
from tests.end_to_end.six import (
    APART,
    NAMES,
    Globe,
    Imported,
    Replayed,
    Sender,
    coarse_message,
    ecmwf,
    gfs,
    import_bundle,
    keys_of,
    replay,
)

SMALL = Globe((37, 72), coarse=(12, 16), tile=(16, 24), width=16, levels=4, draws=2)
#: IPSL-AID's own, but for the width: one call a tile, since it is the size that is tested.
WHOLE = Globe((721, 1440), coarse=(80, 128), tile=(144, 360), width=8, levels=1, draws=1)
#: ECMWF on the network's own grid; GFS on one twice as fine, which MIR must bring to it.
SENDERS = [ecmwf(SMALL.shape), gfs((73, 144))]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Imported]:
    """A bundle imported from a narrow network for a small globe."""
    folder = tmp_path_factory.mktemp("six")
    (folder / "mir").mkdir(mode=0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIR_CACHE_PATH", str(folder / "mir"))
        yield import_bundle(folder, SMALL)


@pytest.fixture(scope="module", params=SENDERS, ids=["ecmwf", "gfs"])
def forecast(
    request: pytest.FixtureRequest, imported: Imported, tmp_path_factory: pytest.TempPathFactory
) -> Replayed:
    """Two steps of six parameters, and what became of them."""
    return replay(tmp_path_factory.mktemp("forecast"), imported, request.param, (3, 6))


def test_each_step_leaves_with_every_draw_of_every_parameter(forecast: Replayed) -> None:
    names = forecast.sender.names.values()
    wanted = [(name, number) for name in names for number in range(SMALL.draws)]
    for step in forecast.steps:
        found = [keys_of(m, "shortName", "perturbationNumber") for m in forecast.fine(step)]

        assert sorted(found) == sorted(wanted)


def test_fine_fields_say_what_they_are(forecast: Replayed) -> None:
    keys = ("centre", "dataDate", "dataTime", "endStep", "Nj", "Ni", "edition")
    for step in forecast.steps:
        for message in forecast.fine(step):
            name, step_range = keys_of(message, "shortName", "stepRange")

            wanted = (forecast.sender.centre, 20240702, 1200, step, *SMALL.shape, 2)
            assert keys_of(message, *keys) == wanted
            since = f"{step - APART}-{step}" if name == "tp" else str(step)
            assert str(step_range) == since


def test_the_records_call_every_step_complete(forecast: Replayed) -> None:
    steps = [record for record in forecast.records() if "step" in record]

    assert [record["outcome"] for record in steps] == ["complete", "complete"]
    assert not (forecast.output / "dead_letters.jsonl").read_text()


@pytest.mark.parametrize("step", [3, 6])
def test_a_tile_is_what_the_plainest_loop_over_the_network_makes(
    forecast: Replayed, step: int
) -> None:
    expect_a_tile_of_the_plain_loop(forecast, step)


def test_draws_obey_what_is_known_of_rain_and_dew(forecast: Replayed) -> None:
    quality = [record["quality"] for record in forecast.records() if "step" in record]

    told = {
        (one["constraint"], one["parameter"]): one["share"]
        for one in quality[0]["constraints"]["draws"]
    }
    # Random weights make rain negative, and dew points as they like.
    assert told.keys() == {("bounds", "tp"), ("relation", "2d")}
    assert all(0.0 < share < 1.0 for share in told.values())
    for step in forecast.steps:
        rain, dew, warm = (plain.published(forecast, step, n, 0) for n in ("tp", "2d", "2t"))
        assert rain.min() >= 0.0
        # Each was packed by itself, to 24 bits.
        assert (dew - warm).max() < 1e-4


RAIN = {
    "name": "rain",
    "parameters": ["tp", "2r"],
    "of": ["draws", "mean", {"above": 0.0001, "of": "tp"}, {"quantile": 0.5}],
    "draws": 3,
}


@pytest.mark.parametrize("sender", SENDERS, ids=["ecmwf", "gfs"])
def test_statistics_of_rain_leave_as_amounts_of_the_step(
    imported: Imported, tmp_path: Path, sender: Sender
) -> None:
    found = replay(tmp_path, imported, sender, (3, 6), products=[RAIN])

    for step in (3, 6):
        messages = found.fine(step)
        draws = np.stack([amounts(m) for m in of_template(messages, "tp", 11)])
        assert draws.shape == (3, *SMALL.shape)
        (mean,) = of_template(messages, "tp", 12)
        assert amounts(mean) == pytest.approx(draws.mean(axis=0), abs=1e-6 * draws.max())
        (median,) = of_template(messages, "tp", 10)
        assert amounts(median) == pytest.approx(np.median(draws, axis=0), abs=1e-6 * draws.max())
        (probability,) = of_template(messages, "tp", 9)
        # 0.1 mm an hour, over 3 hours, in the message's units.
        limit = 0.0001 * APART * sender.rain_per_metre
        share = (draws > limit).mean(axis=0)
        assert amounts(probability) == pytest.approx(100 * share, abs=1e-3)
        scaled, factor = keys_of(probability, "scaledValueOfUpperLimit", "scaleFactorOfUpperLimit")
        assert scaled / 10**factor == pytest.approx(limit)
        for message in (mean, median, probability):
            assert keys_of(message, "stepRange") == (f"{step - APART}-{step}",)


def of_template(messages: list[bytes], name: str, template: int) -> list[bytes]:
    """Return the messages of a parameter whose product definition template is the given one."""
    keys = "shortName", "productDefinitionTemplateNumber"
    return [message for message in messages if keys_of(message, *keys) == (name, template)]


def amounts(message: bytes) -> codes.Values:
    """Return a message's values on the small globe."""
    with codes.opened(message) as handle:
        return handle.values().reshape(SMALL.shape)


def test_scores_leave_out_what_gathers(forecast: Replayed, tmp_path: Path) -> None:
    """The same valid time may end two intervals, so precipitation would be held against another."""
    analyses = forecast_on_its_own_grid(forecast, tmp_path)
    bundle = open_manifest(forecast.imported.bundle)
    manifest = read_manifest(bundle.grib)
    results = Results(forecast.output / "fine", forecast.files)

    scores = score_results(results, read_known(analyses, manifest), bundle, Wants(manifest))

    assert set(scores) == {name for name in NAMES if name != "tp"}


def forecast_on_its_own_grid(forecast: Replayed, folder: Path) -> list[Path]:
    """Write what ECMWF would say of the same steps, on the network's grid, as the truth."""
    sender = ecmwf(SMALL.shape)
    for name, step in forecast.given:
        (folder / f"{name}-{step}").write_bytes(coarse_message(name, step, sender))
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_the_whole_globe_of_a_quarter_degree_goes_the_same_way(tmp_path: Path) -> None:
    imported = import_bundle(tmp_path, WHOLE)

    found = replay(tmp_path, imported, ecmwf(WHOLE.shape), (3,))

    names = [keys_of(m, "shortName", "Nj", "Ni") for m in found.fine(3)]
    assert sorted(names) == sorted((name, *WHOLE.shape) for name in NAMES)
    expect_a_tile_of_the_plain_loop(found, 3)


def expect_a_tile_of_the_plain_loop(forecast: Replayed, step: int) -> None:
    """Compare every draw of one tile with the plain loop's where no other tile reaches."""
    bundle = open_manifest(forecast.imported.bundle)
    layout = Layout.cover(bundle.shape, bundle.tile, bundle.overlap, periodic=True)
    tile = next(t for t in layout.tiles if t.row == 0 and t.column > 0)
    (_, below, *_), (left, right) = layout.rows.starts, neighbours(layout, tile.column)
    condition = plain.told(forecast, step)
    for number in range(forecast.imported.globe.draws):
        wanted = plain.obedient(plain.sampled(forecast, condition, tile, step, number))

        for i, (name, spread) in enumerate(zip(NAMES, plain.spreads(), strict=True)):
            found = plain.published(forecast, step, name, number)
            difference = np.roll(found, -tile.column, axis=1)[: tile.height, : tile.width]
            difference = difference - wanted[i]
            assert np.abs(difference[:below, left:right]).max() < 3e-4 * spread, name


def neighbours(layout: Layout, column: int) -> tuple[int, int]:
    """Return where in the tile at `column` the one before ends and the next begins."""
    starts, size = layout.columns.starts, layout.columns.size
    at = starts.index(column)
    following = starts[at + 1] if at + 1 < len(starts) else layout.columns.length
    return starts[at - 1] + size - column, following - column
