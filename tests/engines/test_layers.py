"""What networks are built of, against formulas written out by hand."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engines.networks.block import Block, Style
from engines.networks.layers import (
    BOX,
    TENT,
    Attention,
    Conv,
    FourierEmbedding,
    group_norm,
    halves_swapped,
    positional_embedding,
)

SONG = Style(emb=12, eps=1e-6, factor=math.sqrt(0.5), scales=False, projects=True)
DHARIWAL = Style(emb=12, eps=1e-5, factor=1.0, scales=True, projects=False)


def test_positions_are_cosines_then_sines_of_falling_frequencies() -> None:
    c_noise = 0.7

    found = positional_embedding(torch.tensor([c_noise]), 6)[0].tolist()

    angles = [c_noise, c_noise / 100.0, c_noise / 10000.0]
    wanted = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_without_its_endpoint_the_last_frequency_is_above_the_lowest() -> None:
    c_noise = 0.7

    found = positional_embedding(torch.tensor([c_noise]), 4, endpoint=False)[0].tolist()

    angles = [c_noise, c_noise / 100.0]
    wanted = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    assert found == pytest.approx(wanted, abs=1e-6)


def test_fourier_features_turn_as_often_as_their_frequency_says() -> None:
    embedding = FourierEmbedding(6)
    embedding.freqs.copy_(torch.tensor([0.25, 1.0, -2.0]))

    found = embedding(torch.tensor([1.0, 0.5]))

    wanted = [[0, 1, 1, 1, 0, 0], [math.sqrt(0.5), -1, 1, math.sqrt(0.5), 0, 0]]
    assert torch.allclose(found, torch.tensor(wanted), atol=1e-6)


def test_halves_are_swapped_whole() -> None:
    assert halves_swapped(torch.arange(6.0)[None]).tolist() == [[3, 4, 5, 0, 1, 2]]


def unit_conv(resample: str, taps: tuple[float, ...] = BOX, *, fused: bool = False) -> Conv:
    conv = Conv(1, 1, 1, resample, taps, fused=fused)  # type: ignore[arg-type]
    conv.requires_grad_(requires_grad=False).weight.fill_(1.0)
    return conv


def test_going_down_takes_the_mean_of_four_and_going_up_repeats() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)

    assert torch.equal(unit_conv("down")(x)[0, 0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    repeated = x[0, 0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(unit_conv("up")(x)[0, 0], repeated)


@pytest.mark.parametrize("taps", [BOX, TENT])
def test_resampling_equals_the_filter_that_the_checkpoint_carries(taps: tuple[float, ...]) -> None:
    conv, padding = unit_conv("down", taps), (len(taps) - 1) // 2
    x = torch.randn(1, 1, 6, 8)

    filtered = functional.conv2d(x, conv.resample_filter, stride=2, padding=padding)
    spread = functional.conv_transpose2d(x, 4 * conv.resample_filter, stride=2, padding=padding)

    assert torch.allclose(conv(x), filtered, atol=1e-6)
    assert torch.allclose(unit_conv("up", taps)(x), spread, atol=1e-6)


def test_the_smooth_filter_is_one_three_three_one_in_64ths() -> None:
    line = [1.0, 3.0, 3.0, 1.0]

    found = unit_conv("down", TENT).resample_filter

    assert found.shape == (1, 1, 4, 4)
    assert (64 * found[0, 0]).tolist() == [[a * b for a in line] for b in line]


def test_channels_are_resampled_each_for_itself() -> None:
    x = torch.randn(2, 3, 8, 12)
    for resample in ("down", "up"):
        conv = Conv(3, 3, 0, resample, TENT)
        alone = Conv(1, 1, 0, resample, TENT)

        wanted = torch.cat([alone(x[:, i : i + 1]) for i in range(3)], dim=1)

        assert torch.allclose(conv(x), wanted, atol=1e-6)
        assert list(conv.state_dict()) == ["resample_filter"]


def test_fused_the_kernel_comes_first_and_sees_the_filters_padding() -> None:
    torch.manual_seed(0)
    conv = Conv(2, 3, 3, "down", TENT, fused=True)
    conv.bias.data.normal_()
    x = torch.randn(2, 2, 8, 12)

    found = conv(x)

    wide = functional.conv2d(x, conv.weight, padding=2)
    each = conv.resample_filter.repeat(3, 1, 1, 1)
    wanted = functional.conv2d(wide, each, conv.bias, stride=2, groups=3)
    assert found.shape == (2, 3, 4, 6)
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(("channels", "groups"), [(4, 1), (16, 4), (36, 9), (128, 32), (512, 32)])
def test_norms_have_a_group_for_four_channels_up_to_32(channels: int, groups: int) -> None:
    assert group_norm(channels, 1e-6).num_groups == groups


def randomised(block: Block) -> Block:
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in block.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return block.eval()


def by_hand(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise with the biased variance."""
    grouped = x.reshape(x.shape[0], groups, -1)
    centred = grouped - grouped.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return scaled.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


@pytest.mark.parametrize("style", [SONG, DHARIWAL])
def test_a_block_is_the_formula_of_the_papers(style: Style) -> None:
    block = randomised(Block(8, 16, style))
    # So small that eps is seen.
    x, emb = 1e-2 * torch.randn(2, 8, 6, 5), torch.randn(2, 12)

    found = block(x, emb)

    w = block.state_dict()
    h = functional.silu(by_hand(x, 2, w["norm0.weight"], w["norm0.bias"], style.eps))
    h = functional.conv2d(h, w["conv0.weight"], w["conv0.bias"], padding=1)
    told = (emb @ w["affine.weight"].T + w["affine.bias"])[:, :, None, None]
    if style is SONG:
        h = by_hand(h + told, 4, w["norm1.weight"], w["norm1.bias"], style.eps)
    else:
        h = by_hand(h, 4, w["norm1.weight"], w["norm1.bias"], style.eps)
        h = h * (1 + told[:, :16]) + told[:, 16:]
    h = functional.conv2d(functional.silu(h), w["conv1.weight"], w["conv1.bias"], padding=1)
    skip = functional.conv2d(x, w["skip.weight"], w["skip.bias"])
    assert torch.allclose(found, (h + skip) * style.factor, atol=1e-5)


def test_a_resampling_skip_has_weights_in_one_family_and_none_in_the_other() -> None:
    def of_skip(block: Block) -> set[str]:
        return {name for name in block.state_dict() if name.startswith("skip.")}

    filter_ = {"skip.resample_filter"}
    whole = {"skip.weight", "skip.bias"}
    assert of_skip(Block(8, 8, SONG, resample="down")) == whole | filter_
    assert of_skip(Block(8, 8, DHARIWAL, resample="up")) == filter_
    assert of_skip(Block(8, 16, DHARIWAL, resample="up")) == whole | filter_
    assert of_skip(Block(8, 16, DHARIWAL)) == whole
    assert of_skip(Block(8, 8, SONG)) == set()


@pytest.mark.parametrize("heads", [1, 2])
def test_attention_reads_q_k_and_v_from_the_fastest_index(heads: int) -> None:
    qkv = torch.randn(2, 24, 3, 4)

    found = Attention(8, heads)(qkv)

    each = 8 // heads
    for tile in range(2):
        for head in range(heads):
            mine = qkv[tile, 3 * each * head : 3 * each * (head + 1)].reshape(3 * each, 12)
            q, k, v = mine[0::3], mine[1::3], mine[2::3]
            shares = torch.softmax(q.T @ k / math.sqrt(each), dim=1)
            wanted = (v @ shares.T).reshape(each, 3, 4)
            assert torch.allclose(found[tile, each * head : each * (head + 1)], wanted, atol=1e-6)


@pytest.mark.parametrize("style", [SONG, DHARIWAL])
def test_a_block_that_attends_adds_what_it_saw_to_what_it_had(style: Style) -> None:
    block = randomised(Block(8, 8, style, heads=1))
    plain = Block(8, 8, style).eval()
    plain.load_state_dict({k: v for k, v in block.state_dict().items() if k in plain.state_dict()})
    x, emb = torch.randn(1, 8, 3, 4), torch.randn(1, 12)

    found = block(x, emb)

    w = block.state_dict()
    h = plain(x, emb)
    normed = by_hand(h, 2, w["norm2.weight"], w["norm2.bias"], style.eps)
    seen = Attention(8, 1)(functional.conv2d(normed, w["qkv.weight"], w["qkv.bias"]))
    proj = functional.conv2d(seen, w["proj.weight"], w["proj.bias"])
    assert torch.allclose(found, (proj + h) * style.factor, atol=1e-5)
