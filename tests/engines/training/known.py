"""Pairs whose answer is known, and a network and settings small enough to fit in a second."""

import numpy as np

from engines.networks import NetworkSettings
from engines.training.pairs_file import Lesson, material_of
from engines.training.settings import Mirror, Pairs, TrainingSettings
from engines.training.task import Task

NETWORK = NetworkSettings(
    inputs=4, outputs=1, tile=(16, 16), width=16, multipliers=(1, 2), blocks=1, attention=(),
    bottleneck_attention=False,
)  # fmt: skip
SETTINGS = TrainingSettings(
    steps=6,
    batch=4,
    tile=(16, 16),
    warmup=2,
    report_every=1,
    held_back_tiles=8,
    checkpoint_every_s=0.0,
)
TASK = Task(NETWORK, SETTINGS)


def known_pairs(states: int, seed: int) -> Pairs:
    """Residuals that their condition tells entirely: residual = condition, plus two constants."""
    rng = np.random.default_rng(seed)
    condition = rng.standard_normal((states, 1, 20, 32), dtype=np.float32)
    rows, columns = np.mgrid[:20, :32].astype(np.float32)
    constants = np.stack([rows, columns])
    return Pairs(condition, condition, constants, np.ones(20, np.float32), periodic=True)


def known_lesson() -> Lesson:
    """Four states to learn from and two held back."""
    learn, held_back = known_pairs(4, 0), known_pairs(2, 1)
    return Lesson(learn, held_back, material_of(learn, held_back))


def upright_is_negative() -> Mirror:
    """A mirror for known pairs: signs change and 0.5 is added, the rows' numbers count back."""
    turned = np.array([[-1.0, 0.5]], np.float32)
    return Mirror(turned, turned, np.array([[-1.0, 19.0], [1.0, 0.0]], np.float32))
