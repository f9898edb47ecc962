"""The door to Triton: norm and activation in two readings of a tensor, and sums in one.

PyTorch's norm wants channels first, so that between two convolutions with channels last it turns
the tensor around twice; with its casts to float32 and the activation that is ten passes over
memory. Here a first reading gives moments, a second one the answer. All arithmetic is float32.
Every sum is taken in one order, so that the same input gives the same bytes.
"""

# mypy: disable-error-code="no-untyped-def"
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

#: Numbers that one program handles at a time, and how often when it takes moments.
BLOCK, TIMES = 4096, 8
#: What the embedding does to a norm: nothing, is added before it, or scales and shifts after it.
NOTHING, ADDED, SCALED = range(3)


def _moments(
    x, partial, points, channels, ROWS: tl.constexpr, LOOPS: tl.constexpr, WIDE: tl.constexpr
):
    """Sum each channel and its squares over a chunk of a tile's points."""
    tile, chunk, chunks = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    column = tl.arange(0, WIDE)
    is_inside = column < channels
    total, squares = tl.zeros([WIDE], tl.float32), tl.zeros([WIDE], tl.float32)
    source = x + tile.to(tl.int64) * points * channels
    for loop in range(LOOPS):
        row = (chunk * LOOPS + loop) * ROWS + tl.arange(0, ROWS)
        mask = (row < points)[:, None] & is_inside[None, :]
        found = tl.load(source + row[:, None] * channels + column[None, :], mask=mask, other=0.0)
        found = found.to(tl.float32)
        total += tl.sum(found, 0)
        squares += tl.sum(found * found, 0)
    target = partial + (tile * chunks + chunk) * 2 * channels
    tl.store(target + column, total, mask=is_inside)
    tl.store(target + channels + column, squares, mask=is_inside)


def _factors(
    partial, weight, bias, before, told, factors, points, channels, chunks, each, eps,
    HOW: tl.constexpr, ROWS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Make of moments what a channel is multiplied by and what is added, for one group."""
    tile, group = tl.program_id(0), tl.program_id(1)
    column = tl.arange(0, WIDE)
    is_inside = column < each
    channel = group * each + column
    total, squares = tl.zeros([WIDE], tl.float32), tl.zeros([WIDE], tl.float32)
    source = partial + tile * chunks * 2 * channels
    for first in range(0, chunks, ROWS):
        row = first + tl.arange(0, ROWS)
        mask = (row < chunks)[:, None] & is_inside[None, :]
        place = source + row[:, None] * 2 * channels + channel[None, :]
        total += tl.sum(tl.load(place, mask=mask, other=0.0), 0)
        squares += tl.sum(tl.load(place + channels, mask=mask, other=0.0), 0)
    constant = tl.load(before + channel, mask=is_inside, other=0.0).to(tl.float32)
    if HOW == 1:
        mine = told + tile * channels + channel
        constant += tl.load(mine, mask=is_inside, other=0.0).to(tl.float32)
    # Moments of x + constant, from those of x.
    squares += constant * (2.0 * total + points * constant)
    total += points * constant
    count = (points * each).to(tl.float32)
    mean = tl.sum(total, 0) / count
    variance = tl.maximum(tl.sum(squares, 0) / count - mean * mean, 0.0)
    gain = tl.load(weight + channel, mask=is_inside, other=0.0) / tl.sqrt(variance + eps)
    shift = tl.load(bias + channel, mask=is_inside, other=0.0) + (constant - mean) * gain
    if HOW == 2:
        mine = told + tile * 2 * channels + channel
        scale = 1.0 + tl.load(mine, mask=is_inside, other=0.0).to(tl.float32)
        gain *= scale
        shift = shift * scale + tl.load(mine + channels, mask=is_inside, other=0.0).to(tl.float32)
    target = factors + tile * 2 * channels + channel
    tl.store(target, gain, mask=is_inside)
    tl.store(target + channels, shift, mask=is_inside)


def _apply(
    x, y, factors, points, channels, SILU: tl.constexpr, ROWS: tl.constexpr, WIDE: tl.constexpr
):
    """Write gain x + shift of each channel, activated if asked to."""
    tile = tl.program_id(0)
    column = tl.arange(0, WIDE)
    is_inside = column < channels
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    mask = (row < points)[:, None] & is_inside[None, :]
    place = tile.to(tl.int64) * points * channels + row[:, None] * channels + column[None, :]
    mine = factors + tile * 2 * channels + column
    gain = tl.load(mine, mask=is_inside, other=0.0)
    shift = tl.load(mine + channels, mask=is_inside, other=0.0)
    found = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    found = found * gain[None, :] + shift[None, :]
    if SILU:
        found = found / (1.0 + tl.exp(-found))
    tl.store(y + place, found.to(y.dtype.element_ty), mask=mask)


def _joined(h, beside, bias, y, count, channels, factor, SIZE: tl.constexpr):
    """Write (h + bias + beside) factor."""
    place = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    mask = place < count
    found = tl.load(h + place, mask=mask, other=0.0).to(tl.float32)
    found += tl.load(bias + place % channels, mask=mask, other=0.0)
    found = (found + tl.load(beside + place, mask=mask, other=0.0).to(tl.float32)) * factor
    tl.store(y + place, found.to(y.dtype.element_ty), mask=mask)


def normed(
    x: Tensor,
    norm: torch.nn.GroupNorm,
    before: Tensor,
    told: Tensor | None = None,
    how: int = NOTHING,
    *,
    silu: bool = True,
) -> Tensor:
    """Return silu(norm(x + before)), (B, C, H, W) channels last, in the type of `x`.

    before: (C,) float32, added to each channel. told: what the embedding says, (B, C) where it is
    `ADDED` too, (B, 2 C) where it is `SCALED`: scale, then shift. norm: its weights are float32.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    points, each, wide = height * width, channels // norm.num_groups, _power(channels)
    rows = max(1, BLOCK // wide)
    chunks = triton.cdiv(points, rows * TIMES)
    partial = torch.empty(batch, chunks, 2, channels, device=x.device)
    factors = torch.empty(batch, 2, channels, device=x.device)
    y = torch.empty_like(x)
    told = partial if told is None else told.contiguous()
    kernel(_moments)[batch, chunks](x, partial, points, channels, rows, TIMES, wide)
    kernel(_factors)[batch, norm.num_groups](
        partial, norm.weight, norm.bias, before, told, factors, points, channels, chunks, each,
        norm.eps, how, 64, _power(each),
    )  # fmt: skip
    grid = (batch, triton.cdiv(points, rows))
    kernel(_apply)[grid](x, y, factors, points, channels, silu, rows, wide)
    return y


def joined(h: Tensor, beside: Tensor, bias: Tensor, factor: float) -> Tensor:
    """Return (h + bias + beside) factor, channels last. bias: (C,) float32."""
    h, beside = (one.contiguous(memory_format=torch.channels_last) for one in (h, beside))
    y, count = torch.empty_like(h), h.numel()
    kernel(_joined)[(triton.cdiv(count, BLOCK // 4),)](
        h, beside, bias, y, count, h.shape[1], factor, BLOCK // 4
    )
    return y


@cache
def kernel(function: Callable[..., None]) -> Any:
    """Return a function as Triton's; not when it is defined, since that reads its source."""
    return triton.jit(function)


def trouble(device: torch.device) -> str:
    """Return why the kernels cannot be used on a GPU, "" where they can; tries them."""
    norm = torch.nn.GroupNorm(4, 16, device=device).requires_grad_(requires_grad=False)
    zeros, x = torch.zeros(16, device=device), torch.ones(1, 16, 2, 2, device=device)
    try:
        # Triton launches on the current device, whatever its tensors say.
        with torch.cuda.device(device):
            joined(normed(x, norm, zeros), x, zeros, 1.0)
            torch.cuda.synchronize(device)
    # Whatever a compiler, a linker or a driver says: without them it is slower, not wrong.
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}".partition("\n")[0]
    return ""


def _power(count: int) -> int:
    """Return the power of two that holds a count."""
    return 1 << max(0, count - 1).bit_length()
