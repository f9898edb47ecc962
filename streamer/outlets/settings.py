"""What the config says about files: `output.files` of the daemon, and the section `sink`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamer.outlets.pattern import Pattern

Format = Literal["grib", "netcdf", "geotiff", "zarr", "record"]

_RUN = "{centre}/{source}/{reference_time}/{member}"
#: By format, the pattern that counts where none is given, and what any pattern must name.
#: One grid a file, so all but GRIB part the products; a store holds a whole run.
PATTERNS: Mapping[Format, tuple[str, tuple[str, ...]]] = {
    "grib": (f"{_RUN}/{{step}}.grib2", ("step",)),
    "netcdf": (f"{_RUN}/{{product}}/{{step}}.nc", ("step", "product")),
    "geotiff": (f"{_RUN}/{{product}}/{{step}}/{{parameter}}.tif", ("step", "product", "parameter")),
    "zarr": (f"{_RUN}/{{product}}.zarr", ("product",)),
    "record": (f"{_RUN}/{{step}}.json", ("step",)),
}
#: What a whole run must not depend on, and what a record of all fields must not.
_REFUSED: Mapping[Format, tuple[str, ...]] = {
    "zarr": ("step", "valid_time", "parameter"),
    "record": ("product", "parameter"),
}
_IDENTITY = ("reference_time", "valid_time"), ("member",)


@dataclass(frozen=True, slots=True)
class FileSettings:
    """One kind of files that is written of each complete step.

    pattern: the path below `folder`; "" is the format's own. products, parameters: only these;
    None: all. `record` writes the step's record as JSON: last in a list, it tells that all
    before it are there.
    """

    format: Format
    folder: Path
    pattern: str = ""
    products: tuple[str, ...] | None = None
    parameters: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse patterns in which two steps would write the same file."""
        pattern = self.names
        usual, wanted = PATTERNS[self.format]
        missing = [f"{{{word}}}" for word in wanted if word not in pattern.words]
        missing += [
            " or ".join(f"{{{word}}}" for word in words)
            for words in _IDENTITY
            if not pattern.words & set(words)
        ]
        if missing:
            raise ValueError(
                f"pattern: found {pattern.text!r} without {', '.join(missing)}: files would "
                f"replace each other; wanted such as {usual!r}"
            )
        idle = [f"{{{word}}}" for word in _REFUSED.get(self.format, ()) if word in pattern.words]
        if idle:
            raise ValueError(
                f"pattern: found {pattern.text!r} with {', '.join(idle)}, which {self.format} "
                f"files are not parted by; wanted such as {usual!r}"
            )

    @property
    def names(self) -> Pattern:
        """The pattern in force. Raises ValueError where it is none."""
        try:
            return Pattern(self.pattern or PATTERNS[self.format][0])
        except ValueError as error:
            raise ValueError(f"pattern: {error}") from None

    def wants(self, product: str, parameter: str) -> bool:
        """Whether a field goes into these files."""
        return (self.products is None or product in self.products) and (
            self.parameters is None or parameter in self.parameters
        )


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """What `downscaled sink` does with the topics under `output`.

    group_id: sinks that divide the work share it; "": `bus.group_id` with `.sink` behind it.
    start_at: where to begin when nothing was ever committed.
    waiting_bytes: fields of steps that are not whole yet; above, one partition is read alone.
    port: of metrics and probes, on `metrics.host`; the daemon's own is `metrics.port`.
    """

    files: tuple[FileSettings, ...]
    group_id: str = ""
    start_at: Literal["earliest", "latest"] = "earliest"
    waiting_bytes: int = 512 << 20
    port: int = 9109

    def __post_init__(self) -> None:
        """Refuse a sink that writes nothing, or holds nothing."""
        if not self.files:
            raise ValueError("files: found none, wanted at least one format and folder")
        if self.waiting_bytes <= 0:
            raise ValueError(f"waiting_bytes: found {self.waiting_bytes}, wanted more than 0")
