"""Six parameters for tests of the whole: bundles from checkpoints of IPSL-AID, and forecasts.

The weights are random and the network narrow; everything around them is what users have.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from streamer.commands.main import main
from streamer.grib import codes
from streamer.grib.frame import split
from streamer.grib.wants import Limits
from tests import ipsl

REFERENCE_TIME = datetime(2024, 7, 2, 12, tzinfo=UTC)
#: Hours from one step of the forecast to the next; the first one is the first step.
APART = 3
#: Our names of the network's channels, in its order.
NAMES = ("2t", "10u", "10v", "tp", "2d", "skt")


@dataclass(frozen=True)
class Globe:
    """A network's fine globe, the image that it learned from, and how it draws."""

    shape: tuple[int, int]
    coarse: tuple[int, int]
    tile: tuple[int, int]
    width: int
    levels: int
    draws: int


@dataclass(frozen=True)
class Sender:
    """Whose forecast it is: on which grid, in which edition, how it names and gathers things."""

    centre: str
    shape: tuple[int, int]
    edition: int
    names: Mapping[str, str]
    gathers_from_start: bool
    rain_per_metre: float


#: What GFS calls them in edition 1: number, kind of level, level.
GFS_NUMBERS = {
    "2t": (11, 105, 2),
    "10u": (33, 105, 10),
    "10v": (34, 105, 10),
    "tp": (61, 1, 0),
    "2d": (17, 105, 2),
    "skt": (11, 1, 0),
}


def ecmwf(shape: tuple[int, int]) -> Sender:
    """Return a sender of edition 2, whose rain gathers from the start, in metres."""
    return Sender("ecmf", shape, 2, {name: name for name in NAMES}, True, 1.0)


def gfs(shape: tuple[int, int]) -> Sender:
    """Return a sender of edition 1, whose rain gathers from step to step, in kg m-2."""
    names = {name: name for name in NAMES} | {"skt": "t"}
    return Sender("kwbc", shape, 1, names, False, 1000.0)


@dataclass(frozen=True)
class Imported:
    """A bundle in `folder / "bundle"`, and the files that it came from."""

    globe: Globe
    folder: Path
    files: ipsl.Files

    @property
    def bundle(self) -> Path:
        """Where the bundle lies."""
        return self.folder / "bundle"


@dataclass(frozen=True)
class Replayed:
    """What a forecast became. given: the coarse messages by name and step."""

    sender: Sender
    imported: Imported
    given: Mapping[tuple[str, int], bytes]
    output: Path

    @property
    def steps(self) -> list[int]:
        """The forecast's steps, in hours."""
        return sorted({step for _, step in self.given})

    @property
    def files(self) -> tuple[Path, ...]:
        """Where the coarse messages lie."""
        return tuple(sorted((self.output.parent / "input").iterdir()))

    def fine(self, step: int) -> list[bytes]:
        """Return the fine messages of a step."""
        (path,) = (self.output / "fine").glob(f"*_{step}.grib2")
        return [piece for piece in split(path.read_bytes(), Limits()) if isinstance(piece, bytes)]

    def records(self) -> list[dict[str, Any]]:
        """Return what was written of steps and runs."""
        lines = (self.output / "steps.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def import_bundle(folder: Path, globe: Globe, architecture: str = "ddpmpp") -> Imported:
    """Write a checkpoint of random weights and import it."""
    files = ipsl.write(
        folder / "files",
        shape=globe.shape,
        tile=globe.tile,
        width=globe.width,
        num_steps=globe.levels,
        architecture=architecture,
    )
    coarse = map(str, globe.coarse)
    assert main(files.command(folder / "bundle", "--coarse", *coarse)) == 0
    return Imported(globe, folder, files)


def replay(
    folder: Path, imported: Imported, sender: Sender, steps: Iterable[int], **more: Any
) -> Replayed:
    """Send a forecast through the bundle by `downscaled replay`; more: of its configuration."""
    given = {(n, step): coarse_message(n, step, sender) for step in steps for n in NAMES}
    (folder / "input").mkdir()
    for i, message in enumerate(given.values()):
        (folder / "input" / f"{i:02}.grib").write_bytes(message)
    config = {
        "bus": {"bootstrap_servers": ["nowhere:9092"], "group_id": "six"},
        "input": {"topic": "coarse", "steps": "/".join(map(str, steps))},
        "output": {"topic": "fine", "packing": {"bits": 24}},
        "model": {"bundle": str(imported.bundle), "draws": imported.globe.draws},
        "engine": {"cache": str(imported.folder / "cache")},
        "limits": {"workers": 1},
        **more,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    arguments = ["--input", str(folder / "input"), "--output", str(folder / "output"), "--json"]
    assert main(["replay", str(path), *arguments]) == 0
    return Replayed(sender, imported, given, folder / "output")


def weather(name: str, step: int, shape: tuple[int, int]) -> codes.Values:
    """Return sound values of a parameter; precipitation as it gathers from the start, metres."""
    latitude = np.linspace(np.pi / 2, -np.pi / 2, shape[0])[:, None]
    longitude = np.linspace(0, 2 * np.pi, shape[1], endpoint=False)
    wave = np.cos(latitude) * np.sin(3 * longitude + step / 3 + NAMES.index(name))
    noise = np.random.default_rng([step, NAMES.index(name)]).standard_normal(shape)
    mean, deviation = list(ipsl.CLIMATE.values())[NAMES.index(name)]
    if name == "tp":
        rates = np.random.default_rng(5).gamma(0.3, 4e-4, (step, *shape))
        return np.asarray(rates.sum(axis=0), dtype=np.float64)
    return np.asarray(mean + deviation * (wave + noise / 4), dtype=np.float64)


def coarse_message(name: str, step: int, sender: Sender) -> bytes:
    """Encode one field of the forecast on the sender's grid, as the sender does."""
    rows, columns = sender.shape
    keys: dict[str, Any] = {
        "Ni": columns,
        "Nj": rows,
        "latitudeOfFirstGridPointInDegrees": 90,
        "latitudeOfLastGridPointInDegrees": -90,
        "longitudeOfFirstGridPointInDegrees": 0,
        "longitudeOfLastGridPointInDegrees": 360 - 360 / columns,
        "iDirectionIncrementInDegrees": 360 / columns,
        "jDirectionIncrementInDegrees": 180 / (rows - 1),
        "centre": sender.centre,
        "dataDate": 20240702,
        "dataTime": 1200,
        "bitsPerValue": 24,
    }
    values = weather(name, step, sender.shape)
    if sender.edition == 2:
        keys |= {"shortName": name, "stepRange": f"0-{step}" if name == "tp" else step}
    else:
        number, kind, level = GFS_NUMBERS[name]
        keys |= {"table2Version": 2, "indicatorOfTypeOfLevel": kind, "level": level}
        keys |= {"indicatorOfParameter": number, "stepType": "instant", "stepRange": step}
        if name == "tp":
            values -= weather(name, step - APART, sender.shape)
            keys |= {"stepType": "accum", "stepRange": f"{step - APART}-{step}"}
    with codes.sample(f"regular_ll_sfc_grib{sender.edition}") as handle:
        for key, value in keys.items():
            handle.set(key, value)
        handle.set_values(values.ravel() * (sender.rain_per_metre if name == "tp" else 1))
        return handle.message()


def keys_of(message: bytes, *names: str) -> tuple[Any, ...]:
    """Return GRIB keys of a message, each in its own type."""
    with codes.opened(message) as handle:
        return tuple(handle.native(name) for name in names)
