"""The loss is 1 for ignorance at every level, and rows count by their weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from engines.networks import build
from engines.training.batches import Batch, Store, chance_of
from engines.training.loss import LEVELS, batch_loss, losses_by_level, mean_loss
from engines.training.settings import Pairs
from engines.training.task import PRECONDITIONING
from tests.engines.training.known import NETWORK, SETTINGS, TASK, known_pairs


def drawn(pairs: Pairs, size: int) -> Batch:
    return Store(pairs, "cpu").draw(SETTINGS, size, chance_of(0, 1, "cpu"))


def loss_of_fresh(batch: Batch) -> float:
    torch.manual_seed(0)
    with torch.no_grad():
        return float(batch_loss(build(NETWORK), batch, PRECONDITIONING))


def test_a_network_that_knows_nothing_has_a_loss_of_one() -> None:
    # The last layer starts at zero, so the fresh network is the best guess without a condition.
    assert loss_of_fresh(drawn(known_pairs(4, 0), 256)) == pytest.approx(1.0, abs=0.02)


def test_ignorance_costs_the_same_at_every_level() -> None:
    learnt, held_back = Store(known_pairs(4, 0), "cpu"), Store(known_pairs(2, 1), "cpu")

    found = losses_by_level(build(NETWORK), learnt, held_back, TASK, 32)

    assert [one.sigma for one in found] == list(LEVELS)
    for one in found:
        assert one.learnt == pytest.approx(1.0, abs=0.06)
        assert one.held_back == pytest.approx(1.0, abs=0.06)


def test_rows_count_by_their_weights() -> None:
    weights = np.zeros(20, np.float32)
    weights[:4] = 1.0
    batch = drawn(replace(known_pairs(4, 0), row_weights=weights), 8)
    silent = replace(batch, clean=torch.where(batch.weights > 0, batch.clean, 100.0))

    # What lies in rows of no weight must not matter.
    assert loss_of_fresh(silent) == pytest.approx(loss_of_fresh(batch), rel=1e-5)


def test_the_loss_in_parts_is_the_loss_of_the_whole() -> None:
    weights = np.linspace(0.1, 1.0, 20, dtype=np.float32)
    batch = drawn(replace(known_pairs(4, 0), row_weights=weights), 13)
    torch.manual_seed(0)
    network = build(NETWORK)

    whole = mean_loss(network, batch, PRECONDITIONING, 13)

    assert mean_loss(network, batch, PRECONDITIONING, 3) == pytest.approx(whole, rel=1e-5)
