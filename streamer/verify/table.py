"""Tells what was verified as a table for people."""

from collections.abc import Iterator, Sequence

from streamer.verify.sums import Agreement
from streamer.verify.told import Told
from streamer.verify.verified import Verified

_HEAD = ("parameter", "units", "of", "MAE", "RMSE", "bias", "R2", "r", "CRPS", "spread/err")


def table(results: Sequence[Verified], statistics: Sequence[Told] = ()) -> str:
    """Return a table of all parameters, the interpolated coarse field's scores beneath each.

    What was told of the ensembles follows, score by score.
    """
    lines = [_row(*_HEAD)] if results else []
    for one in results:
        lines += _lines(one)
        lines += _briers(one)
    if statistics:
        lines += ["", _row("parameter", "units", "statistic", "score", "forecast", "interpolated")]
    for told in statistics:
        for name, score in told.scores.items():
            lines.append(
                _row(
                    told.name, told.units, told.statistic.text, name,
                    _number(score.forecast), _number(score.baseline),
                )
            )  # fmt: skip
    return "\n".join(lines)


def _lines(one: Verified) -> Iterator[str]:
    scores, beside = one.scores, one.scores.baseline
    draws = "1 draw" if one.draws == 1 else f"{one.draws} draws"
    yield _row(
        one.name, one.units, draws, *_agreement(scores.mean),
        _number(scores.crps), _number(scores.spread_skill),
    )  # fmt: skip
    if beside is not None:
        words = (*_agreement(beside), _number(beside.mae), _number(None))
        yield _row(one.name, one.units, "interpolated", *words)


def _briers(one: Verified) -> Iterator[str]:
    for found in one.reliability:
        beside = None if found.baseline is None else float(found.baseline[0])
        yield (
            f"  {one.name} above {found.threshold:g}, as is {found.observed:.2%} of the surface: "
            f"Brier score {found.fair_brier:.4g} (fair), interpolated {_number(beside)}"
        )


def _agreement(found: Agreement) -> tuple[str, ...]:
    return tuple(map(_number, (found.mae, found.rmse, found.bias, found.r2, found.pearson)))


def _row(*words: str) -> str:
    return "  ".join(f"{word:>10}" for word in words)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
