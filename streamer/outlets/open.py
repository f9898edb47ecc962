"""Opens the outlets that a config names; each format's library only where it is asked for."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from engines.errors import UsageError
from streamer.outlets.outlet import FilesOutlet, Outlet
from streamer.outlets.pattern import quoted
from streamer.outlets.plain_files import write_grib, write_record
from streamer.outlets.settings import FileSettings
from streamer.steps import Steps

#: By format, the module that stands at its library's door, and the package that it needs.
_DOORS = {
    "netcdf": ("streamer.outlets.netcdf", "netCDF4"),
    "geotiff": ("streamer.outlets.geotiff", "rasterio"),
    "zarr": ("streamer.outlets.zarr_store", "zarr"),
}


def open_outlets(files: Sequence[FileSettings], steps: Steps, writer: str) -> list[Outlet]:
    """Open one outlet for each of the settings, in their order.

    steps: of which a run consists; what a whole run's store is laid out from.
    writer: a name that no other living process has on these folders.
    Raises UsageError where a format's library is missing or a folder cannot be used.
    """
    return [_open(one, steps, quoted(writer)) for one in files]


def _open(settings: FileSettings, steps: Steps, writer: str) -> Outlet:
    try:
        if settings.format == "grib":
            return FilesOutlet(settings, writer, write_grib)
        if settings.format == "record":
            return FilesOutlet(settings, writer, write_record)
        door = _door(settings.format)
        if settings.format == "zarr":
            outlet: Outlet = door.ZarrOutlet(settings, steps, writer)
            return outlet
        return FilesOutlet(settings, writer, door.write)
    except OSError as error:
        raise UsageError(
            f"{settings.format} files: the folder {settings.folder} cannot be used: "
            f"{error.strerror or error}"
        ) from error


def _door(kind: str) -> Any:
    module, package = _DOORS[kind]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise UsageError(
            f"{kind} files need the package {package}, which is not installed: "
            "pip install 'downscaled[files]'"
        ) from None
