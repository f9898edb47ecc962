"""Our networks answer as an independent implementation does, whatever surrounds them.

Theirs normalises with the unbiased variance, which on small tiles weighs 4e-3: so their norms are
told to divide as in training, and the two agree to rounding. `make parity` holds full networks
against it as it comes.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from engines.manifest import Preconditioning
from engines.networks import NetworkSettings, published
from tests.engines.parity import (
    KINDS,
    bound,
    case,
    difference,
    our_run,
    ours,
    random_network,
    their_run,
    theirs,
)
from tests.engines.reference import reference

#: Rounding of float32 through a few dozen layers.
BOUND = 1e-5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def narrow(architecture: str, kind: str, labels: int = 3) -> NetworkSettings:
    """Return a network of few channels that attends at several levels, with 1 and 2 heads."""
    is_direct = kind == "direct"
    inputs = 5 if is_direct else 7
    if architecture == "adm":
        return published(
            "adm", inputs, 2, (32, 48), width=32, multipliers=(2, 2, 3, 4), blocks=1,
            attention=(8, 4), labels=labels, direct=is_direct,
        )  # fmt: skip
    return published(
        architecture, inputs, 2, (16, 24), width=32, multipliers=(1, 2, 2), blocks=1,
        attention=(8,), labels=labels, direct=is_direct,
    )  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["ddpmpp", "ncsnpp", "adm"])
def test_a_batch_at_different_levels_answers_as_theirs(architecture: str, kind: str) -> None:
    settings = narrow(architecture, kind)
    network = random_network(settings)
    other = reference(network, settings, biased=True)

    for sigma in ([0.7], [0.01, 80.0], [0.02, 0.9, 30.0]):
        asked = case(settings, sigma, seed=len(sigma))
        mine = ours(network, Preconditioning(kind, 1.0), asked)(asked.x, asked.sigma)
        found = theirs(other, kind, asked)(asked.x, asked.sigma)
        # Each tile by itself: a large one must not hide a small one's error.
        for i in range(len(sigma)):
            assert difference(mine[i], found[i]) <= bound(architecture, kind, BOUND), (sigma, i)


@pytest.mark.parametrize("architecture", ["ddpmpp", "ncsnpp", "adm"])
def test_without_labels_it_answers_as_theirs(architecture: str) -> None:
    settings = narrow(architecture, "edm", labels=0)
    network = random_network(settings)
    asked = case(settings, [0.3, 5.0])

    mine = ours(network, Preconditioning("edm", 1.0), asked)(asked.x, asked.sigma)

    other = reference(network, settings, biased=True)
    assert difference(mine, theirs(other, "edm", asked)(asked.x, asked.sigma)) <= BOUND


@pytest.mark.parametrize("kind", ["edm", "corrdiff", "vp", "ve"])
@pytest.mark.parametrize("architecture", ["ddpmpp", "ncsnpp", "adm"])
def test_ten_levels_of_heun_end_where_theirs_do(architecture: str, kind: str) -> None:
    settings = narrow(architecture, kind)
    network = random_network(settings)
    asked = case(settings, [1.0])
    start = np.random.default_rng(9).standard_normal(asked.x.shape, dtype=np.float32)

    mine = our_run(ours(network, Preconditioning(kind, 1.0), asked), start, kind)

    other = reference(network, settings, biased=True)
    found = their_run(theirs(other, kind, asked), start, kind)
    assert difference(mine, found) <= bound(architecture, kind, 1e-4)


def test_a_difference_would_be_seen() -> None:
    settings = narrow("adm", "edm")
    network = random_network(settings)
    asked = case(settings, [0.3, 5.0])
    other = reference(random_network(settings, seed=1), settings, biased=True)

    mine = ours(network, Preconditioning("edm", 1.0), asked)(asked.x, asked.sigma)

    assert difference(mine, theirs(other, "edm", asked)(asked.x, asked.sigma)) > 1e-2
