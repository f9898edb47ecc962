"""Tells what was verified as a table for people."""

from collections.abc import Iterator, Sequence

from streamer.verify.sums import Agreement
from streamer.verify.verified import Verified

_HEAD = ("parameter", "units", "of", "MAE", "RMSE", "bias", "R2", "r", "CRPS", "spread/err")


def table(results: Sequence[Verified]) -> str:
    """Return a table of all parameters, the interpolated coarse field's scores beneath each."""
    lines = [_row(*_HEAD)]
    for one in results:
        lines += _lines(one)
    return "\n".join(lines)


def _lines(one: Verified) -> Iterator[str]:
    scores, beside = one.scores, one.scores.baseline
    yield _row(
        one.name, one.units, f"{one.draws} draws", *_agreement(scores.mean),
        _number(scores.crps), _number(scores.spread_skill),
    )  # fmt: skip
    if beside is not None:
        words = (*_agreement(beside), _number(beside.mae), _number(None))
        yield _row(one.name, one.units, "interpolated", *words)


def _agreement(found: Agreement) -> tuple[str, ...]:
    return tuple(map(_number, (found.mae, found.rmse, found.bias, found.r2, found.pearson)))


def _row(*words: str) -> str:
    return "  ".join(f"{word:>10}" for word in words)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
