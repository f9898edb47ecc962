"""Input of a part of the globe for a global bundle: known where it reaches, as the whole is."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.noise import Window
from streamer.domain import Field, Grid, Reason, Rejected
from streamer.grib import partial, regrid
from streamer.grib.codes import opened, sample
from streamer.grib.decode import decode
from streamer.grib.grids import oriented
from streamer.grib.known import resized_globe
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.grib.wants import Limits, Wants

pytestmark = pytest.mark.usefixtures("mir_cache")

Values = NDArray[np.floating[Any]]

GLOBE = Grid(90.0, 0.0, 1.0, 1.0, 181, 360)
#: Rows and columns of the globe of 1 degree that the parts here hold: over Greenwich.
PART = Window((10, 91), (330, 450), 360)
#: Points of the fine grid well inside it, and some that lie on its edge.
INSIDE, AT_EDGE = Window((30, 70), (345, 435), 360), Window((10, 40), (345, 435), 360)


def message(values: Values, grid: Grid, **keys: Any) -> bytes:
    """A 10u message on a regular grid, packed finely enough to be compared."""
    told: Mapping[str, Any] = {
        "Ni": grid.columns,
        "Nj": grid.rows,
        "latitudeOfFirstGridPointInDegrees": grid.north,
        "latitudeOfLastGridPointInDegrees": float(grid.latitudes[-1]),
        "longitudeOfFirstGridPointInDegrees": grid.west % 360.0,
        "longitudeOfLastGridPointInDegrees": float(grid.longitudes[-1]) % 360.0,
        "iDirectionIncrementInDegrees": grid.spacing_lon,
        "jDirectionIncrementInDegrees": grid.spacing_lat,
        "bitsPerValue": 24,
        "paramId": 165,
        **keys,
    }
    with sample("regular_ll_sfc_grib2") as handle:
        for key, value in told.items():
            handle.set(key, value)
        handle.set_values(values.ravel().astype(np.float64))
        return handle.message()


@pytest.fixture(scope="module")
def wind(shared_data: Path) -> Values:
    """A real wind, (181, 360)."""
    folder = shared_data / "gfs-wind-1deg" / "train"
    raw = (folder / "gfs.t00z.pgrb2.1p00.f000.2018100618f3.grib2").read_bytes()
    with opened(raw) as handle:
        return oriented(handle.values(), handle)


def cut(values: Values, window: Window) -> Values:
    return values[slice(*window.rows)].take(range(*window.columns), axis=-1, mode="wrap")


def decoded(values: Values, window: Window | None, wants: Wants) -> Any:
    grid = GLOBE if window is None else GLOBE.part(window.rows, window.columns)
    (found,) = decode(message(values if window is None else cut(values, window), grid), wants, "")
    return found


def test_a_part_gives_the_globes_fields_where_it_reaches_and_nothing_elsewhere(
    wind: Values, wind_manifest: GribManifest
) -> None:
    whole = decoded(wind, None, Wants(wind_manifest))

    found = decoded(wind, PART, Wants(wind_manifest, needed=(INSIDE,)))

    assert isinstance(found, Field)
    for mine, others in ((found.coarse, whole.coarse), (found.interpolated, whole.interpolated)):
        known = np.isfinite(mine)
        # Two packings of 24 bits lie between.
        np.testing.assert_allclose(mine[known], others[known], atol=2e-5)
    # Boxes of 4 degrees wholly within: 76 N to 4 N, 28 W to 84 E.
    assert np.isfinite(found.coarse).sum() == 19 * 29
    outside = np.ones(GLOBE.shape, dtype=bool)
    outside[slice(*PART.rows), np.arange(*PART.columns) % 360] = False
    assert np.isnan(found.interpolated[outside]).all()
    assert np.isfinite(cut(found.interpolated, INSIDE)).all()


def test_what_is_unknown_has_no_say_in_what_is_known(wind: Values) -> None:
    """Whatever lies outside the part changes no bit inside."""
    manifest_coarse = Grid(88.0, 0.0, 4.0, 4.0, 45, 90)
    part = GLOBE.part(PART.rows, PART.columns)
    coarse = read_manifest(_four_to_one()).coarse
    assert coarse.grid == manifest_coarse

    found = partial.to_coarse(cut(wind, PART).astype(np.float64), part, coarse)

    other = np.full(GLOBE.shape, 1e6)
    other[slice(*PART.rows), np.arange(*PART.columns) % 360] = cut(wind, PART)
    known = np.isfinite(found)
    wanted = regrid.to_coarse(other, GLOBE, coarse)[known]
    np.testing.assert_allclose(found[known], wanted, rtol=1e-6, atol=1e-4)


def _four_to_one() -> dict[str, Any]:
    grid = {"north": 90.0, "west": 0.0, "spacing_lat": 1.0, "spacing_lon": 1.0}
    return {
        "grid": {**grid, "rows": 181, "columns": 360},
        "coarse": {"method": "mir", "grid": [4, 4], "interpolation": "grid-box-average"},
        "interpolation": "structured-bicubic",
        "parameters": {
            "10u": {"units": "m s-1", "identities": [{"paramId": 165}], "range": [-150, 150]}
        },
    }


def test_a_part_on_the_coarse_grid_passes_unchanged(
    wind: Values, wind_manifest: GribManifest
) -> None:
    coarse = regrid.to_coarse(wind, GLOBE, wind_manifest.coarse)
    # 60 N to 20 S, 32 W to 96 E.
    grid = Grid(60.0, -32.0, 4.0, 4.0, 21, 33)
    values = coarse[7:28].take(range(82, 115), axis=1, mode="wrap")
    wants = Wants(wind_manifest, needed=(Window((45, 90), (345, 435), 360),))

    (found,) = decode(message(values, grid), wants, "")

    assert isinstance(found, Field)
    known = np.isfinite(found.coarse)
    assert known.sum() == values.size
    np.testing.assert_allclose(found.coarse[known], coarse[known], atol=2e-5)


def test_a_part_that_holds_a_pole_knows_the_pole(wind: Values, wind_manifest: GribManifest) -> None:
    """A hemisphere: its columns go all the way round, its last rows lean on the other."""
    half, needed = Window((0, 91), (0, 360), 360), Window((0, 80), (0, 360), 360)
    whole = decoded(wind, None, Wants(wind_manifest))

    found = decoded(wind, half, Wants(wind_manifest, needed=(needed,)))

    assert isinstance(found, Field)
    assert np.isfinite(found.interpolated[:80]).all()
    assert np.isnan(found.interpolated[91:]).all()
    np.testing.assert_allclose(found.interpolated[:80], whole.interpolated[:80], atol=2e-5)


def test_a_part_that_leaves_needed_points_unknown_is_refused_with_both_reaches(
    wind: Values, wind_manifest: GribManifest
) -> None:
    found = decoded(wind, PART, Wants(wind_manifest, needed=(INSIDE, AT_EDGE)))

    assert isinstance(found, Rejected)
    assert found.reason is Reason.OUTSIDE_AREA
    assert "the field covers 80 N -30 E to 0 N 89 E" in found.text
    assert "points unknown of what the products need: 80 N 345 E to 51 N 434 E" in found.text


def test_a_part_is_refused_where_the_whole_globe_is_needed(
    wind: Values, wind_manifest: GribManifest
) -> None:
    found = decoded(wind, PART, Wants(wind_manifest))

    assert isinstance(found, Rejected)
    assert found.reason is Reason.OUTSIDE_AREA
    assert "the bundle needs 88 N 0 E" in found.text


def test_a_globe_too_large_to_lay_the_part_into_is_refused(
    wind: Values, wind_manifest: GribManifest
) -> None:
    wants = Wants(wind_manifest, limits=Limits(points=60_000), needed=(INSIDE,))

    found = decoded(wind, PART, wants)

    assert isinstance(found, Rejected)
    assert found.reason is Reason.TOO_LARGE
    assert "its globe would have 65160 points, the limit is 60000" in found.text


def test_a_globe_that_needs_only_a_part_is_decoded_as_ever(
    wind: Values, wind_manifest: GribManifest
) -> None:
    plain = decoded(wind, None, Wants(wind_manifest))

    found = decoded(wind, None, Wants(wind_manifest, needed=(INSIDE,)))

    assert found.interpolated.tobytes() == plain.interpolated.tobytes()


def test_a_resized_image_of_a_part_is_known_where_the_part_alone_made_it() -> None:
    shape = (37, 72)
    grid = Grid(90.0, 0.0, 5.0, 5.0, *shape)
    manifest = read_manifest(resized_globe(["2t"], shape=shape, coarse=(12, 18)))
    assert manifest.grid == grid
    values = 250.0 + 40.0 * np.random.default_rng(4).random(shape)
    window, needed = Window((3, 28), (10, 60), 72), Window((9, 22), (18, 52), 72)
    keys = {"shortName": "2t", "paramId": 167}
    (whole,) = decode(message(values, grid, **keys), Wants(manifest), "")

    part = message(cut(values, window), grid.part(window.rows, window.columns), **keys)
    (found,) = decode(part, Wants(manifest, needed=(needed,)), "")

    assert isinstance(whole, Field)
    assert isinstance(found, Field)
    known = np.isfinite(found.interpolated)
    assert np.isfinite(cut(found.interpolated, needed)).all()
    assert known.sum() < 25 * 50
    np.testing.assert_allclose(found.interpolated[known], whole.interpolated[known], atol=1e-3)


@pytest.mark.parametrize(
    ("grid", "globe"),
    [
        (Grid(58.0, -10.0, 0.25, 0.25, 33, 49), Grid(90.0, -10.0, 0.25, 0.25, 721, 1440)),
        (Grid(44.5, 0.5, 1.0, 1.0, 10, 10), Grid(89.5, 0.5, 1.0, 1.0, 180, 360)),
        (Grid(50.1, 3.0, 0.1, 0.2, 4, 5), Grid(90.0, 3.0, 0.1, 0.2, 1801, 1800)),
        (replace(GLOBE, west=20.0), replace(GLOBE, west=20.0)),
    ],
)
def test_a_grids_lattice_is_continued_to_both_poles_and_all_round(grid: Grid, globe: Grid) -> None:
    assert partial.globe_of(grid) == globe


def test_a_lattice_that_never_closes_is_no_part_of_a_globe() -> None:
    assert partial.globe_of(Grid(58.0, -10.0, 0.7, 0.7, 33, 49)) is None
