"""Judges what a step's ensembles have seen: what is published, what its record tells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamer.products.ensemble import Ensemble
from streamer.products.quality import Ranges


@dataclass(frozen=True, slots=True)
class Move:
    """What a constraint changed in a product. change: the sum over its points, absolute."""

    constraint: str
    parameter: str
    points: float
    change: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is thought of one product of a step.

    odd: one sentence for each channel that cannot be true, by its name. published: parameters.
    dropped: those that are not, since they are made of such a channel. changes: of constraints,
    as the record tells them. moves: the same, to be counted.
    """

    product: str
    odd: Mapping[str, str]
    published: tuple[str, ...]
    dropped: tuple[str, ...]
    changes: Sequence[Mapping[str, Any]]
    moves: tuple[Move, ...]


def judged(ensemble: Ensemble, sound: Ranges, *, is_dropped: bool) -> Judgement:
    """Judge a product; is_dropped: whether what cannot be true stays unpublished.

    sound: the lowest and highest value of a parameter that can be true.
    """
    used = {one for name in ensemble.parameters for one in ensemble.inputs(name)}
    odd = ensemble.quality.outside(sound, used)
    dropped = [
        name
        for name in ensemble.parameters
        if is_dropped and not odd.keys().isdisjoint(ensemble.inputs(name))
    ]
    changes, points = ensemble.quality.changed(), ensemble.quality.points
    return Judgement(
        ensemble.making.name,
        odd,
        tuple(name for name in ensemble.parameters if name not in dropped),
        tuple(dropped),
        changes,
        tuple(_move(change, points) for change in changes),
    )


def told(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return what a step's record says of its quality; nothing where all is well."""
    is_one = len(judgements) == 1
    found = {
        "out_of_range": [
            sentence if is_one else f"{one.product}: {sentence}"
            for one in judgements
            for sentence in one.odd.values()
        ],
        "dropped": [
            {"product": one.product, "parameter": name}
            for one in judgements
            for name in one.dropped
        ],
        "constraints": {one.product: list(one.changes) for one in judgements if one.changes},
    }
    return {name: value for name, value in found.items() if value}


def _move(change: Mapping[str, Any], points: int) -> Move:
    many = change["share"] * points
    return Move(change["constraint"], change["parameter"], many, many * change["size"])
