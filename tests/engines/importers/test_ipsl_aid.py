"""A checkpoint of IPSL-AID becomes its network again, or is refused with the reason."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.errors import BundleError, UsageError
from engines.importers import ipsl_aid
from engines.importers.checkpoint import read_checkpoint
from engines.importers.shapes import network_of
from engines.networks import build, published
from tests import ipsl

SMALL: dict[str, Any] = {"tile": (16, 24), "width": 16}


def save(folder: Path, value: object, name: str = "a_best_model.pth.tar") -> Path:
    torch.save(value, folder / name)
    return folder / name


def read(folder: Path, architecture: str = "ddpmpp", precond: str = "edm", **args: Any) -> Any:
    checkpoint = ipsl.checkpoint(architecture, precond, **SMALL, **args)
    return ipsl_aid.read_model(save(folder, checkpoint))


@pytest.mark.parametrize("architecture", ["ddpmpp", "ncsnpp", "adm"])
@pytest.mark.parametrize("precond", ["edm", "vp", "ve", "unet"])
def test_every_network_of_the_family_comes_back_with_its_answers(
    tmp_path: Path, architecture: str, precond: str
) -> None:
    wanted = ipsl.settings(architecture, precond, **SMALL)
    original = ipsl.randomised(wanted)

    model = read(tmp_path, architecture, precond)

    inputs, c_noise = torch.randn(2, wanted.inputs, 16, 24), torch.tensor([-1.0, 0.4])
    labels = torch.randn(2, 4)
    with torch.no_grad():
        answer = model.network(inputs, c_noise, labels)
        assert torch.equal(answer, original(inputs, c_noise, labels))
    assert answer.abs().max() > 0.01
    assert model.preconditioning.kind == ("direct" if precond == "unet" else precond)
    assert model.labels == ("doy_sin", "doy_cos", "hour_sin", "hour_cos")


@pytest.mark.parametrize("is_direct", [False, True])
@pytest.mark.parametrize(
    ("architecture", "millions"), [("ddpmpp", 54.4), ("ncsnpp", 55.1), ("adm", 92.1)]
)
def test_the_published_networks_are_told_by_their_shapes(
    architecture: str, millions: float, is_direct: bool
) -> None:
    inputs = 10 if is_direct else 16
    wanted = published(architecture, inputs, 6, (144, 360), labels=4, direct=is_direct)
    with torch.device("meta"):
        network = build(wanted)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}

    found = network_of(shapes, "here", direct=is_direct)

    # With these tiles no level attends but the lowest, so the lists say the same.
    assert replace(found, attention=wanted.attention) == wanted
    assert found.attention == ()
    with torch.device("meta"):
        again = build(found)
    assert {n: tuple(v.shape) for n, v in again.state_dict().items()} == shapes
    if not is_direct:
        weights = sum(one.numel() for one in network.parameters())
        assert weights / 1e6 == pytest.approx(millions, abs=0.06)


def test_attention_is_found_where_the_tile_has_it(tmp_path: Path) -> None:
    checkpoint = ipsl.checkpoint("adm", "edm", tile=(32, 48), width=64)

    model = ipsl_aid.read_model(save(tmp_path, checkpoint))

    assert model.settings.attention == (32, 16, 8)


def test_a_network_without_labels_needs_no_time(tmp_path: Path) -> None:
    checkpoint = ipsl.checkpoint(**SMALL, time_normalization="none")
    settings = replace(ipsl.settings("ddpmpp", "edm", **SMALL), labels=0)
    state = ipsl.randomised(settings).state_dict()
    checkpoint["state_dict"] = {f"model.{name}": value for name, value in state.items()}

    assert ipsl_aid.read_model(save(tmp_path, checkpoint)).labels == ()


def test_a_pickled_module_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    module = save(tmp_path, torch.nn.Linear(2, 2), "model_full.pth")
    trap = save(tmp_path, {"state_dict": {}, "args": Trap()}, "trap_best_model.pth.tar")

    for path in (module, trap):
        with pytest.raises(BundleError, match=r"pickled Python objects.*_best_model\.pth\.tar"):
            ipsl_aid.read_model(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("raw", [b"", b"no checkpoint at all", b"PK\x03\x04 broken", b"\x80\x02."])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x_best_model.pth.tar"
    path.write_bytes(raw)

    with pytest.raises(BundleError, match="is no checkpoint that torch can read"):
        ipsl_aid.read_model(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("is_zip", [False, True])
def test_a_damaged_checkpoint_never_ends_in_a_traceback(tmp_path: Path, is_zip: bool) -> None:
    small = {"state_dict": {"a": torch.zeros(3, 3)}, "args": {"x": [1, 2.0]}}
    path = tmp_path / "x_best_model.pth.tar"
    torch.save(small, path, _use_new_zipfile_serialization=is_zip)
    raw, rng = path.read_bytes(), np.random.default_rng(0)

    refused = 0
    for _ in range(150):
        damaged = bytearray(raw)
        for at in rng.integers(0, len(raw), 3):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged[: rng.integers(1, len(raw) * 4)])
        try:
            read_checkpoint(path)
        except BundleError:
            refused += 1

    assert refused > 50


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(3), "holds a tensor, wanted a dict"),
        ({"model": {}, "epoch": 3}, "lacks state_dict and args as dicts, holds epoch, model"),
        ({"state_dict": {}, "args": {}}, "state_dict holds nothing"),
        ({"state_dict": {"a": 1}, "args": {}}, r"state_dict holds \['a'\]"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    tmp_path: Path, value: object, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        ipsl_aid.read_model(save(tmp_path, value))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"arch": "transformer"}, "arch is 'transformer', wanted one of ddpmpp, ncsnpp, adm"),
        ({"precond": "iddpm"}, "precond is 'iddpm', wanted one of edm, vp, ve, unet"),
        ({"time_normalization": "linear"}, "time_normalization is 'linear'"),
        ({"time_normalization": "fourier"}, "time_normalization is 'fourier', wanted cos_sin"),
        ({"apply_filter": True}, "apply_filter is set"),
        ({"num_steps": "many"}, "num_steps is 'many', wanted a number"),
        ({"sigma_min": 90}, "sigma_min is 90.0 and sigma_max 10.0"),
        ({"varnames_list": ["VAR_2T", "VAR_2T"]}, "wanted a list of names that differ"),
        ({"normalization_types": {"VAR_2T": "standard"}}, "gives VAR_10U None"),
        ({"normalization_types": ["standard"] * 5 + ["best"]}, "gives VAR_ST 'best'"),
        ({"normalization_types": ["standard", "robust"]}, "wanted one for each of VAR_2T"),
        ({"arch": "ncsnpp"}, "arch: args say ncsnpp, weights ddpmpp"),
        ({"in_channels": 7}, "in_channels with cond_channels: args say 17, weights 16"),
        ({"out_channels": 5}, "out_channels: args say 5, weights 6"),
        ({"constant_varnames_list": ["z"]}, "constants together: args say 15, weights 16"),
        ({"precond": "unet"}, "args say precond unet, but all of its weights' names start with"),
    ],
)
def test_args_that_cannot_be_obeyed_are_refused(
    tmp_path: Path, args: dict[str, Any], message: str
) -> None:
    checkpoint = ipsl.checkpoint(**SMALL)
    checkpoint["args"] |= args

    with pytest.raises(BundleError, match=message):
        ipsl_aid.read_model(save(tmp_path, checkpoint))


def test_all_that_args_lack_is_named_at_once(tmp_path: Path) -> None:
    keys = ("arch", "precond", "varnames_list", "normalization_types", "constant_varnames_list")
    checkpoint = ipsl.checkpoint(**SMALL)
    checkpoint["args"] = {}

    with pytest.raises(BundleError) as refused:
        ipsl_aid.read_model(save(tmp_path, checkpoint))

    for key in keys:
        assert f"{key} is missing" in str(refused.value)


def test_weights_that_fit_no_network_are_refused(tmp_path: Path) -> None:
    checkpoint = ipsl.checkpoint(**SMALL)
    del checkpoint["state_dict"]["model.dec.4x6_in1.norm0.weight"]

    with pytest.raises(BundleError, match=r"do not fit .*dec\.4x6_in1\.norm0\.weight"):
        ipsl_aid.read_model(save(tmp_path, checkpoint))


def test_weights_with_foreign_names_are_refused(tmp_path: Path) -> None:
    checkpoint = ipsl.checkpoint(**SMALL)
    checkpoint["state_dict"] = {"model.layer.weight": torch.zeros(3, 3)}

    with pytest.raises(BundleError, match=r"no encoder named like enc\.144x360_conv"):
        ipsl_aid.read_model(save(tmp_path, checkpoint))


def test_a_diffusion_model_is_refused_as_a_direct_one(tmp_path: Path) -> None:
    path = save(tmp_path, ipsl.checkpoint(**SMALL))

    with pytest.raises(UsageError, match=r"trained for diffusion \(precond edm\)"):
        ipsl_aid.read_model(path, direct=True)


def test_a_direct_model_may_be_asked_for_as_one(tmp_path: Path) -> None:
    path = save(tmp_path, ipsl.checkpoint("adm", "unet", **SMALL))

    assert ipsl_aid.read_model(path, direct=True).sampler.steps == 1


def test_the_sampler_is_the_one_that_args_hold(tmp_path: Path) -> None:
    stated: dict[str, Any] = {
        "num_steps": "12",
        "sigma_max": 5,
        "s_churn": 40,
        "s_max": 50.0,
        "s_noise": 1.003,
    }

    sampler = read(tmp_path, **stated).sampler

    assert (sampler.steps, sampler.sigma_min, sampler.sigma_max) == (12, 0.02, 5.0)
    assert (sampler.s_churn, sampler.s_max, sampler.s_noise) == (40.0, 50.0, 1.003)


def test_a_sampler_that_args_do_not_hold_is_its_codes_own(tmp_path: Path) -> None:
    keys = ("num_steps", "sigma_min", "sigma_max", "rho", "s_churn", "s_min", "s_max", "s_noise")

    nothing: dict[str, Any] = dict.fromkeys(keys)
    sampler = read(tmp_path, **nothing).sampler

    assert (sampler.steps, sampler.sigma_min, sampler.sigma_max, sampler.rho) == (20, 0.002, 80, 7)
    assert (sampler.s_churn, sampler.s_min, sampler.s_max) == (40, 0, math.inf)
    assert sampler.s_noise == 1


@pytest.mark.parametrize(
    "stated",
    [
        {"arch": None, "model_arch": "ddpmpp"},
        {"normalization_types": [f"{name}=standard" for name in ipsl.VARIABLES]},
        {"normalization_types": ["standard"] * 6},
        {"normalization_types": "standard"},
        {"constant_varnames_list": "z lsm"},
        {"cond_channels": None},
        {"in_channels": None, "out_channels": None, "time_normalization": None},
    ],
)
def test_other_spellings_say_the_same(tmp_path: Path, stated: dict[str, Any]) -> None:
    model = read(tmp_path, **stated)

    assert (model.settings.architecture, model.constants) == ("ddpmpp", ("z", "lsm"))
    assert model.normalisations[:3] == ("standard",) * 3


#: What each normalisation does to a value, in words of its own.
FORMULAS = {
    "minmax": lambda x, s: (x - s["vmin"]) / (s["vmax"] - s["vmin"]),
    "minmax_11": lambda x, s: 2 * (x - s["vmin"]) / (s["vmax"] - s["vmin"]) - 1,
    "standard": lambda x, s: (x - s["vmean"]) / s["vstd"],
    "robust": lambda x, s: (x - s["median"]) / s["iqr"],
}


@pytest.mark.parametrize("kind", ipsl_aid.NORMALISATIONS)
def test_every_normalisation_is_a_mean_and_a_deviation(tmp_path: Path, kind: str) -> None:
    model = read(tmp_path, normalization_types=dict.fromkeys(ipsl.VARIABLES, kind))
    is_log = kind.startswith("log1p_")
    statistics = ipsl.statistics()
    ending = "_log" if is_log else ""
    for name in ipsl.VARIABLES:
        for side in ("fine", "coarse"):
            statistics[f"{name}_{side}_log"] = statistics[f"{name}_{side}"] | {"vmin": -1.5}
    values = np.linspace(0.0, 3.0, 7)

    found = ipsl_aid.normalisation(model, statistics, "statistics.json")

    for name, one in zip(ipsl.VARIABLES, found, strict=True):
        assert one.transform == ("log1p" if is_log else "none")
        assert one.residual_std == 1.0
        f = np.log1p(values) if is_log else values
        for side, mean, deviation in (
            ("coarse", one.coarse_mean, one.coarse_std),
            ("fine", one.fine_mean, one.fine_std),
        ):
            entry = statistics[f"{name}_{side}{ending}"]
            wanted = FORMULAS[kind.removeprefix("log1p_")](f, entry)
            assert (f - mean) / deviation == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_everything_that_the_statistics_lack_is_named(tmp_path: Path) -> None:
    model = read(tmp_path)
    statistics: dict[str, Any] = ipsl.statistics()
    del statistics["VAR_D2M_coarse"], statistics["VAR_TP_fine_log"]
    statistics["VAR_2T_fine"]["vstd"] = 0.0
    statistics["VAR_10U_fine"]["vmean"] = math.nan

    with pytest.raises(BundleError) as refused:
        ipsl_aid.normalisation(model, json.loads(json.dumps(statistics)), "statistics.json")

    for words in (
        "VAR_D2M_coarse is missing", "VAR_TP_fine_log is missing, which log1p_standard needs",
        "VAR_2T_fine: its deviation", "VAR_10U_fine.vmean missing or no number",
    ):  # fmt: skip
        assert words in str(refused.value)
