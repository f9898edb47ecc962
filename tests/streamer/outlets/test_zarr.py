"""Zarr stores: whole from the start, filled step by step, read by xarray meanwhile."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from streamer.domain import Grid
from streamer.outlets.outlet import OutletError
from streamer.steps import Steps
from tests.published import RUN, publish_step
from tests.streamer.outlets.files import RUN_FOLDER, contents, outlet

STORE = RUN_FOLDER / "draws.zarr"


def opened(folder: Path) -> Any:
    return xr.open_dataset(folder / STORE, engine="zarr", consolidated=False)


def test_the_store_knows_all_steps_of_the_run_from_the_first_one_written(tmp_path: Path) -> None:
    step = publish_step(180, parameters=("10u",), draws=2, statistics=("mean",))

    outlet("zarr", tmp_path).write_step(step.record, step.messages)

    data = opened(tmp_path)
    assert data.step.values.tolist() == [0, 3, 6]
    assert data.complete.values.tolist() == [0, 1, 0]
    assert data.time.values.tolist() == [
        np.datetime64(f"2018-10-08T{hour:02}", "ns").astype(int) for hour in (0, 3, 6)
    ]
    assert data.u10.dims == ("step", "realization", "latitude", "longitude")
    np.testing.assert_allclose(data.u10.sel(step=3), step.values[:2], atol=1e-3)
    np.testing.assert_allclose(data.u10_mean.sel(step=3), step.values[2], atol=1e-3)
    assert np.isnan(data.u10.sel(step=6)).all()
    assert zarr.open_group(tmp_path / STORE).metadata.zarr_format == 3


def test_xarray_reads_only_what_is_asked_for(tmp_path: Path) -> None:
    opener = outlet("zarr", tmp_path)
    steps = [publish_step(minutes, parameters=("10u", "2t")) for minutes in (0, 180, 360)]
    for step in steps:
        opener.write_step(step.record, step.messages)
    data = opened(tmp_path)

    # Were anything else read, its absence would show as NaN; and this as an error.
    for chunk in (tmp_path / STORE / "t2m").glob("c.*"):
        chunk.write_bytes(b"broken")

    np.testing.assert_allclose(data.u10.sel(step=6), steps[2].values[:2], atol=1e-3)
    with pytest.raises(RuntimeError, match="blosc"):
        data.t2m.load()


def test_coordinates_follow_the_conventions(tmp_path: Path) -> None:
    step = publish_step(180, parameters=("10u", "tp"))

    outlet("zarr", tmp_path).write_step(step.record, step.messages)

    data = opened(tmp_path)
    assert data.attrs["Conventions"] == "CF-1.11"
    told = {name: data[name].attrs.get("standard_name") for name in data.u10.coords}
    assert told == {
        "accumulation_start": None,
        "step": "forecast_period",
        "realization": "realization",
        "latitude": "latitude",
        "longitude": "longitude",
        "time": "time",
        "forecast_reference_time": "forecast_reference_time",
        "height_10m": "height",
    }
    assert data.tp.attrs["cell_methods"] == "time: sum"
    assert data.tp.coords["accumulation_start"].sel(step=3) == np.datetime64("2018-10-08T00")


def test_a_parameter_may_begin_with_a_later_step(tmp_path: Path) -> None:
    opener = outlet("zarr", tmp_path)
    first = publish_step(0, parameters=("10u",))
    second = publish_step(180, parameters=("10u", "tp"))

    opener.write_step(first.record, first.messages)
    opener.write_step(second.record, second.messages)

    data = opened(tmp_path)
    assert data.complete.values.tolist() == [1, 1, 0]
    assert np.isnan(data.tp.sel(step=0)).all()
    np.testing.assert_allclose(data.tp.sel(step=3), second.values[2:], atol=1e-3)


def test_two_writers_lay_out_one_store(tmp_path: Path) -> None:
    one, two = (outlet("zarr", tmp_path, writer=name) for name in ("one", "two"))
    steps = [publish_step(minutes, parameters=("10u",)) for minutes in (0, 180, 360)]

    for step, writer in zip(steps, (one, two, one), strict=True):
        writer.write_step(step.record, step.messages)

    outlet("zarr", tmp_path / "alone").write_step(steps[0].record, steps[0].messages)
    for step in steps:
        outlet("zarr", tmp_path / "alone").write_step(step.record, step.messages)
    both = {n: v for n, v in contents(tmp_path).items() if not n.startswith("alone")}
    assert both == contents(tmp_path / "alone")


def test_a_step_fed_again_is_pending_while_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = outlet("zarr", tmp_path)
    first = publish_step(180, parameters=("10u",))
    again = publish_step(180, replace(RUN, again="mended"), parameters=("10u",), seed=1)
    opener.write_step(first.record, first.messages)
    # The disk breaks between the draws.
    (tmp_path / STORE / "u10" / "c.1.1.0.0").unlink()
    (tmp_path / STORE / "u10" / "c.1.1.0.0").mkdir()

    with pytest.raises(OSError):
        opener.write_step(again.record, again.messages)
    broken = opened(tmp_path).complete.values.tolist()
    (tmp_path / STORE / "u10" / "c.1.1.0.0").rmdir()
    opener.write_step(again.record, again.messages)

    assert broken == [0, 0, 0]
    data = opened(tmp_path)
    assert data.complete.values.tolist() == [0, 1, 0]
    np.testing.assert_allclose(data.u10.sel(step=3), again.values, atol=1e-3)


def test_a_step_that_the_run_does_not_have_is_refused(tmp_path: Path) -> None:
    step = publish_step(540)

    with pytest.raises(OutletError, match=r"0/9 is none of the steps that `input.steps` names"):
        outlet("zarr", tmp_path).write_step(step.record, step.messages)


@pytest.mark.parametrize(
    "other",
    [
        publish_step(180, parameters=("10u",), draws=3),
        publish_step(180, parameters=("10u",), grid=Grid(60.0, 0.0, 5.0, 5.0, 9, 9)),
    ],
)
def test_a_step_that_does_not_fit_its_store_is_refused_and_changes_nothing(
    tmp_path: Path, other: Any
) -> None:
    opener = outlet("zarr", tmp_path)
    step = publish_step(0, parameters=("10u",))
    opener.write_step(step.record, step.messages)
    before = contents(tmp_path)

    with pytest.raises(OutletError, match="the run changed while it was published"):
        opener.write_step(other.record, other.messages)

    assert contents(tmp_path) == before


def test_which_steps_a_run_has_may_depend_on_its_hour(tmp_path: Path) -> None:
    steps = Steps(None, ((0, (0, 180)), (6, (180, 360))))
    later = replace(RUN, reference_time=RUN.reference_time.replace(hour=6))
    step = publish_step(360, later, parameters=("10u",))

    outlet("zarr", tmp_path, steps=steps).write_step(step.record, step.messages)

    (store,) = tmp_path.glob("ecmf/ifs/201810080600/0/*.zarr")
    data = xr.open_dataset(store, engine="zarr", consolidated=False)
    assert data.step.values.tolist() == [3, 6]
