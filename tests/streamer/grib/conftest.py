"""What the tests of GRIB share: a wind bundle's GRIB part, and MIR's weights in a folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.grib import regrid
from streamer.grib.manifest import GribManifest, read_manifest


def wind_part() -> dict[str, Any]:
    """The GRIB part of a global wind bundle, 4 degrees to 1, as a manifest has it."""
    return {
        "grid": {
            "north": 90.0,
            "west": 0.0,
            "spacing_lat": 1.0,
            "spacing_lon": 1.0,
            "rows": 181,
            "columns": 360,
        },
        "coarse": {"method": "mir", "grid": [4, 4], "interpolation": "grid-box-average"},
        "interpolation": "structured-bicubic",
        "parameters": {
            "10u": parameter(165, [-150, 150], vector={"partner": "10v", "component": "u"}),
            "10v": parameter(166, [-150, 150], vector={"partner": "10u", "component": "v"}),
        },
    }


def parameter(param_id: int, limits: list[float], **more: Any) -> dict[str, Any]:
    """One parameter of a manifest."""
    return {"units": "m s-1", "identities": [{"paramId": param_id}], "range": limits, **more}


@pytest.fixture(scope="session")
def wind_manifest() -> GribManifest:
    """A global wind bundle's GRIB part."""
    return read_manifest(wind_part())


@pytest.fixture(scope="session")
def mir_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """MIR's weights, in a folder of this test run."""
    folder = tmp_path_factory.mktemp("mir")
    folder.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIR_CACHE_PATH", str(folder))
        regrid.use_cache(folder)
        yield folder
