"""The network has the names, counts and arithmetic that published checkpoints expect."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.errors import BundleError
from engines.networks import Block, Conv, NetworkSettings, build, positional_embedding

SMALL = NetworkSettings(
    inputs=5, outputs=2, tile=(16, 24), width=16, multipliers=(1, 2), blocks=1, attention=()
)


@pytest.fixture(scope="module", name="published")
def published_ddpmpp() -> nn.Module:
    """Build `ddpmpp` as published."""
    return build(NetworkSettings(inputs=16, outputs=6, tile=(144, 360), labels=4))


def randomised(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return network.eval()


def test_ddpmpp_has_as_many_weights_as_published(published: nn.Module) -> None:
    count = sum(weight.numel() for weight in published.parameters())

    assert round(count / 1e6, 1) == 54.4


def test_modules_are_named_as_in_checkpoints(published: nn.Module) -> None:
    names = set(published.state_dict())

    assert {
        "map_label.weight",
        "map_layer0.bias",
        "map_layer1.weight",
        "enc.144x360_conv.weight",
        "enc.144x360_block3.affine.weight",
        "enc.72x180_down.conv0.resample_filter",
        "enc.72x180_down.skip.resample_filter",
        "enc.72x180_down.skip.weight",
        "dec.36x90_in0.qkv.weight",
        "dec.36x90_in0.proj.bias",
        "dec.36x90_in1.norm1.weight",
        "dec.72x180_up.conv0.resample_filter",
        "dec.144x360_block4.skip.weight",
        "dec.144x360_aux_norm.weight",
        "dec.144x360_aux_conv.bias",
    } <= names


def test_only_the_bottleneck_attends_on_published_tiles(published: nn.Module) -> None:
    attending = {name.rsplit(".", 2)[0] for name in published.state_dict() if ".qkv." in name}

    assert attending == {"dec.36x90_in0"}


def test_blocks_attend_where_the_shorter_side_is_listed() -> None:
    settings = NetworkSettings(
        5, 2, tile=(16, 24), width=16, multipliers=(1, 2), blocks=2, attention=(8,)
    )

    attending = {name.rsplit(".", 2)[0] for name in build(settings).state_dict() if ".qkv." in name}

    assert attending == {
        "enc.8x12_block0",
        "enc.8x12_block1",
        "dec.8x12_in0",
        "dec.8x12_block2",
    }


def test_the_embedding_is_sines_then_cosines_of_falling_frequencies() -> None:
    c_noise = 0.7

    found = positional_embedding(torch.tensor([c_noise]), 6)[0].tolist()

    angles = [c_noise, c_noise / 100.0, c_noise / 10000.0]
    wanted = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_going_down_takes_the_mean_of_four_and_going_up_repeats() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    down, up = unit_conv("down"), unit_conv("up")

    assert torch.equal(down(x)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert torch.equal(up(x)[0, 0], x[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_resampling_equals_the_filter_that_the_checkpoint_carries() -> None:
    conv = unit_conv("down")
    x = torch.randn(1, 1, 6, 8)

    filtered = functional.conv2d(x, conv.resample_filter, stride=2)
    spread = functional.conv_transpose2d(x, 4 * conv.resample_filter, stride=2)

    assert torch.allclose(conv(x), filtered, atol=1e-6)
    assert torch.allclose(unit_conv("up")(x), spread, atol=1e-6)


def unit_conv(resample: str) -> Conv:
    conv = Conv(1, 1, 1, resample).requires_grad_(requires_grad=False)
    conv.weight.fill_(1.0)
    return conv


def test_a_block_is_the_formula_of_the_papers() -> None:
    block = randomised(Block(8, 16, 12, attend=False))
    x, emb = torch.randn(2, 8, 6, 5), torch.randn(2, 12)

    found = block(x, emb)

    w = block.state_dict()
    h = functional.conv2d(
        functional.silu(group_norm(x, 2, w["norm0.weight"], w["norm0.bias"])),
        w["conv0.weight"],
        w["conv0.bias"],
        padding=1,
    )
    h = h + (emb @ w["affine.weight"].T + w["affine.bias"])[:, :, None, None]
    h = functional.conv2d(
        functional.silu(group_norm(h, 4, w["norm1.weight"], w["norm1.bias"])),
        w["conv1.weight"],
        w["conv1.bias"],
        padding=1,
    )
    skip = functional.conv2d(x, w["skip.weight"], w["skip.bias"])
    assert torch.allclose(found, (h + skip) * math.sqrt(0.5), atol=1e-5)


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise by hand: biased variance, eps 1e-6."""
    grouped = x.reshape(x.shape[0], groups, -1)
    centred = grouped - grouped.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def test_attention_reads_q_k_and_v_from_the_fastest_index() -> None:
    block = randomised(Block(8, 8, 4, attend=True))
    plain = Block(8, 8, 4, attend=False).eval()
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if k in plain.state_dict()})
    x, emb = torch.randn(1, 8, 3, 4), torch.randn(1, 4)

    found = block(x, emb)

    w = block.state_dict()
    h = plain(x, emb)
    normed = group_norm(h, 2, w["norm2.weight"], w["norm2.bias"])
    qkv = functional.conv2d(normed, w["qkv.weight"], w["qkv.bias"])[0].reshape(24, 12)
    q, k, v = qkv[0::3], qkv[1::3], qkv[2::3]
    shares = torch.softmax(q.T @ k / math.sqrt(8), dim=1)
    attended = (v @ shares.T).reshape(1, 8, 3, 4)
    proj = functional.conv2d(attended, w["proj.weight"], w["proj.bias"])
    assert torch.allclose(found, (proj + h) * math.sqrt(0.5), atol=1e-5)


def test_tiles_of_a_batch_do_not_see_each_other() -> None:
    network = randomised(build(SMALL))
    x, c_noise = torch.randn(3, 5, 16, 24), torch.tensor([-0.5, 0.0, 0.4])

    with torch.no_grad():
        together = network(x, c_noise)
        alone = torch.cat([network(x[i : i + 1], c_noise[i : i + 1]) for i in range(3)])

    assert together.shape == (3, 2, 16, 24)
    assert torch.allclose(together, alone, atol=1e-5)


def test_no_labels_means_zeros() -> None:
    network = randomised(build(NetworkSettings(5, 2, (16, 24), width=16, blocks=1, labels=3)))
    x, c_noise = torch.randn(1, 5, 16, 24), torch.zeros(1)

    with torch.no_grad():
        silent = network(x, c_noise)
        zeros = network(x, c_noise, torch.zeros(1, 3))
        others = network(x, c_noise, torch.ones(1, 3))

    assert torch.equal(silent, zeros)
    assert not torch.allclose(silent, others)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (NetworkSettings(5, 2, (18, 24), width=16), "18x24 is not divisible by 4"),
        (NetworkSettings(5, 2, (16, 24), width=36), "channels do not fall into"),
        (NetworkSettings(5, 2, (16, 24), architecture="vit"), "'vit' is unknown"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(settings: NetworkSettings, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        build(settings)
