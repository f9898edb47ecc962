"""Remembered templates: those of another step are made from them, and are what `prepare` makes."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from streamer.domain import Grid, RunKey, StepKey
from streamer.grib import codes
from streamer.grib.encode import Draw, EncodeError, encode
from streamer.grib.frame import split
from streamer.grib.identity import identify
from streamer.grib.imprint import Imprint
from streamer.grib.packing import AS_USUAL
from streamer.grib.target import FieldTarget
from streamer.grib.template import prepare
from streamer.grib.templates import Templates
from streamer.grib.wants import Limits

GRID = Grid(62.0, -11.0, 0.25, 0.5, 7, 9)


def message(product: int = 0, **keys: int | str) -> bytes:
    """A field of product definition template `product`, at +6 h from 6:30 UTC unless told."""
    with codes.sample("regular_ll_sfc_grib2") as handle:
        handle.set("productDefinitionTemplateNumber", product)
        for key, value in {"dataDate": 20181008, "dataTime": 630, "step": 6, **keys}.items():
            handle.set(key, value)
        return handle.message()


def target(encoded: bytes) -> FieldTarget:
    """What a message is, by its own keys."""
    key = identify(encoded, ())
    assert isinstance(key, StepKey)
    return FieldTarget(key, "t", GRID)


@pytest.mark.parametrize("product", [0, 1])
def test_another_time_is_made_from_the_old_template_and_equal_to_a_new_one(
    product: int,
) -> None:
    templates = Templates(AS_USUAL, Imprint())
    first = message(product)
    later = message(product, dataDate=20191231, dataTime=0, step=120)
    templates.prepare(first, target(first))

    assert templates.prepare(later, target(later)) == prepare(later, target(later))
    assert len(templates) == 1


@pytest.mark.parametrize(
    "keys",
    [
        {"paramId": 130},
        {"centre": "edzw"},
        {"number": 8, "numberOfForecastsInEnsemble": 16},
        {"generatingProcessIdentifier": 9},
    ],
    ids=str,
)
def test_whatever_else_differs_is_made_anew(keys: dict[str, int | str]) -> None:
    templates = Templates(AS_USUAL, Imprint())
    first, other = message(1, number=7, numberOfForecastsInEnsemble=16), message(1, **keys)
    templates.prepare(first, target(first))

    assert templates.prepare(other, target(other)) == prepare(other, target(other))
    assert len(templates) == 2


def test_intervals_and_edition_1_have_times_elsewhere_and_are_made_anew() -> None:
    templates = Templates(AS_USUAL, Imprint())
    with codes.sample("regular_ll_sfc_grib1") as handle:
        old = handle.message()
    interval = message(8)
    for coarse in (interval, interval, old, old):
        assert templates.prepare(coarse, target(coarse)) == prepare(coarse, target(coarse))

    assert len(templates) == 0


def test_a_message_of_another_time_than_its_step_never_leaves() -> None:
    templates = Templates(AS_USUAL, Imprint())
    first, later = message(), message(step=9)
    templates.prepare(first, target(first))
    wrong = dataclasses.replace(
        target(later),
        key=StepKey(RunKey("ecmf", "-", "-", datetime(2018, 10, 8, 6, 30, tzinfo=UTC), 0), 720),
    )

    with pytest.raises(EncodeError, match="endStep is 540, wanted 720"):
        encode(np.zeros(GRID.shape, np.float32), templates.prepare(later, wrong), Draw(0, 1))


def test_a_forecasts_real_messages_need_few_templates(shared_data: Path) -> None:
    templates = Templates(AS_USUAL, Imprint())
    paths = sorted((shared_data / "gfs-wind-1deg" / "train").iterdir())[::9]
    coarse = [
        m for path in paths for m in split(path.read_bytes(), Limits()) if isinstance(m, bytes)
    ]

    for one in coarse:
        key = identify(one, ())
        assert isinstance(key, StepKey)
        with codes.opened(one) as handle:
            wanted = FieldTarget(key, handle.text("shortName"), GRID)
        assert templates.prepare(one, wanted) == prepare(one, wanted)

    # 10u and 10v, of analyses and of forecasts.
    assert len(templates) == 4 < len(coarse)
