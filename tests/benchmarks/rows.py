"""Which sampler and which of a bundle's networks draw: what scores by draws have in common."""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.bundle import Bundle, open_manifest
from engines.calibration import sampler_to_plain
from engines.denoiser import Denoiser
from engines.errors import UsageError
from engines.open import open_bundle
from engines.sampler import Sampler, SamplerSettings, calls
from streamer.archive import read_archive
from streamer.domain import Array
from streamer.skill import Trial, trial_of
from tests.conftest import REPOSITORY

WINDS = REPOSITORY.parent / "shared" / "data" / "gfs-wind-1deg"
NAMES = (
    "a profile of the bundle's table, `row:3` of it, `recommended` (the bundle's eight), or "
    "`heun:LEVELS:SIGMA_MAX:SIGMA_MIN`; without a table `reference` is 18 levels from 80"
)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A way of drawing. bundle: seen through the network that draws."""

    name: str
    bundle: Bundle
    sampler: Sampler

    @property
    def calls(self) -> int:
        """How often a draw of one tile calls the network."""
        return calls(self.sampler, self.bundle.preconditioning.kind)

    @property
    def words(self) -> str:
        """Name it in a picture."""
        return f"{self.name} ({self.calls} calls)"

    def plain(self) -> dict[str, object]:
        """Return what JSON holds."""
        return {
            "name": self.name,
            "network": self.bundle.network_name,
            "calls": self.calls,
            "sampler": sampler_to_plain(self.sampler),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what says which bundle, which states and how many draws."""
    parser.add_argument("bundle", help="a folder, or a name that ships")
    parser.add_argument("--on", type=Path, default=WINDS / "validate", help="fine GRIB to score on")
    parser.add_argument("--days", type=int, help="only the last days of it")
    parser.add_argument("--states", type=int, help="only so many of its states, evenly spaced")
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--backend", default="auto")


def read(chosen: argparse.Namespace) -> tuple[Bundle, Trial]:
    """Return the bundle and the states that the arguments name."""
    bundle = open_manifest(chosen.bundle)
    archive = read_archive(chosen.on)
    days = archive.days()[-chosen.days :] if chosen.days else archive.days()
    states = [i for i, key in enumerate(archive.keys) if key.valid_time.date() in days]
    if chosen.states and chosen.states < len(states):
        spaced = np.linspace(0, len(states) - 1, chosen.states).round().astype(int)
        states = [states[i] for i in spaced]
    return bundle, trial_of(archive, states, bundle)


def row_of(bundle: Bundle, name: str) -> Row:
    """Return the way of drawing that a name stands for; UsageError for one that is not known."""
    table = bundle.calibration
    if name == "recommended":
        return Row(name, bundle, bundle.sampler)
    if name.startswith("heun:"):
        levels, high, low = name.split(":")[1:]
        settings = SamplerSettings(int(levels), float(low), float(high))
        return Row(name, bundle, settings)
    if table is not None and (name in table.profiles or name.startswith("row:")):
        found = table.row(name) if name in table.profiles else table.rows[int(name[4:])]
        return Row(name, bundle.of(found.network), found.sampler)
    if name == "reference":
        return Row(name, bundle, SamplerSettings())
    has = ", ".join(table.profiles) if table else "no table"
    raise UsageError(f"{name} names no way of drawing, wanted {NAMES}; the bundle has {has}")


def opened(row: Row, chosen: argparse.Namespace) -> Denoiser:
    """Open the network that a row draws with."""
    return open_bundle(row.bundle, chosen.backend, threads=chosen.threads)


def told(drawn: Iterator[Array], trial: Trial, row: Row) -> Iterator[Array]:
    """Pass draws on, and tell on standard error how far they are."""
    began = time.monotonic()
    for state, draws in enumerate(drawn):
        spent = time.monotonic() - began
        print(
            f"{row.name}: {state + 1} of {len(trial.keys)} states, {spent:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        yield draws
