"""Reads what `torch.save` wrote: tensors and plain values only, whatever the file would like."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engines.errors import BundleError


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint's weights by name, float32 on the CPU, and the arguments it was trained with."""

    weights: Mapping[str, Tensor]
    args: Mapping[str, Any]
    epoch: int | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint with `weights_only`, so that loading it runs no code of its own.

    Raises BundleError for a pickled module, a file that is no checkpoint, or one that lacks
    `state_dict` or `args`.
    """
    found = _load(path)
    if not isinstance(found, Mapping):
        raise BundleError(
            f"{path}: holds {_kind(found)}, wanted a dict of state_dict, args and training state"
        )
    lacking = [key for key in ("state_dict", "args") if not isinstance(found.get(key), Mapping)]
    if lacking:
        keys = ", ".join(sorted(map(str, found))[:12]) or "nothing"
        raise BundleError(f"{path}: lacks {' and '.join(lacking)} as dicts, holds {keys}")
    weights = found["state_dict"]
    odd = [str(name) for name, value in weights.items() if not isinstance(value, Tensor)]
    if odd or not weights:
        raise BundleError(f"{path}: state_dict holds {odd[:3] or 'nothing'}, wanted tensors")
    epoch = found.get("epoch")
    return Checkpoint(
        weights={str(name): value.detach().float() for name, value in weights.items()},
        args=found["args"],
        epoch=epoch if isinstance(epoch, int) else None,
    )


def _load(path: Path) -> object:
    if not path.is_file():
        raise BundleError(f"{path}: found no such file, wanted a checkpoint *_best_model.pth.tar")
    try:
        # A mapped file leaves the optimiser's state, twice the weights, on the disk.
        is_mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        # torch names the class that it would have to import, which only a pickled object needs.
        if "GLOBAL" in str(error) or "global" in str(error):
            raise BundleError(
                f"{path}: holds pickled Python objects, as *_full.pth does, and loading them would "
                "run code from the file; wanted the *_best_model.pth.tar beside it"
            ) from error
        raise _no_checkpoint(path, error) from error
    # A damaged file makes torch's reader raise nearly anything, an AssertionError too.
    except Exception as error:
        raise _no_checkpoint(path, error) from error


def _no_checkpoint(path: Path, error: Exception) -> BundleError:
    said = (str(error).splitlines() or [""])[0]
    return BundleError(f"{path}: is no checkpoint that torch can read ({said[:120]})")


def _kind(found: object) -> str:
    return "a tensor" if isinstance(found, Tensor) else f"a {type(found).__name__}"
