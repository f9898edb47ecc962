"""Small bundles and steps for the tests of this room."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from engines.bundle import Bundle
from engines.manifest import Normalisation, Preconditioning
from engines.sampler import SamplerSettings
from streamer.domain import Array, Field, RunKey, Step, StepKey

REFERENCE_TIME = datetime(2018, 10, 8, tzinfo=UTC)


def bundle_of(
    shape: tuple[int, int] = (19, 36),
    tile: tuple[int, int] = (12, 16),
    overlap: tuple[int, int] = (2, 4),
    grib: Mapping[str, Any] | None = None,
    constants: int = 1,
) -> Bundle:
    """A bundle of two wind components without a folder, for what needs its facts only."""
    return Bundle(
        name="small",
        channels=("10u", "10v"),
        shape=shape,
        tile=tile,
        overlap=overlap,
        periodic=True,
        constant_names=tuple(f"constant {i}" for i in range(constants)),
        labels=(),
        preconditioning=Preconditioning("edm", 1.0),
        sampler=SamplerSettings(steps=3, sigma_max=10.0, sigma_min=0.1),
        normalisation=(
            Normalisation(1.0, 5.0, 1.5, 6.0, 0.25),
            Normalisation(-1.0, 4.0, -0.5, 4.5, 0.5),
        ),
        network={},
        grib=grib if grib is not None else {},
        licence="CC0",
        attribution="nobody",
        training={},
        path=Path("small"),
        digest="0" * 64,
        constants=np.ones((constants, *shape), dtype=np.float32),
    )


def step_key(minutes: int = 180, member: int = 0, again: str = "") -> StepKey:
    return StepKey(RunKey("kwbc", "gfs", "-", REFERENCE_TIME, member, again), minutes)


def step_of(fields: Mapping[str, Array], crossed: Mapping[str, Array] | None = None) -> Step:
    """A complete step of interpolated values; its coarse fields are every fourth point of them."""
    key, turned = step_key(), crossed or {}
    made = tuple(
        Field(
            key=key,
            parameter=name,
            grid="small",
            coarse=values[::4, ::4],
            interpolated=values,
            message=b"GRIB",
            digest=b"",
            crossed=turned.get(name),
            crossed_coarse=turned[name][::4, ::4] if name in turned else None,
        )
        for name, values in fields.items()
    )
    return Step(key, made, (), REFERENCE_TIME, REFERENCE_TIME)
