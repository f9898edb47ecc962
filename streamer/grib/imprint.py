"""Whose product a message is, and that it was processed after the forecast or analysis."""

from dataclasses import dataclass

from engines.errors import UsageError
from streamer.grib import codes
from streamer.grib.codes import CodesError, Handle

#: Code table 4.3: what kind of process made the field.
POST_PROCESSED_ANALYSIS, POST_PROCESSED_FORECAST = 12, 13


@dataclass(frozen=True, slots=True)
class Imprint:
    """Whose product it is; the config's `output.centre` and `output.generating_process`.

    None keeps what the input says: the fields are that centre's forecast, post-processed, and a
    process number means something only in its centre's own list.
    """

    centre: str | int | None = None
    generating_process: int | None = None


AS_IT_CAME = Imprint()


def refuse_unknown(imprint: Imprint) -> None:
    """Raise UsageError for a centre or process number that GRIB cannot hold; before any work."""
    keys = {"centre": imprint.centre, "generatingProcessIdentifier": imprint.generating_process}
    for key, value in keys.items():
        try:
            with codes.sample("GRIB2") as handle:
                if value is not None:
                    handle.set(key, value)
        except CodesError:
            raise UsageError(
                f"output: {key} cannot be {value!r}; wanted a name or number that ecCodes knows"
                if key == "centre"
                else f"output: {key} cannot be {value!r}; wanted 0 to 255"
            ) from None


def sign(handle: Handle, imprint: Imprint) -> None:
    """Say whose product it is, and that it was processed after the forecast or analysis."""
    if imprint.centre is not None:
        # The local section and local tables mean something only to the centre that wrote them.
        handle.set("deleteLocalDefinition", 1)
        handle.set("centre", imprint.centre)
        handle.set("subCentre", 0)
        handle.set("localTablesVersion", 0)
    if imprint.generating_process is not None:
        handle.set("generatingProcessIdentifier", imprint.generating_process)
    is_analysis = handle.integer("typeOfProcessedData") == 0
    handle.set(
        "typeOfGeneratingProcess",
        POST_PROCESSED_ANALYSIS if is_analysis else POST_PROCESSED_FORECAST,
    )


def signature(handle: Handle, imprint: Imprint) -> tuple[tuple[str, str | int], ...]:
    """Return the keys that tell whose product a signed message is, as they must be found."""
    keys = ("centre", "generatingProcessIdentifier", "typeOfGeneratingProcess")
    signed: dict[str, str | int] = {key: handle.integer(key) for key in keys}
    if imprint.generating_process is not None:
        signed["generatingProcessIdentifier"] = imprint.generating_process
    return tuple(signed.items())
