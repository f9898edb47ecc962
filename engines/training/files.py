"""Files of a fit: written whole or not at all, and gone on from only by the same fit."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from engines.errors import UsageError


def replace_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside the one at `path`, and put it in its place once it is whole.

    A crash while writing must not cost the file before it.
    """
    beside = path.with_name(f"{path.name}.new")
    write(beside)
    beside.replace(path)


def write_checkpoint(path: Path, held: Mapping[str, Any]) -> None:
    """Write where a fit stands."""
    replace_whole(path, lambda beside: torch.save(dict(held), beside))


def refuse_other(
    path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], may_change: Collection[str]
) -> None:
    """Raise UsageError where a checkpoint was made with other settings than this run's."""
    for name, value in wanted.items():
        if name not in may_change and found.get(name) != value:
            raise UsageError(
                f"{path} was made with {name} {found.get(name)}, this run wants {value}; "
                "remove it to start afresh"
            )
