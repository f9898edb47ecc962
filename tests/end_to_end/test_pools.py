"""Input members that one daemon pools: one step, one ensemble, one publication."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import UsageError
from streamer.config import ConfigError
from streamer.domain import ALL_MEMBERS
from streamer.grib import codes
from streamer.grib.box_means import box_means
from streamer.headers import read_identity
from streamer.intake.events import EndedRun, EndedStep, Outcome
from streamer.model import open_model
from streamer.records import StepRecord
from tests.end_to_end.daemons import STEPS, House, World, config_of, drain, forecast, work_off
from tests.end_to_end.readers import bound, opened
from tests.end_to_end.test_live_verification import analysis, expect_scores_of
from tests.engines import tiny
from tests.wind import SMALL, wind_message

MEMBERS, DRAWS = (0, 1, 2), 2
NETWORK = {"backend": "onnxruntime", "threads": 1}
KEY = b"ecmf/ens/-/201810080000/all"
PRODUCTS = [
    {"name": "draws"},
    {"name": "statistics", "of": ["mean", "spread", {"quantile": 0.5}]},
]

Key = tuple[int, str, int]


def told(pool: object = "0/to/2", products: Any = PRODUCTS, **changes: Any) -> dict[str, Any]:
    """What a configuration says that pools, or keeps apart where `pool` is None."""
    source: dict[str, Any] = {"name": "ens"}
    if pool is not None:
        source["pool"] = pool
    return {
        "input": {"topic": "in", "steps": "/".join(map(str, STEPS)), "sources": [source]},
        "products": products,
        **changes,
    }


def a_world(bundle: Path, **configured: Any) -> World:
    config = config_of(bundle, **configured)
    return World(House(open_model(config), config))


@pytest.fixture(scope="module")
def pooled(small_wind_bundle: Path) -> World:
    """One run of three members, pooled."""
    world = a_world(small_wind_bundle, **told())
    world.feed(forecast(members=MEMBERS, hours=(0,)), key=KEY)
    work_off(world, **told())
    world.house.close()
    return world


@pytest.fixture(scope="module")
def apart(small_wind_bundle: Path) -> World:
    """The same, each member for itself."""
    configured = told(pool=None, products=[{"name": "draws"}])
    world = a_world(small_wind_bundle, **configured)
    world.feed(forecast(members=MEMBERS, hours=(0,)), key=KEY)
    work_off(world, **configured)
    world.house.close()
    return world


def values(message: bytes) -> Any:
    with codes.opened(message) as handle:
        return handle.values()


def draws_of(world: World, step: StepRecord) -> Mapping[tuple[str, int | None], Any]:
    """Return the draws that a step's record lists, by parameter and number."""
    return {
        (one.names.parameter, one.names.draw): values(world.fields[one.id])
        for one in step.fields
        if one.names.draw is not None
    }


def test_a_pooled_step_has_one_record_that_names_its_members(pooled: World) -> None:
    keys = sorted(step.key.text for step in pooled.steps)
    assert keys == [f"{KEY.decode()}/{step}" for step in STEPS]
    for step in pooled.steps:
        assert step.outcome is Outcome.COMPLETE
        assert step.key.run.member == ALL_MEMBERS
        assert step.members == MEMBERS
        assert len(step.inputs) == 2 * len(MEMBERS)
    assert [run.key.text for run in pooled.runs] == [KEY.decode()]


def test_what_records_say_of_pooled_steps_is_read_back(pooled: World) -> None:
    found = [read_identity(record.headers) for record in pooled.broker.read("out.steps")]
    plain = [json.loads(record.value) for record in pooled.broker.read("out.steps")]

    assert {one.key.member for one in found if isinstance(one, EndedRun)} == {ALL_MEMBERS}
    assert {one.key.run.text for one in found if isinstance(one, EndedStep)} == {KEY.decode()}
    assert {one["member"] for one in plain} == {"all"}


def test_draws_of_a_pool_are_those_of_its_members_apart(pooled: World, apart: World) -> None:
    of_member = {(s.key.run.member, s.key.minutes): draws_of(apart, s) for s in apart.steps}

    for step in pooled.steps:
        found = draws_of(pooled, step)
        assert len(found) == 2 * len(MEMBERS) * DRAWS
        for (parameter, number), field in found.items():
            assert number is not None
            member, draw = divmod(number, DRAWS)
            expected = of_member[MEMBERS[member], step.key.minutes][parameter, draw]
            np.testing.assert_array_equal(field, expected)


def test_draws_of_a_pool_are_numbered_over_all_members(pooled: World) -> None:
    for step in pooled.steps:
        for one in step.fields:
            if one.names.draw is None:
                continue
            with codes.opened(pooled.fields[one.id]) as handle:
                assert handle.integer("perturbationNumber") == one.names.draw
                assert handle.integer("numberOfForecastsInEnsemble") == len(MEMBERS) * DRAWS


@pytest.mark.parametrize(
    ("statistic", "of"),
    [
        ("mean", lambda draws: draws.mean(axis=0)),
        ("spread", lambda draws: draws.std(axis=0, ddof=1)),
        ("quantile-0.5", lambda draws: np.median(draws, axis=0)),
    ],
)
def test_statistics_are_of_all_members_together(pooled: World, statistic: str, of: Any) -> None:
    for step in pooled.steps:
        found = draws_of(pooled, step)
        for parameter in ("10u", "10v"):
            draws = np.stack([v for (name, _), v in found.items() if name == parameter])
            (entry,) = (
                one
                for one in step.fields
                if (one.names.parameter, one.names.statistic) == (parameter, statistic)
            )
            allowed = 2 * bound(draws) + 1e-5
            got = values(pooled.fields[entry.id])
            np.testing.assert_allclose(got, of(draws), rtol=0, atol=allowed)


def test_cfgrib_reads_a_pools_statistics_and_members(pooled: World, tmp_path: Path) -> None:
    path = tmp_path / "step.grib2"
    fields = [one for one in pooled.steps[1].fields if one.names.statistic in (None, "mean")]
    path.write_bytes(b"".join(pooled.fields[one.id] for one in fields))

    members = opened(path, shortName="10u", productDefinitionTemplateNumber=1)
    mean = opened(path, shortName="10u", derivedForecast=0)

    assert members["number"].values.tolist() == list(range(len(MEMBERS) * DRAWS))
    assert mean.attrs["GRIB_edition"] == 2
    assert mean["u10"].attrs["GRIB_totalNumber"] == len(MEMBERS) * DRAWS


def test_one_draw_of_each_member_is_an_ensemble(small_wind_bundle: Path) -> None:
    configured = told(products=[{"name": "spread", "draws": 1, "of": ["spread"]}])
    world = a_world(small_wind_bundle, **configured)
    world.feed(forecast(members=MEMBERS, hours=(0,)), key=KEY)
    work_off(world, **configured)
    world.house.close()

    assert {one.names.statistic for step in world.steps for one in step.fields} == {"spread"}
    assert all(values(field).max() > 0 for field in world.fields.values())


def test_each_draw_keeps_the_box_means_of_its_own_member(
    small_wind_bundle: Path, tmp_path: Path
) -> None:
    globe = {**SMALL.grib, "constraints": {"conservation": {"10u": "additive"}}}
    strict = tiny.write_bundle(tmp_path / "strict", SMALL.shape, grib=globe, name="strict")
    configured = told(products=[{"name": "draws"}], engine=NETWORK)
    world = a_world(strict, **configured)
    world.feed(forecast(steps=(0,), members=MEMBERS, hours=(0,)), key=KEY)
    drain_one(world, configured)

    manifest = world.house.model.manifest
    rows, columns = box_means(manifest.coarse, manifest.grid)
    (step,) = (one for one in world.steps if one.outcome is Outcome.COMPLETE)
    means = {}
    for (parameter, number), field in draws_of(world, step).items():
        if parameter == "10u" and number is not None:
            means[number] = (columns @ (rows @ field.reshape(SMALL.shape)).T).T

    for member in range(len(MEMBERS)):
        first, second = (means[member * DRAWS + draw] for draw in range(DRAWS))
        assert first == pytest.approx(second, abs=2e-3)
    # Members differ by more than packing.
    assert np.abs(means[0] - means[DRAWS]).max() > 0.1


def test_a_pool_is_verified_as_one_ensemble(small_wind_bundle: Path, tmp_path: Path) -> None:
    looking = {"folders": [str(tmp_path)], "every_s": 0.02}
    configured = told(products=[{"name": "draws"}], verification=looking)
    world = a_world(small_wind_bundle, **configured)
    world.feed(forecast(members=MEMBERS, hours=(0,)), key=KEY)
    with world.daemon(**configured) as service:
        drain(service)
        path = tmp_path / "analyses.grib2"
        path.write_bytes(analysis(3) + analysis(6))
        before = (world.clock.now() - timedelta(minutes=1)).timestamp()
        os.utime(path, (before, before))
        expect_scores_of(world, service, (3, 6))
        service.stop(10)


def test_what_cannot_be_pooled_is_refused(small_wind_bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"pool: found '0-20', wanted numbers of members"):
        config_of(small_wind_bundle, **told(pool="0-20"))
    with pytest.raises(ConfigError, match=r"pool: found \[1, 1\]"):
        config_of(small_wind_bundle, **told(pool=[1, 1]))
    config = config_of(small_wind_bundle, **told(pool="0/to/200"))
    with pytest.raises(UsageError, match="201 members of 2 draws, 402, GRIB counts 255 at most"):
        open_model(config)
    config = config_of(small_wind_bundle, **told(limits={"open_bytes": 10_000}))
    with pytest.raises(UsageError, match=r"ens: the fields of a step of 3 members take \d+ bytes"):
        open_model(config)


def test_a_step_that_lacks_a_member_expires_and_names_it(small_wind_bundle: Path) -> None:
    world = a_world(small_wind_bundle, **told())
    messages = [wind_message(p, 0, member) for member in MEMBERS for p in ("10u", "10v")]
    world.feed(messages[:-1], key=KEY)
    with world.daemon(**told()) as service:
        drain(service)
        world.clock.pass_by(hours=3)
        service.look_after()
        service.stop(10)

    (first, *unseen) = world.steps
    assert (first.outcome, first.missing) == (Outcome.EXPIRED, ("10v of member 2",))
    assert [len(step.missing) for step in unseen] == [6, 6]
    assert world.fields == {}


def test_a_member_that_is_not_of_the_pool_is_passed_by(small_wind_bundle: Path) -> None:
    world = a_world(small_wind_bundle, **told(pool=[0, 2]))
    world.feed(forecast(members=MEMBERS, hours=(0,)), key=KEY)
    work_off(world, **told(pool=[0, 2]))

    assert [step.members for step in world.steps] == [(0, 2)] * len(STEPS)
    assert world.committed().next_offset == 2 * len(MEMBERS) * len(STEPS)
    assert world.reasons == {}


def test_a_member_from_another_partition_is_refused(small_wind_bundle: Path) -> None:
    configured = told()
    config = config_of(small_wind_bundle, **configured)
    world = World(House(open_model(config), config), partitions=2)
    for member in MEMBERS:
        messages = forecast(steps=(0,), members=(member,), hours=(0,))
        # Keys with the member lie where they like.
        world.feed(messages, key=f"ecmf/ens/-/201810080000/{member}".encode())
    with world.daemon(**configured) as service:
        drain(service)
        service.stop(10)

    partitions = {record.partition.number for record in world.broker.read("in")}
    assert partitions == {0, 1}
    assert world.reasons["split"] > 0
    assert not any(outcome is Outcome.COMPLETE for _, outcome in world.outcomes)


def drain_one(world: World, configured: dict[str, Any]) -> None:
    with world.daemon(**configured) as service:
        drain(service)
        service.stop(10)


def dying(world: World, turns: Sequence[int], **configured: Any) -> None:
    """Let daemons die after so many turns, one after another; the last one answers everything."""
    for many in turns:
        with world.daemon(**configured) as service:
            for _ in range(many):
                service.turn()
    work_off(world, **configured)


def test_daemons_that_die_leave_the_same_pool(small_wind_bundle: Path, pooled: World) -> None:
    world = a_world(small_wind_bundle, **told())
    world.feed(forecast(members=MEMBERS, hours=(0,)), key=KEY)

    dying(world, (3, 10, 20, 40, 80), **told())

    assert world.fields == pooled.fields
    assert world.outcomes == pooled.outcomes
