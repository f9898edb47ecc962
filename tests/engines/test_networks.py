"""The networks have the names, counts and arithmetic that published checkpoints expect."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from engines.bundle import WEIGHTS, open_manifest
from engines.errors import BundleError
from engines.golden import read_golden, relative_error
from engines.networks import NetworkSettings, build, from_plain, published, to_plain
from engines.networks.lowered import lowered
from tests.engines.parity import case, ours, random_network

ARCHITECTURES = ("ddpmpp", "ncsnpp", "adm")
SMALL = NetworkSettings(
    inputs=5, outputs=2, tile=(16, 24), width=16, multipliers=(1, 2), blocks=1, attention=()
)


def names(settings: NetworkSettings) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's state by name, at no cost."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build(settings).state_dict().items()}


def full(architecture: str, labels: int = 4, *, direct: bool = False) -> NetworkSettings:
    return published(architecture, 16, 6, (144, 360), labels=labels, direct=direct)


@pytest.mark.parametrize(
    ("architecture", "millions"), [("ddpmpp", 54.4), ("ncsnpp", 55.1), ("adm", 92.1)]
)
def test_a_network_has_as_many_weights_as_published(architecture: str, millions: float) -> None:
    with torch.device("meta"):
        network = build(full(architecture))

    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6, 1) == millions


def of_block(place: str, *parts: str) -> set[str]:
    """Return a block's state names: its convolutions and norms, and `parts` besides."""
    both = ("norm0", "conv0", "affine", "norm1", "conv1")
    whole = {f"{place}.{part}.{one}" for part in both for one in ("weight", "bias")}
    for part in parts:
        if "." in part:
            whole.add(f"{place}.{part}")
        else:
            whole |= {f"{place}.{part}.weight", f"{place}.{part}.bias"}
    return whole


def both_of(places: Iterable[str]) -> set[str]:
    return {f"{place}.{one}" for place in places for one in ("weight", "bias")}


FILTERS = ("conv0.resample_filter", "skip.resample_filter")
ATTENTION = ("norm2", "qkv", "proj")


def test_ddpmpp_has_exactly_the_names_of_its_checkpoints() -> None:
    wanted = both_of(["map_label", "map_layer0", "map_layer1", "enc.144x360_conv"])
    wanted |= of_block("enc.144x360_block0", "skip")
    for size in ("144x360", "72x180", "36x90"):
        # The first block of the top level changes the channels, the others do not.
        first = 1 if size == "144x360" else 0
        for i in range(first, 4):
            wanted |= of_block(f"enc.{size}_block{i}")
        for i in range(5):
            wanted |= of_block(f"dec.{size}_block{i}", "skip")
    for size in ("72x180", "36x90"):
        wanted |= of_block(f"enc.{size}_down", "skip", *FILTERS)
    for size in ("144x360", "72x180"):
        wanted |= of_block(f"dec.{size}_up", "skip", *FILTERS)
    wanted |= of_block("dec.36x90_in0", *ATTENTION) | of_block("dec.36x90_in1")
    wanted |= both_of(["dec.144x360_aux_norm", "dec.144x360_aux_conv"])

    assert set(names(full("ddpmpp"))) == wanted


def test_ncsnpp_adds_its_frequencies_and_what_each_level_sees_of_the_input() -> None:
    added = set(names(full("ncsnpp"))) - set(names(full("ddpmpp")))

    beside = ["enc.72x180_aux_residual", "enc.36x90_aux_residual"]
    filters = {f"{place}.resample_filter" for place in beside}
    assert added == {"map_noise.freqs"} | both_of(beside) | filters
    assert set(names(full("ddpmpp"))) <= set(names(full("ncsnpp")))


def test_ncsnpp_has_wider_noise_and_smoother_filters() -> None:
    found = names(full("ncsnpp"))

    assert found["map_noise.freqs"] == (128,)
    assert found["map_layer0.weight"] == (512, 256)
    assert found["map_label.weight"] == (256, 4)
    # The network's input at first, then what the level above gave.
    assert found["enc.72x180_aux_residual.weight"] == (256, 16, 3, 3)
    assert found["enc.36x90_aux_residual.weight"] == (256, 256, 3, 3)
    assert found["dec.72x180_up.conv0.resample_filter"] == (1, 1, 4, 4)


def test_adm_has_exactly_the_names_of_its_checkpoints() -> None:
    wanted = both_of(["map_layer0", "map_layer1", "enc.144x360_conv", "out_norm", "out_conv"])
    wanted.add("map_label.weight")
    sizes = ("144x360", "72x180", "36x90", "18x45")
    for size in sizes:
        # Going to another level's channels needs a skip with weights; resampling alone does not.
        wanted |= of_block(f"enc.{size}_block0", *(() if size == "144x360" else ("skip",)))
        wanted |= of_block(f"enc.{size}_block1")
        for i in range(3):
            wanted |= of_block(f"dec.{size}_block{i}", "skip")
    for size in sizes[1:]:
        wanted |= of_block(f"enc.{size}_down", *FILTERS)
    for size in sizes[:-1]:
        wanted |= of_block(f"dec.{size}_up", *FILTERS)
    wanted |= of_block("dec.18x45_in0", *ATTENTION) | of_block("dec.18x45_in1")

    found = names(full("adm"))
    assert set(found) == wanted
    assert found["enc.18x45_block0.affine.weight"] == (2 * 512, 512)
    assert found["map_label.weight"] == (512, 4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_without_labels_nothing_maps_them(architecture: str) -> None:
    with_labels, without = names(full(architecture)), names(full(architecture, labels=0))

    assert {name for name in with_labels if name not in without} == {
        name for name in with_labels if name.startswith("map_label")
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_direct_network_has_the_same_names_but_for_the_noise(architecture: str) -> None:
    assert set(names(full(architecture))) - set(names(full(architecture, direct=True))) == (
        {"map_noise.freqs"} if architecture == "ncsnpp" else set()
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_direct_network_hears_labels_and_no_noise(architecture: str) -> None:
    settings = published(architecture, 3, 2, (16, 24), width=16, blocks=1, labels=2, direct=True)
    network = random_network(settings)
    x, labels = torch.randn(2, 3, 16, 24), torch.randn(2, 2)

    with torch.no_grad():
        found = network(x, labels=labels)
        noisy = network(x, torch.tensor([-1.0, 2.0]), labels)
        others = network(x, labels=-labels)

    assert torch.equal(found, noisy)
    assert not torch.allclose(found, others)


def test_a_direct_adm_never_uses_the_layers_that_map_noise() -> None:
    settings = published("adm", 3, 2, (16, 24), width=16, blocks=1, labels=2, direct=True)
    network = random_network(settings)
    x, labels = torch.randn(1, 3, 16, 24), torch.randn(1, 2)

    with torch.no_grad():
        before = network(x, labels=labels)
        for name, weight in network.named_parameters():
            if name.startswith("map_layer"):
                weight.fill_(float("nan"))
        after = network(x, labels=labels)

    assert torch.equal(before, after)


def attending(settings: NetworkSettings) -> set[str]:
    return {name.rsplit(".", 2)[0] for name in names(settings) if ".qkv." in name}


def test_blocks_attend_where_the_shorter_side_is_listed() -> None:
    song = published("ddpmpp", 5, 2, (16, 24), width=16, blocks=2, attention=(8,))
    tall = published("ddpmpp", 5, 2, (24, 16), width=16, blocks=2, attention=(8,))
    adm = published("adm", 5, 2, (16, 24), width=64, blocks=2, attention=(8,))

    assert attending(song) == {
        "enc.8x12_block0", "enc.8x12_block1", "dec.8x12_block2", "dec.4x6_in0",
    }  # fmt: skip
    assert attending(tall) == {
        "enc.12x8_block0", "enc.12x8_block1", "dec.12x8_block2", "dec.6x4_in0",
    }  # fmt: skip
    # Here every block of the level does, going up too.
    assert attending(adm) == {
        "enc.8x12_block0", "enc.8x12_block1", "dec.2x3_in0",
        "dec.8x12_block0", "dec.8x12_block1", "dec.8x12_block2",
    }  # fmt: skip


def test_the_middle_attends_unless_it_is_told_not_to() -> None:
    settings = replace(SMALL, bottleneck_attention=False)

    assert attending(settings) == set()


def test_an_adm_of_less_than_a_heads_channels_does_not_attend() -> None:
    settings = published("adm", 5, 2, (16, 24), width=16, multipliers=(1, 2, 3))

    assert attending(settings) == set()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tiles_of_a_batch_do_not_see_each_other(architecture: str) -> None:
    network = random_network(published(architecture, 5, 2, (16, 24), width=16, blocks=1))
    x, c_noise = torch.randn(3, 5, 16, 24), torch.tensor([-0.5, 0.0, 0.4])

    with torch.no_grad():
        together = network(x, c_noise)
        alone = torch.cat([network(x[i : i + 1], c_noise[i : i + 1]) for i in range(3)])

    assert together.shape == (3, 2, 16, 24)
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_labels_means_zeros(architecture: str) -> None:
    network = random_network(published(architecture, 5, 2, (16, 24), width=16, blocks=1, labels=3))
    x, c_noise = torch.randn(1, 5, 16, 24), torch.zeros(1)

    with torch.no_grad():
        silent = network(x, c_noise)
        zeros = network(x, c_noise, torch.zeros(1, 3))
        others = network(x, c_noise, torch.ones(1, 3))

    assert torch.equal(silent, zeros)
    assert not torch.allclose(silent, others)


def test_the_bundle_that_ships_loads_strictly_and_answers_as_it_says(repository: Path) -> None:
    bundle = open_manifest(repository / "engines" / "bundles" / "gfs-wind-4to1")
    network = build(from_plain(bundle.network, str(bundle.path))).eval()
    network.load_state_dict(load_file(bundle.path / WEIGHTS), strict=True)
    golden = read_golden(bundle)
    asked = case(from_plain(bundle.network, ""), [float(golden.sigma[1])])

    one = slice(1, 2)
    around = bundle.preconditioning
    given = type(asked)(golden.x[one], golden.sigma[one], golden.condition[one], None)
    found = ours(network, around, given)(given.x, given.sigma)

    assert relative_error(found, golden.denoised[one]) < 2e-6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (NetworkSettings(5, 2, (18, 24), width=16), "18x24 is not divisible by 4"),
        (published("adm", 5, 2, (20, 24), width=16), "20x24 is not divisible by 8"),
        (NetworkSettings(5, 2, (16, 24), width=130), "130 channels do not fall into 32 groups"),
        (NetworkSettings(5, 2, (16, 24), width=2), "2 channels do not fall into 0 groups"),
        (NetworkSettings(5, 2, (16, 24), width=17), "width is 17, wanted an even number"),
        (
            published("adm", 5, 2, (16, 24), width=32, multipliers=(1, 7)),
            "224 channels do not fall into 3 heads",
        ),
        (NetworkSettings(5, 2, (16, 24), architecture="vit"), "'vit' is unknown, wanted ddpmpp"),
        (NetworkSettings(5, 2, (16, 24), multipliers=()), "names no level"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(settings: NetworkSettings, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        build(settings)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_settings_come_back_from_what_a_manifest_holds(architecture: str) -> None:
    settings = published(architecture, 16, 6, (144, 360), labels=4, dropout=0.1, direct=True)

    assert from_plain(to_plain(settings), "here") == settings


def test_what_a_manifest_leaves_out_is_as_published_for_ddpmpp() -> None:
    plain = {"inputs": 9, "outputs": 2, "tile": [8, 12], "parameters": 2201602}

    assert from_plain(plain, "here") == NetworkSettings(9, 2, (8, 12))


def test_every_fault_of_a_manifests_network_is_told_at_once() -> None:
    plain = {
        "inputs": 0, "tile": [8], "width": "128", "multipliers": [1, 0], "direct": 1,
        "architecture": "vit", "depth": 3, "dropout": 1.0,
    }  # fmt: skip

    with pytest.raises(BundleError) as refused:
        from_plain(plain, "folder/model.json")

    for words in (
        "folder/model.json: ", "network.inputs is 0", "network.outputs is None",
        "network.tile is [8], wanted [rows, columns]", "network.width is '128'",
        "network.multipliers is [1, 0]", "network.direct is 1, wanted true or false",
        "network.architecture is 'vit', wanted one of ddpmpp, ncsnpp, adm",
        "network.depth is unknown", "network.dropout is 1.0",
    ):  # fmt: skip
        assert words in str(refused.value)


@pytest.mark.parametrize("plain", [None, [], "adm"])
def test_a_network_that_is_no_object_is_refused(plain: object) -> None:
    with pytest.raises(BundleError, match="wanted an object"):
        from_plain(plain, "here")


def test_a_tile_that_does_not_fit_the_levels_is_refused_when_it_is_read() -> None:
    with pytest.raises(BundleError, match="here: tile 18x24 is not divisible by 4"):
        from_plain(to_plain(NetworkSettings(5, 2, (18, 24))), "here")


def test_the_published_settings_of_an_unknown_architecture_are_refused() -> None:
    with pytest.raises(BundleError, match="'vit' is unknown, wanted ddpmpp, ncsnpp, adm"):
        published("vit", 5, 2, (16, 24))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_a_copy(precision: str) -> None:
    network = random_network(SMALL)
    before = {name: value.clone() for name, value in network.state_dict().items()}

    inside = lowered(network, precision)

    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    kinds = {value.dtype for value in inside.state_dict().values()}
    assert kinds == {torch.float32, {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]}


def test_float32_is_the_network_itself() -> None:
    network = build(SMALL)

    assert lowered(network, "f32") is network


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network: nn.Module = random_network(
        published("adm", 5, 2, (16, 24), width=16, blocks=1, dropout=0.5)
    )
    x, c_noise = torch.randn(1, 5, 16, 24), torch.zeros(1)

    with torch.no_grad():
        quiet = [network(x, c_noise) for _ in range(2)]
        network.train()
        loud = [network(x, c_noise) for _ in range(2)]

    assert torch.equal(*quiet)
    assert not torch.allclose(*loud)
