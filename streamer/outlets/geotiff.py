"""The door to rasterio: a parameter's step as one Cloud Optimized GeoTIFF.

One file a parameter, one band a draw and a statistic: what shares units and grid is one layer of
a GIS, whose bands are compared, styled and averaged there; parameters are layers of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rasterio import shutil
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from streamer.domain import Grid
from streamer.outlets.outlet import OutletError, Piece
from streamer.outlets.weather import FineField, read_field
from streamer.records import StepRecord, hours, time_text

#: The grids that forecasts come on: degrees of latitude and longitude on WGS 84.
_CRS = "EPSG:4326"
#: Deflate and the predictor for floating point are read by every GDAL, and by QGIS. More effort
#: than 1 takes half as long again and saves 1 % at most: packed values have few mantissas.
_OPTIONS = {
    "compress": "deflate",
    "predictor": "yes",
    "level": 1,
    "blocksize": 512,
    "overview_resampling": "average",
    "num_threads": 1,
    "bigtiff": "if_safer",
}


def write(path: Path, record: StepRecord, pieces: Sequence[Piece]) -> None:
    """Write one file; see `WriteFile`. Raises OutletError for fields of several grids."""
    fields = [read_field(piece) for piece in pieces]
    if len({field.grid for field in fields}) != 1:
        raise OutletError(f"{record.key.text}: fields of one file on several grids, wanted one")
    grid, shift = westward(fields[0].grid)
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": len(fields),
        "height": grid.rows,
        "width": grid.columns,
        "crs": _CRS,
        "transform": placed(grid),
        "nodata": float("nan"),
        "interleave": "band",
    }
    # GDAL writes to memory: of a full disk it would say little, and not always.
    with MemoryFile() as plain, MemoryFile() as optimized:
        with plain.open(**profile) as file:
            file.update_tags(**_tags(record, fields[0]))
            for band, field in enumerate(fields, 1):
                file.write(np.roll(field.values(), shift, axis=1), band)
                file.set_band_description(band, band_name(field))
                file.set_band_unit(band, field.units)
        # A file opened as COG is made when it is closed, and rasterio holds the interpreter's
        # lock meanwhile, 0.2 s for two bands of a quarter degree; a copy lets it go.
        shutil.copy(plain.name, optimized.name, driver="COG", **_OPTIONS)
        path.write_bytes(optimized.getbuffer())


def westward(grid: Grid) -> tuple[Grid, int]:
    """Return the grid as a GIS expects it, from 180 W on, and the roll of columns that it takes.

    A limited area keeps its columns, moved round the globe so that its middle is on the map.
    """
    if grid.is_periodic:
        shift = round((grid.west + 180.0) / grid.spacing_lon)
        west = grid.west - shift * grid.spacing_lon
        return replace(grid, west=round(west, 9)), shift % grid.columns
    middle = grid.west + (grid.columns - 1) * grid.spacing_lon / 2
    turns = np.floor((middle + 180.0) / 360.0)
    return replace(grid, west=grid.west - 360.0 * float(turns)), 0


def placed(grid: Grid) -> Affine:
    """Return where pixels are: GRIB's points are their middles."""
    left, top = grid.west - grid.spacing_lon / 2, grid.north + grid.spacing_lat / 2
    return Affine(grid.spacing_lon, 0.0, left, 0.0, -grid.spacing_lat, top)


def band_name(field: FineField) -> str:
    """Return what a GIS shows of a band: `u10 draw 0`, `u10 mean`."""
    names = field.names
    which = f"draw {names.draw}" if names.draw is not None else str(names.statistic)
    return f"{field.variable} {which}"


def _tags(record: StepRecord, field: FineField) -> dict[str, str]:
    key = record.key
    told = {
        "TIFFTAG_DATETIME": key.valid_time.strftime("%Y:%m:%d %H:%M:%S"),
        "TIFFTAG_IMAGEDESCRIPTION": f"{field.long_name}, {field.names.product}",
        "AREA_OR_POINT": "Area",
        "centre": key.run.centre,
        "source": key.run.source,
        "reference_time": time_text(key.run.reference_time),
        "valid_time": time_text(key.valid_time),
        "step_hours": f"{hours(key.minutes):g}",
        "member": key.run.member_text,
        "product": field.names.product,
        "parameter": field.names.parameter,
        "bundle": record.bundle,
    }
    if field.interval is not None:
        told["accumulated"] = field.interval.text
    return told
