"""Pairs in one file, so that a machine without the archive can fit: what, and what not to."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from engines.errors import UsageError
from engines.training.files import replace_whole
from engines.training.settings import Array, Mirror, Pairs

FORMAT = "downscaled pairs 1"


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """Pairs to learn from, pairs held back, and the digest that names their making."""

    learn: Pairs
    held_back: Pairs
    material: str


def material_of(learn: Pairs, held_back: Pairs) -> str:
    """Return the digest of what a fit sees, as it is in half precision, hexadecimal."""
    digest = hashlib.sha256()
    for name, values in sorted(_arrays(learn, held_back).items()):
        digest.update(f"{name} {values.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def write_pairs(path: Path, lesson: Lesson) -> None:
    """Write pairs in half precision, 5e-4 of a value, which the noise of any level drowns."""
    told = {
        "format": FORMAT,
        "periodic": lesson.learn.periodic,
        "material": lesson.material,
    }
    raw = save(_arrays(lesson.learn, lesson.held_back), metadata={"pairs": json.dumps(told)})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_whole(path, lambda beside: beside.write_bytes(raw))


def read_pairs(path: Path) -> Lesson:
    """Read what `write_pairs` wrote; raises UsageError for anything else."""
    try:
        with safe_open(path, framework="np") as file:
            told: dict[str, Any] = json.loads((file.metadata() or {}).get("pairs", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as pairs to learn from: {error}") from error
    if told.get("format") != FORMAT:
        raise UsageError(f"{path} is of format {told.get('format')!r}, want {FORMAT!r}")
    mirror = None
    if "mirror.residual" in arrays:
        mirror = Mirror(
            arrays["mirror.residual"], arrays["mirror.condition"], arrays["mirror.constants"]
        )
    learn, held_back = (
        Pairs(
            residual=arrays[f"{part}.residual"],
            condition=arrays[f"{part}.condition"],
            constants=arrays["constants"],
            row_weights=arrays["row_weights"],
            periodic=told["periodic"],
            mirror=mirror,
        )
        for part in ("learn", "held_back")
    )
    return Lesson(learn, held_back, told["material"])


def _arrays(learn: Pairs, held_back: Pairs) -> dict[str, Array]:
    found: dict[str, Array] = {
        "learn.residual": learn.residual.astype(np.float16),
        "learn.condition": learn.condition.astype(np.float16),
        "held_back.residual": held_back.residual.astype(np.float16),
        "held_back.condition": held_back.condition.astype(np.float16),
        "constants": learn.constants.astype(np.float32),
        "row_weights": learn.row_weights.astype(np.float32),
    }
    if learn.mirror is not None:
        found |= {
            "mirror.residual": learn.mirror.residual.astype(np.float32),
            "mirror.condition": learn.mirror.condition.astype(np.float32),
            "mirror.constants": learn.mirror.constants.astype(np.float32),
        }
    return found
