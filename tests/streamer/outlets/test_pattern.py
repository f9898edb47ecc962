"""Names of files: whatever a message says, a file stays inside its folder and apart from others."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamer.domain import RunKey, StepKey
from streamer.outlets.pattern import WORDS, Pattern, quoted
from streamer.outlets.settings import PATTERNS, FileSettings, Format, SinkSettings
from streamer.records import FieldNames
from tests.published import RUN

NAMES = FieldNames("draws", "10u", draw=0)


def test_the_usual_names_are_those_of_record_keys() -> None:
    found = {
        kind: Pattern(text).path(StepKey(RUN, 90), NAMES).as_posix()
        for kind, (text, _) in PATTERNS.items()
    }

    assert found == {
        "grib": "ecmf/ifs/201810080000/0/90m.grib2",
        "netcdf": "ecmf/ifs/201810080000/0/draws/90m.nc",
        "geotiff": "ecmf/ifs/201810080000/0/draws/90m/10u.tif",
        "zarr": "ecmf/ifs/201810080000/0/draws.zarr",
        "record": "ecmf/ifs/201810080000/0/90m.json",
    }


def test_a_file_may_be_named_by_when_it_is_valid() -> None:
    path = Pattern("{valid_time}.{member}.{step}").path(StepKey(RUN, 1500), NAMES)

    assert path.as_posix() == "201810090100.0.25"


@given(st.text(), st.text(), st.text(), st.text())
@example("..", "../../etc", "/", "\0")
@example("", ".", "a/b", "...")
def test_no_name_leads_out_of_the_folder(
    centre: str, source: str, expver: str, product: str
) -> None:
    run = RunKey(centre, source, expver, datetime(2018, 10, 8, tzinfo=UTC), 0)
    pattern = Pattern("{centre}/{source}/{expver}/{product}/{step}")

    path = pattern.path(StepKey(run, 0), replace(NAMES, product=product))

    assert not path.is_absolute()
    assert len(path.parts) == 5
    assert not any(part.startswith(".") or "\0" in part for part in path.parts)


@given(st.text(), st.text())
def test_two_texts_never_share_a_name(one: str, other: str) -> None:
    assert (quoted(one) == quoted(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{step}/{nubmer}", "found {nubmer}, wanted one of"),
        ("{step:03}", "found {step:03}, wanted one of"),
        ("{step!r}", "found {step!r}, wanted one of"),
        ("{step.real}", "found {step.real}, wanted one of"),
        ("{}", "wanted one of"),
        ("/{step}", "inside the folder"),
        ("../{step}", "inside the folder"),
        ("a/../{step}", "inside the folder"),
        (".unfinished/{step}", "inside the folder"),
        ("a//{step}", "inside the folder"),
        ("{step}/", "inside the folder"),
        ("{step", "expected '}'"),
    ],
)
def test_a_pattern_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("}", r"\}")):
        Pattern(text)


@pytest.mark.parametrize(
    ("kind", "pattern", "message"),
    [
        ("grib", "{member}/{step}.grib2", "without {reference_time} or {valid_time}"),
        ("grib", "{valid_time}.grib2", "without {step}, {member}"),
        ("netcdf", "{reference_time}/{member}/{step}.nc", "without {product}"),
        ("geotiff", "{reference_time}/{member}/{step}/{product}.tif", "without {parameter}"),
        ("zarr", "{reference_time}/{member}/{product}/{step}.zarr", "with {step}, which zarr"),
        ("record", "{reference_time}/{member}/{step}/{product}.json", "with {product}, which"),
    ],
)
def test_names_that_two_steps_would_share_are_refused(
    kind: Format, pattern: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        FileSettings(kind, tmp_path, pattern)

    assert message in str(caught.value)


def test_every_word_of_the_docs_is_one() -> None:
    for word in WORDS:
        assert Pattern(f"{{{word}}}").words == {word}


def test_a_sink_without_files_is_refused() -> None:
    with pytest.raises(ValueError, match="files: found none"):
        SinkSettings(())
