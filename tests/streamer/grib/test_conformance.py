"""Every real file that we have decodes, or is refused with a reason that a person understands."""

from collections import Counter
from pathlib import Path

import pytest

from streamer.domain import Decoded, Field, Reason, Rejected
from streamer.grib.decode import decode, prepare
from streamer.grib.frame import split
from streamer.grib.manifest import GribManifest, read_manifest
from streamer.grib.wants import Limits, Wants
from streamer.grib.workers import Workers
from tests.streamer.grib.conftest import parameter, wind_part

#: what the files hold most of, so that their grids are really gone into; 0 is "unknown"
PARAM_IDS = (
    *(0, 54, 59, 106, 129, 130, 131, 132, 134, 135, 139, 151, 152, 156, 157, 167, 228, 235),
    *(3041, 3059, 3112, 140234, 140251, 228082, 228228, 260030, 260033, 260048, 260074, 260255),
    *(401000, 402000, 457000, 7001353),
)
#: above 4 million points MIR would think for minutes about weights that no other test needs
LIMITS = Limits(points=4_000_000, worker_timeout_s=60)

Outcome = tuple[str, str]

#: rows of the table that are known, by file: outcome of the first message, words of its text
KNOWN = {
    "cfgrib/alternate-scanning.grib": (Reason.OUTSIDE_AREA, "51 N -10 E to 34 N 19 E"),
    "cfgrib/era5-levels-corrupted.grib": (Reason.UNDECODABLE, "1588 bytes"),
    "cfgrib/fields_with_missing_values.grib": (Reason.MISSING_VALUES, "10808 of 16380"),
    "cfgrib/reduced_gg.grib": ("field", "reduced_gg N48"),
    "cfgrib/regular_gg_ml_g2.grib": ("field", "regular_gg N80"),
    "cfgrib/regular_gg_wrong_increment.grib": (Reason.UNSUPPORTED_GRID, "Gaussian: values size"),
    "cfgrib/regular_ll_msl.grib": ("field", "regular_ll 181x360"),
    "cfgrib/regular_ll_wrong_increment.grib": (Reason.UNSUPPORTED_GRID, "IncrementInDegrees is 2"),
    "cfgrib/spherical_harmonics.grib": (Reason.UNSUPPORTED_GRID, "grid type sh"),
    "cfgrib/nam.t00z.awp21100.tm00.grib2": (Reason.OUTSIDE_AREA, "lambert"),
    "earthkit-data/O32_global.grib1": ("field", "reduced_gg N32"),
    "earthkit-data/O32_global.grib2": ("field", "reduced_gg N32"),
    "earthkit-data/empty_file.grib": (Reason.EMPTY, "no bytes"),
    "earthkit-data/healpix_H8.grib2": (Reason.COARSER_THAN_BUNDLE, "7.3"),
    "earthkit-data/mercator.grib": (Reason.UNSUPPORTED_GRID, "grid type mercator"),
    "earthkit-data/rotated_N32_subarea.grib": (
        Reason.UNSUPPORTED_GRID,
        "grid type reduced_rotated_gg",
    ),
    "earthkit-data/rotated_wind_20x20.grib": (Reason.COARSER_THAN_BUNDLE, "20 degrees"),
    "earthkit-data/t_year_missing.grib": (Reason.UNDECODABLE, "reference time"),
    "earthkit-data/test_icon.grib": (Reason.UNSUPPORTED_GRID, "unstructured_grid"),
    "earthkit-data/test_padding.grib": (Reason.OUTSIDE_AREA, "73 N -27 E"),
    "grib-rs/CMC_glb_TMP_ISBL_1_latlon.24x.24_2021051800_P000.grib2": ("field", "751x1500"),
    "grib-rs/20260219T00Z_MSC_HRDPS_CAPE_Sfc_RLatLon0.0225_PT000H.grib2": (
        Reason.UNSUPPORTED_GRID,
        "rotated grid of a limited area",
    ),
    "grib-rs/gdas.t00z.sfluxgrbf000.grib2.0": (Reason.TOO_LARGE, "4718592 points"),
    "grib-rs/ds.minrh.bin": (Reason.NOT_GRIB, "****"),
    "broken/gfs.t00z.pgrb2.1p00.f000.2018101018": (Reason.NOT_GRIB, "<!DOCTYPE html"),
}


def generous(coarse: float, **grid: float) -> GribManifest:
    """A bundle's GRIB part that accepts nearly any parameter."""
    part = wind_part()
    part["grid"] |= grid
    part["coarse"]["grid"] = [coarse, coarse]
    part["interpolation"] = "linear" if grid else "structured-bicubic"
    for param_id in PARAM_IDS:
        part["parameters"][f"p{param_id}"] = parameter(param_id, [-1e12, 1e12])
    return read_manifest(part)


def summary(found: list[Decoded]) -> Counter[Outcome]:
    """Count a file's outcomes, in the order in which they first came."""
    counted: Counter[Outcome] = Counter()
    for one in found:
        if isinstance(one, Field):
            counted[("field", one.grid)] += 1
        elif isinstance(one, Rejected):
            counted[(str(one.reason), one.text)] += 1
        else:
            counted[("unwanted", one.why)] += 1
    return counted


def table(files: list[Path], manifest: GribManifest, cache: Path) -> dict[Path, Counter[Outcome]]:
    """Send every file through a worker process as one record."""
    found: dict[Path, Counter[Outcome]] = {}
    wants = Wants(manifest, limits=LIMITS)
    with Workers(decode, wants, 1, prepare=prepare, cache=cache) as workers:
        for ticket, path in enumerate(files):
            workers.submit(ticket, path.read_bytes())
        while workers.pending:
            found |= {files[ticket]: summary(decoded) for ticket, decoded in workers.finished(60)}
    return found


def show(title: str, found: dict[Path, Counter[Outcome]]) -> None:
    """Print the table, at most two outcomes a file."""
    print(f"\n{title}")
    for path in sorted(found):
        outcomes = found[path]
        for (outcome, text), count in list(outcomes.items())[:2]:
            print(f"{path.name[-44:]:44} {count:4} {outcome:20} {text[:120]}")
        if len(outcomes) > 2:
            print(f"{'':44} and {len(outcomes) - 2} other outcomes")


@pytest.fixture(scope="module")
def files(shared_data: Path) -> list[Path]:
    """Every file of every folder; of the hourly and six-hourly archives the first two."""
    found = [path for path in sorted(shared_data.rglob("*")) if path.is_file()]
    many = {shared_data / "gfs-wind-1deg" / name for name in ("train", "validate")}
    some = [path for path in found if path.parent not in many]
    return some + [path for folder in sorted(many) for path in sorted(folder.iterdir())[:2]]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_real_file_decodes_or_is_refused_with_a_reason(
    files: list[Path], mir_cache: Path
) -> None:
    found = table(files, generous(4), mir_cache)
    show("global bundle, 4 degrees to 1", found)

    assert set(found) == set(files)
    for path, outcomes in found.items():
        for outcome, text in outcomes:
            assert text, f"{path.name}: {outcome} without a word why"
            assert outcome not in (Reason.WORKER_DIED, Reason.WORKER_HUNG), f"{path.name}: {text}"
    by_name = {f"{path.parent.name}/{path.name}": found[path] for path in files}
    for name, (outcome, words) in KNOWN.items():
        texts = [text for (kind, text) in by_name[name] if kind == outcome]
        assert any(words in text for text in texts), f"{name}: {by_name[name]}, want {outcome}"
    fields = sum(
        n for outcomes in found.values() for (kind, _), n in outcomes.items() if kind == "field"
    )
    assert fields > 180


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_files_of_other_areas_and_spacings_decode_for_bundles_of_their_own(
    files: list[Path], mir_cache: Path
) -> None:
    small = [path for path in files if path.stat().st_size < 100_000]
    coarse = table(small, generous(60), mir_cache)
    show("global bundle, 60 degrees to 1", coarse)
    europe = table(small, generous(2, north=50, west=2, rows=9, columns=9), mir_cache)
    show("limited area, 2 degrees to 1", europe)

    served = {
        words.split(" ")[0]
        for one in (coarse, europe)
        for outcomes in one.values()
        for (kind, words) in outcomes
        if kind == "field"
    }
    assert served >= {"regular_ll", "regular_gg", "reduced_gg", "rotated_ll", "healpix"}
    for name, found in (
        ("ll_sn_scanning_mode.grib", coarse),
        ("rotated_wind_20x20.grib", coarse),
        ("healpix_H8.grib2", coarse),
        ("ll_10_20.grib", coarse),
        ("alternate-scanning.grib", europe),
        ("era5-single-level-scalar-time.grib", europe),
    ):
        (path,) = (path for path in small if path.name == name)
        assert any(kind == "field" for kind, _ in found[path]), f"{name}: {found[path]}"


def test_the_broken_download_is_told_from_a_forecast(shared_data: Path) -> None:
    for path in sorted((shared_data / "gfs-wind-1deg" / "broken").iterdir()):
        (found,) = split(path.read_bytes(), LIMITS)

        assert isinstance(found, Rejected)
        assert found.reason is Reason.NOT_GRIB
        assert "<!DOCTYPE html" in found.text
