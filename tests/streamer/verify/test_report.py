"""The report is one page that needs nothing else, and says every score."""

import re
from base64 import b64decode
from html.parser import HTMLParser

import pytest

from streamer.domain import Statistic
from streamer.verify.report import page
from streamer.verify.report_charts import charts, in_words
from streamer.verify.table import table
from streamer.verify.verified import Verified
from tests.streamer.verify.test_told import full, told
from tests.streamer.verify.test_verifier import GLOBE, REGION, states, verifier

PNG = b"\x89PNG\r\n\x1a\n"


def verified(*, region: bool = False, draws: int = 4, beside: bool = True) -> Verified:
    grid = REGION if region else GLOBE
    found = verifier(grid, draws, 1.0)
    for state in states(grid, draws, beside=beside):
        found.add(state)
    return found.verified()


class Tags(HTMLParser):
    """Notes what a page refers to, and whether each tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.refers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "link"):
            self.open.append(tag)
        self.refers += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html() -> str:
    statistic = told(Statistic("quantile", 0.9), (full(1.0), full(2.0), full(0.0)))
    return page([verified()], {"Forecasts": "<8> files & more"}, [statistic])


def test_the_page_is_sound_and_refers_to_nothing_outside_itself(html: str) -> None:
    tags = Tags()

    tags.feed(html)

    assert tags.open == []
    assert tags.refers
    for one in tags.refers:
        assert one.startswith("data:image/png;base64,")
        assert b64decode(one.partition(",")[2]).startswith(PNG)
    assert "<script" not in html


def test_the_page_tells_where_everything_came_from_and_every_score(html: str) -> None:
    assert "&lt;8&gt; files &amp; more" in html
    scores = ("CRPS (fair)", "R²", "Pearson", "Bias", "Spread over error", "99.9%", "quantile-0.9")
    for words in (*scores, "Rank histogram", "Reliability", "Spectra", "Variograms"):
        assert words in html
    score = verified().scores.crps
    assert f"{score:.4g}" in html


@pytest.mark.parametrize("one", [{"region": True}, {"draws": 1}, {"beside": False}], ids=str)
def test_regions_single_draws_and_bare_forecasts_have_their_pictures_too(
    one: dict[str, bool],
) -> None:
    found = list(charts(verified(**one)))

    titles = [chart.title for chart in found]
    assert ("Rank histogram" in titles) == ("draws" not in one)
    assert {"Spectra", "Variograms", "Where"} <= set(titles)
    for chart in found:
        assert chart.png.startswith(PNG)


def test_units_are_written_as_people_do() -> None:
    assert in_words("m s**-1") == "m s⁻¹"
    assert in_words("m**2 s**-2") == "m² s⁻²"
    assert in_words("K") == "K"


def test_the_table_has_the_interpolated_field_beneath_each_parameter() -> None:
    one = verified()

    lines = table([one], [told(Statistic("mean"), (full(3.0), full(1.0), full(0.0)))]).splitlines()

    assert [line.split()[0] for line in lines[:3]] == ["parameter", "10u", "10u"]
    assert "4 draws" in lines[1]
    assert "interpolated" in lines[2]
    assert "Brier" in lines[3]
    assert re.search(r"10si .*mean .*mae .*2 .*1$", "\n".join(lines), re.MULTILINE)
    assert "interpolated" not in table([verified(beside=False)]).splitlines()[-2]
