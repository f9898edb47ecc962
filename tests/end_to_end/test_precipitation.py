"""Rain through the whole daemon: amounts however they gather, whatever is missing, whoever dies."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.domain import Array, step_text
from streamer.grib import codes
from streamer.intake.events import Outcome
from streamer.model import open_model
from streamer.records import StepRecord
from tests.end_to_end.daemons import House, World, config_of, drain, work_off
from tests.engines import tiny
from tests.wind import SMALL, wind_message

LEADS = (0, 3, 6, 9)
INPUT: Mapping[str, Any] = {"steps": "0/3/6/9"}
#: 24 bits, so that what packing rounds is no matter; the daemon's own output, too.
PACKING: Mapping[str, Any] = {"topic": "out", "packing": {"bits": 24}}


def write_bundle(folder: Path) -> Path:
    """Write a bundle of wind and rain, whose residuals are small."""
    grib = SMALL.grib
    wind = {k: v for k, v in grib["parameters"]["10u"].items() if k != "vector"}
    rain = {
        "units": "m",
        "identities": [{"paramId": 228}, {"paramId": 228228, "factor": 0.001}],
        "range": [-0.001, 0.5],
        "accumulation": {"per": "hour"},
    }
    grib = {**grib, "interpolation": "linear", "parameters": {"10u": wind, "tp": rain}}
    tiny.write_bundle(folder, SMALL.shape, grib=grib, name="rain", channels=["10u", "tp"])
    statistics = {
        "10u": tiny.STATISTICS["10u"],
        "tp": {
            "coarse_mean": 0.0, "coarse_std": 0.001, "fine_mean": 0.0, "fine_std": 0.001,
            "residual_std": 0.01,
        },
    }  # fmt: skip
    (folder / "statistics.json").write_text(json.dumps(statistics))
    return tiny.write_sums(folder)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    bundle = write_bundle(tmp_path_factory.mktemp("bundles") / "rain")
    config = config_of(bundle, input=INPUT, output=PACKING)
    house = House(open_model(config), config)
    yield house
    house.close()


@pytest.fixture
def world(house: House) -> World:
    return World(house)


def fallen(lead: int) -> Array:
    """What falls in the three hours up to a step, metres, (19, 36)."""
    chance = np.random.default_rng(lead)
    found: Array = (chance.gamma(0.3, 0.004, SMALL.shape) + 0.003).astype(np.float32)
    return found


def rain(lead: int, since: int, units: str = "m", scale: float = 1.0) -> bytes:
    """Encode what fell up to a step since another, as ECMWF (m) or GFS (mm) would."""
    amount = np.zeros(SMALL.shape)
    for one in LEADS:
        if since < one <= lead:
            amount += fallen(one)
    with codes.opened(wind_message("10u", lead)) as handle:
        handle.set("paramId", 228 if units == "m" else 228228)
        handle.set("stepRange", f"{since}-{lead}")
        handle.set("bitsPerValue", 24)
        handle.set_values(amount.ravel() * (1.0 if units == "m" else 1000.0) * scale)
        return handle.message()


def forecast(begins: Sequence[int], units: str = "m") -> dict[str, bytes]:
    """Wind of every step, and rain of all but step 0, by name and lead time."""
    messages = {f"10u {lead}": wind_message("10u", lead) for lead in LEADS}
    rains = zip(LEADS[1:], begins, strict=True)
    return messages | {f"tp {lead}": rain(lead, since, units) for lead, since in rains}


def published(world: World, parameter: str = "tp") -> dict[str, Array]:
    """Return the fine fields by step range and number, in metres where they are rain."""
    found = {}
    for message in world.fields.values():
        with codes.opened(message) as handle:
            if handle.text("shortName") == parameter:
                name = f"{handle.text('stepRange')} draw {handle.text('number')}"
                per_metre = 1000.0 if handle.text("units").startswith("kg") else 1.0
                found[name] = (handle.values() / per_metre).astype(np.float32)
    return found


def step_records(world: World) -> dict[str, StepRecord]:
    return {step_text(step.key.minutes): step for step in world.steps}


@pytest.fixture(scope="module")
def since_start(house: House) -> dict[str, Array]:
    """What comes of rain in metres since the start, undisturbed."""
    world = World(house)
    world.feed(list(forecast((0, 0, 0)).values()))
    work_off(world, input=INPUT, output=PACKING)
    return published(world)


def test_every_step_has_the_amount_of_its_own_hours(since_start: dict[str, Array]) -> None:
    wanted = {f"{lead - 3}-{lead} draw {draw}" for lead in LEADS[1:] for draw in (0, 1)}

    assert set(since_start) == wanted
    for lead in LEADS[1:]:
        found = np.mean([since_start[f"{lead - 3}-{lead} draw {draw}"] for draw in (0, 1)])
        # Box averages keep the amount; the residual is a hundredth of a millimetre an hour.
        assert found == pytest.approx(float(fallen(lead).mean()), rel=0.05)


def test_nothing_is_published_of_rain_at_step_0_and_the_step_is_whole(world: World) -> None:
    world.feed([wind_message("10u", 0), rain(3, 0)])

    work_off(world, input=INPUT, output=PACKING)

    first = step_records(world)["0"]
    assert first.outcome is Outcome.COMPLETE
    assert {entry.names.parameter for entry in first.fields} == {"10u"}


@pytest.mark.parametrize("units", ["m", "mm"])
@pytest.mark.parametrize(
    "begins", [(0, 0, 0), (0, 3, 6), (0, 0, 6)], ids=["start", "last", "buckets"]
)
def test_however_the_amounts_gather_the_same_rain_falls(
    world: World, since_start: dict[str, Array], begins: Sequence[int], units: str
) -> None:
    world.feed(list(forecast(begins, units).values()))

    work_off(world, input=INPUT, output=PACKING)

    found = published(world)
    assert found.keys() == since_start.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values, since_start[name], atol=1e-7, err_msg=name)


def test_the_product_keeps_the_units_in_which_the_amount_came(world: World) -> None:
    world.feed(list(forecast((0, 0, 0), "mm").values()))

    work_off(world, input=INPUT, output=PACKING)

    units = set()
    for message in world.fields.values():
        with codes.opened(message) as handle:
            units.add((handle.text("shortName"), handle.text("units")))
    assert units == {("10u", "m s**-1"), ("tp", "kg m**-2")}


def test_disorder_and_repeats_change_no_byte(world: World, house: House) -> None:
    orderly, given = World(house), forecast((0, 0, 0))
    orderly.feed(list(given.values()))
    work_off(orderly, input=INPUT, output=PACKING)

    world.feed([*reversed(given.values()), given["tp 3"], given["tp 6"]])
    work_off(world, input=INPUT, output=PACKING)

    assert world.fields == orderly.fields
    assert len(world.runs) == 1
    assert world.letters == {}


def test_a_step_lists_what_was_subtracted_among_its_input(world: World) -> None:
    given = forecast((0, 0, 6))
    fed = world.feed(list(given.values()))
    offsets = {name: r.offset for name, r in zip(given, fed, strict=True)}

    work_off(world, input=INPUT, output=PACKING)

    inputs = {lead: {o.offset for o in one.inputs} for lead, one in step_records(world).items()}
    assert inputs["6"] == {offsets["10u 6"], offsets["tp 6"], offsets["tp 3"]}
    assert inputs["9"] == {offsets["10u 9"], offsets["tp 9"]}


def test_a_step_without_what_fell_before_ends_and_names_it(world: World) -> None:
    given = forecast((0, 0, 0))
    del given["tp 3"]
    world.feed(list(given.values()))

    with world.daemon(input=INPUT, output=PACKING) as service:
        drain(service)
        world.clock.pass_by(hours=4)
        service.look_after()
        service.stop(10)

    records = step_records(world)
    assert {lead: (one.outcome.value, one.missing) for lead, one in records.items()} == {
        "0": ("complete", ()),
        "3": ("expired", ("tp",)),
        "6": ("expired", ("tp@+3h",)),
        "9": ("complete", ()),
    }
    assert world.committed().metadata == ""


def test_rain_that_falls_back_fails_its_step_with_the_reason(world: World) -> None:
    given = forecast((0, 0, 0))
    given["tp 6"] = rain(6, 0, scale=0.1)
    world.feed(list(given.values()))

    work_off(world, input=INPUT, output=PACKING)

    records = step_records(world)
    assert records["6"].outcome is Outcome.FAILED
    assert "falls to" in str(records["6"].reason)
    assert "from +3 to +6 h" in str(records["6"].reason)
    assert records["9"].outcome is Outcome.COMPLETE


def test_amounts_that_give_no_difference_fail_their_step_with_the_reason(world: World) -> None:
    given = forecast((0, 3, 0))
    world.feed(list(given.values()))

    work_off(world, input=INPUT, output=PACKING)

    assert step_records(world)["9"].reason == (
        f"tp of {world.steps[0].key.run.text}/9 covers +0 to +9 h and the step before +3 to +6 h: "
        "their difference is not +6 to +9 h, the step's interval"
    )


def test_a_daemon_may_die_after_any_record_between_two_steps(house: House) -> None:
    """What the next step subtracts must be read again, though its own step is published."""
    given = list(forecast((0, 0, 0)).values())
    given = [m for pair in zip(given[1:4], given[4:], strict=True) for m in pair] + given[:1]
    whole = World(house)
    whole.feed(given)
    work_off(whole, input=INPUT, output=PACKING)

    for cut in range(1, len(given)):
        world = World(house)
        world.feed(given[:cut])
        with world.daemon(input=INPUT, output=PACKING) as service:
            drain(service)
            service.look_after()
            # It dies here, without a word.
        world.feed(given[cut:])
        work_off(world, input=INPUT, output=PACKING)

        assert world.fields == whole.fields, f"died after {cut}"
        assert set(world.outcomes.values()) == {1}
        assert world.committed().metadata == ""


def test_what_the_next_step_needs_holds_the_frontier(world: World) -> None:
    given = forecast((0, 0, 0))
    world.feed([given["10u 3"], given["tp 3"], given["10u 0"]])

    work_off(world, input=INPUT, output=PACKING)

    assert set(step_records(world)) == {"0", "3"}
    assert world.committed().next_offset == 1
    world.feed([given["10u 6"], given["tp 6"], given["10u 9"], given["tp 9"]])
    work_off(world, input=INPUT, output=PACKING)
    assert {step.outcome for step in world.steps} == {Outcome.COMPLETE}
    assert world.committed().next_offset == 7
