"""The door to zarr: a run of a product as one Zarr v3 store, written a step at a time.

The store appears whole, with every step pending. A step's fields are durable before its flag in
`complete` says so. Several processes may write steps of one run: they share no chunk.
"""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from streamer.outlets.cf import StepData, file_attributes, step_data
from streamer.outlets.durable import Desk, sync
from streamer.outlets.outlet import OutletError, parted
from streamer.outlets.settings import FileSettings
from streamer.outlets.weather import read_field
from streamer.outlets.zarr_layout import (
    COLUMN,
    COMPLETE,
    DRAW,
    ROW,
    START,
    Plan,
    plan_run,
    plan_step,
)
from streamer.records import StepRecord
from streamer.steps import Steps

#: One folder an array, so that a step's chunks cost one sync of it; part of Zarr v3.
_CHUNK_KEYS = {"name": "default", "separator": "."}
_CODEC = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4)
_METADATA = "zarr.json"


class DurableStore(LocalStore):
    """A folder whose files are whole or not there; `settle` makes their names durable."""

    def __init__(
        self, root: Path | str, *, read_only: bool = False, desk: Desk | None = None
    ) -> None:
        super().__init__(root, read_only=read_only)
        self._desk = desk
        self._touched: set[Path] = set()

    def with_read_only(
        self,
        read_only: bool = False,  # noqa: FBT001, FBT002 - as zarr has it
    ) -> "DurableStore":
        """Return the same store, which may or may not be written."""
        return DurableStore(self.root, read_only=read_only, desk=self._desk)

    async def set(self, key: str, value: Buffer) -> None:
        """Write one file of the store."""
        await asyncio.to_thread(self.set_sync, key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write one file unless it is there."""
        if not await self.exists(key):
            await self.set(key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write one file of the store."""
        self._check_writable()
        assert self._desk is not None
        path = self.root / key
        with self._desk.replacing(path, is_settled=False) as unfinished:
            unfinished.write_bytes(value.to_bytes())
        self._touched.add(path.parent)

    def settle(self) -> None:
        """Wait until everything that was written is on the disk under its name."""
        for folder in sorted(self._touched):
            sync(folder)
        self._touched.clear()


class ZarrOutlet:
    """One store a run and product; see `Outlet`."""

    format = "zarr"

    def __init__(self, settings: FileSettings, steps: Steps, writer: str) -> None:
        self._settings = settings
        self._steps = steps
        self._desk = Desk(settings.folder, writer)
        self._desk.clear()

    def write_step(self, record: StepRecord, messages: Sequence[bytes]) -> int:
        """Write a step into the stores of its products; see `Outlet.write_step`."""
        minutes = self._steps.of(record.key.run.reference_time)
        if record.key.minutes not in minutes:
            raise OutletError(
                f"{record.key.text} is none of the steps that `input.steps` names, from which "
                "its store is laid out"
            )
        files = parted(self._settings, record, messages)
        # All headers are read before anything is written: what does not fit leaves nothing behind.
        steps = {
            path: step_data(record, [read_field(piece) for piece in pieces])
            for path, pieces in files.items()
        }
        for path, data in steps.items():
            product = files[path][0].entry.names.product
            if not (path / _METADATA).exists():
                self._found(path, data, minutes, file_attributes(record, product))
            self._write(path, data, minutes)
        return len(steps)

    def _found(
        self, path: Path, data: StepData, minutes: Sequence[int], attributes: dict[str, str]
    ) -> None:
        with self._desk.founding(path) as folder:
            group = zarr.create_group(LocalStore(folder), attributes=attributes, zarr_format=3)
            _make(group, plan_run(data, minutes))

    def _write(self, path: Path, data: StepData, minutes: Sequence[int]) -> None:
        """Put one step into its store: the fields, and then the flag."""
        store = DurableStore(path, desk=self._desk)
        group = zarr.open_group(store, mode="r+")
        _refuse_other(group, data, path)
        _make(group, [plan for plan in plan_step(data, minutes) if plan.name not in group])
        at, flags = minutes.index(data.key.minutes), _array(group, COMPLETE)
        if flags[at] and _holds(group, data, at):
            return
        # A step that was fed again must not look complete while its fields are mixed.
        flags[at] = 0
        store.settle()
        if data.interval is not None:
            _array(group, START)[at] = float(data.interval.start)
        for variable in data.variables:
            array = _array(group, variable.name)
            for draw, values in variable.values():
                array[(at, *draw)] = values
        store.settle()
        flags[at] = 1
        store.settle()


def _make(group: zarr.Group, plans: Iterable[Plan]) -> None:
    for plan in plans:
        array = group.create_array(
            plan.name,
            shape=plan.shape,
            chunks=plan.chunks or "auto",
            dtype=plan.dtype,
            fill_value=plan.fill,
            attributes=plan.attributes,
            dimension_names=plan.dimensions,
            compressors=[_CODEC] if plan.dtype == "f4" else None,
            chunk_key_encoding=_CHUNK_KEYS,  # type: ignore[arg-type]  # zarr takes the mapping
        )
        if plan.values is not None:
            array[...] = plan.values


def _holds(group: zarr.Group, data: StepData, at: int) -> bool:
    """Whether the store has these very fields."""
    return all(
        np.array_equal(np.asarray(_array(group, one.name)[(at, *draw)]), values, equal_nan=True)
        for one in data.variables
        for draw, values in one.values()
    )


def _refuse_other(group: zarr.Group, data: StepData, path: Path) -> None:
    """Refuse a step that does not fit the store: another grid, other draws."""
    wanted = {ROW: data.grid.latitudes, COLUMN: data.grid.longitudes}
    if data.draws:
        wanted[DRAW] = np.array(data.draws)
    for name, values in wanted.items():
        found = np.asarray(_array(group, name)[...]) if name in group else np.array([])
        if not np.array_equal(found, values):
            raise OutletError(
                f"{data.key.text} has {len(values)} {name}s from {values[0]:g} to "
                f"{values[-1]:g}, the store {path} has {len(found)} others: the run changed "
                "while it was published"
            )


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]
