"""Wind for tests of the whole: bundles whose network is known, and forecasts made on the spot.

The small globe has points every 10 degrees, so that a whole step costs milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.grib import codes
from tests.engines import tiny

PARAM_IDS = {"10u": 165, "10v": 166}


@dataclass(frozen=True)
class Globe:
    """A global fine grid, and how much wider its bundle's coarse grid is."""

    spacing: int
    coarse: int

    @property
    def shape(self) -> tuple[int, int]:
        return 180 // self.spacing + 1, 360 // self.spacing

    @property
    def grib(self) -> dict[str, Any]:
        """The GRIB part of a bundle's manifest."""
        rows, columns = self.shape
        partners = {"10u": ("10v", "u"), "10v": ("10u", "v")}
        return {
            "grid": {
                "north": 90.0,
                "west": 0.0,
                "spacing_lat": self.spacing,
                "spacing_lon": self.spacing,
                "rows": rows,
                "columns": columns,
            },
            "coarse": {
                "method": "mir",
                "grid": [self.coarse, self.coarse],
                "interpolation": "grid-box-average",
            },
            "interpolation": "structured-bicubic",
            "parameters": {
                name: {
                    "units": "m s-1",
                    "identities": [{"paramId": PARAM_IDS[name], "factor": 1.0}],
                    "range": [-150, 150],
                    "vector": {"partner": partner, "component": component},
                }
                for name, (partner, component) in partners.items()
            },
        }

    def write_bundle(self, folder: Path, **changes: Any) -> Path:
        """Write a bundle whose network learned nothing; the Gaussian engine needs none.

        changes: keys of model.json.
        """
        return tiny.write_bundle(folder, self.shape, grib=self.grib, name=folder.name, **changes)


GLOBE, SMALL = Globe(1, 4), Globe(10, 20)


def wind_message(
    parameter: str,
    step: int,
    member: int = 0,
    *,
    globe: Globe = SMALL,
    mean: float = 0.0,
    deviation: float = 8.0,
    **keys: float | str,
) -> bytes:
    """Encode wind of a forecast's step as one GRIB message; other GRIB keys as wanted.

    The values follow from the arguments, and no two fields are alike. mean, deviation: in m/s.
    """
    rows, columns = globe.shape
    seed = [step, member, PARAM_IDS.get(parameter, 0), int(keys.get("dataTime", 0))]
    values = np.random.default_rng(seed).normal(mean, deviation, rows * columns)
    wanted: Mapping[str, float | str] = {
        "Ni": columns,
        "Nj": rows,
        "latitudeOfFirstGridPointInDegrees": 90,
        "latitudeOfLastGridPointInDegrees": -90,
        "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 360 - globe.spacing,
        "iDirectionIncrementInDegrees": globe.spacing,
        "jDirectionIncrementInDegrees": globe.spacing,
        "dataDate": 20181008,
        "dataTime": 0,
        **({"productDefinitionTemplateNumber": 1} if member else {}),
        "shortName": parameter,
        "step": step,
        **({"perturbationNumber": member} if member else {}),
        **keys,
    }
    with codes.sample("regular_ll_sfc_grib2") as handle:
        for name, value in wanted.items():
            handle.set(name, value)
        handle.set_values(values)
        return handle.message()


@pytest.fixture(scope="session")
def wind_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A global wind bundle, 4 degrees to 1, for the Gaussian engine."""
    return GLOBE.write_bundle(tmp_path_factory.mktemp("bundles") / "wind")


@pytest.fixture(scope="session")
def small_wind_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small globe, 20 degrees to 10, for the Gaussian engine."""
    return SMALL.write_bundle(tmp_path_factory.mktemp("bundles") / "small-wind")
