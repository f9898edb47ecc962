"""One HTML page of a verification that opens from a file: tables, pictures, how to read them."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from streamer.verify.report_charts import charts, in_words
from streamer.verify.sums import PointScores
from streamer.verify.told import Told
from streamer.verify.verified import Verified

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.3rem; margin-top: 3rem; border-top: 2px solid #33638d;
  padding-top: 0.6rem; } h3 { font-size: 1.05rem; margin: 1.8rem 0 0.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.9rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, .facts td { text-align: left; }
figure { margin: 0; } img { max-width: 100%; } figcaption, .note { color: #555; font-size: 0.9rem; }
.better { color: #22633a; } .worse { color: #a3330a; }
"""
#: What each score is called, and whether lower is better.
_SCORES = (
    ("crps", "CRPS (fair)"),
    ("mae", "Mean absolute error of the mean"),
    ("rmse", "Root mean square error of the mean"),
    ("bias", "Bias of the mean"),
    ("r2", "R²"),
    ("pearson", "Pearson correlation"),
)
_LOWER = ("crps", "mae", "rmse")
_NOTE = (
    "<p class=note>Everything is weighted by area. Beside each score stands that of the coarse "
    "field interpolated to the fine grid: only what is better than it is skill.</p>"
)


def page(
    results: Sequence[Verified], facts: Mapping[str, str], statistics: Sequence[Told] = ()
) -> str:
    """Return the whole page. facts: what was read, told at its head in this order."""
    names = dict.fromkeys([one.name for one in results] + [one.name for one in statistics])
    title = "Verification of " + ", ".join(names)
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        _table(("", ""), list(facts.items())).replace("<table>", "<table class=facts>", 1),
        _NOTE,
        _overview(results) if results else "",
        _statistics(statistics) if statistics else "",
    ]
    for one in results:
        parts += _section(one)
    return "\n".join([*parts, "</body></html>", ""])


def _overview(results: Sequence[Verified]) -> str:
    rows = [
        (
            f"{one.name} ({in_words(one.units)})",
            _number(one.scores.error),
            _number(None if one.scores.baseline is None else one.scores.baseline.mae),
            _gain(one),
            _number(one.scores.spread_skill),
            str(one.scores.states),
        )
        for one in results
    ]
    head = ("", "CRPS", "interpolated", "of it", "spread over error", "states")
    return _table(head, rows)


def _statistics(statistics: Sequence[Told]) -> str:
    rows = [
        (
            f"{told.name} ({in_words(told.units)})",
            told.statistic.text,
            name.replace("_", " "),
            _number(score.forecast),
            _number(score.baseline),
        )
        for told in statistics
        for name, score in told.scores.items()
    ]
    head = ("published statistics", "", "score", "forecast", "interpolated")
    return _table(head, rows)


def _gain(one: Verified) -> str:
    if one.scores.gain is None:
        return "–"
    within = one.gain_interval
    told = f" ({within[0]:.0%} to {within[1]:.0%})" if within else ""
    return f"{one.scores.gain:.0%}{told}"


def _section(one: Verified) -> Iterator[str]:
    grid = one.grid
    yield f"<h2>{escape(one.name)}</h2>"
    counted = f"{_count(one.scores.states, 'state')} of {_count(one.draws, 'draw')}"
    yield (
        f"<p class=note>{counted} on {grid.rows} x "
        f"{grid.columns} points, {grid.spacing_lat:g} x {grid.spacing_lon:g} degrees, in "
        f"{escape(in_words(one.units))}.</p>"
    )
    yield _scores(one.scores)
    yield _tails(one)
    for chart in charts(one):
        picture = b64encode(chart.png).decode()
        name = escape(f"{chart.title} of {one.name}")
        yield f"<h3>{escape(chart.title)}</h3>"
        yield (
            f'<figure><img alt="{name}" src="data:image/png;base64,{picture}">'
            f"<figcaption>{escape(chart.caption)}</figcaption></figure>"
        )


def _scores(scores: PointScores) -> str:
    plain = scores.plain()
    rows = []
    for name, title in _SCORES:
        found, beside = plain[name]["forecast"], plain[name]["baseline"]
        change = ""
        if name in _LOWER and found is not None and beside:
            share = found / beside - 1.0
            change = f"<span class={'better' if share < 0 else 'worse'}>{share:+.1%}</span>"
        rows.append((title, _number(found), _number(beside), change))
    rows.append(("Spread over error, 1 at its best", _number(scores.spread_skill), "–", ""))
    return _table(("score", "forecast", "interpolated", ""), rows, is_markup=True)


def _tails(one: Verified) -> str:
    names = [name for name in ("truth", "draws", "mean", "baseline") if name in one.quantiles]
    rows = [
        (f"{tail['share']:.1%} of the surface lies below",
         *(_number(tail[name]) for name in names))
        for tail in one.tails()
    ]  # fmt: skip
    told = {"baseline": "interpolated"}
    return _table(
        (f"tails, {in_words(one.units)}", *(told.get(name, name) for name in names)), rows
    )


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]],
    *, is_markup: bool = False,
) -> str:  # fmt: skip
    """Return a table; is_markup: cells after the first are HTML already."""
    lines = ["<table>"]
    if any(head):
        lines.append("<tr>" + "".join(f"<th>{escape(one)}</th>" for one in head) + "</tr>")
    for first, *rest in rows:
        cells = "".join(f"<td>{one if is_markup else escape(one)}</td>" for one in rest)
        lines.append(f"<tr><td>{escape(first)}</td>{cells}</tr>")
    return "\n".join([*lines, "</table>"])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
