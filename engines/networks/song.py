"""SongUNet, the network of `ddpmpp` and `ncsnpp`."""

from torch import Tensor, nn
from torch.nn import functional

from engines.networks.block import Style
from engines.networks.layers import (
    BOX,
    TENT,
    Conv,
    FourierEmbedding,
    group_norm,
    halves_swapped,
    positional_embedding,
)
from engines.networks.levels import Plan, decoder, down, encoder, up
from engines.networks.settings import NetworkSettings

EPS = 1e-6
HALF_POWER = 0.5**0.5


class SongUNet(nn.Module):
    """F([c_in x, c_condition y], c_noise, labels): the network inside its preconditioning.

    `ncsnpp` differs from `ddpmpp` in its noise features, its smoother resampling, and that each
    level of its encoder also sees the network's input.
    Source: Song et al. 2021 (https://arxiv.org/abs/2011.13456), Karras et al. 2022.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        is_smooth = settings.architecture == "ncsnpp"
        emb = 4 * settings.width
        self._noise_width = 2 * settings.width if is_smooth else settings.width
        self._is_direct = settings.direct
        self.map_noise = (
            FourierEmbedding(self._noise_width) if is_smooth and not settings.direct else None
        )
        self.map_label = nn.Linear(settings.labels, self._noise_width) if settings.labels else None
        self.map_layer0 = nn.Linear(self._noise_width, emb)
        self.map_layer1 = nn.Linear(emb, emb)
        style = Style(
            emb=emb,
            eps=EPS,
            factor=HALF_POWER,
            scales=False,
            projects=True,
            dropout=settings.dropout,
            taps=TENT if is_smooth else BOX,
        )
        plan = Plan(settings, style, lambda _: 1, settings.width, residual_input=is_smooth)
        self.enc, skips = encoder(plan)
        # Going up, only the last block of a level attends.
        self.dec, channels = decoder(
            plan, skips, lambda level, index: index == settings.blocks and plan.attends(level)
        )
        top = plan.name(0)
        self._norm, self._conv = f"{top}_aux_norm", f"{top}_aux_conv"
        self.dec[self._norm] = group_norm(channels, EPS)
        last = Conv(channels, settings.outputs, 3)
        nn.init.zeros_(last.weight)
        self.dec[self._conv] = last

    def forward(
        self, inputs: Tensor, c_noise: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return (B, outputs, H, W) for inputs (B, inputs, H, W), c_noise (B,), labels (B, L).

        A direct network wants no c_noise; labels that are not given are zeros.
        """
        emb = self.embedding(inputs.shape[0], c_noise, labels).to(inputs.dtype)
        skips = down(self.enc, inputs, emb, HALF_POWER)
        x = up(self.dec, skips, emb)
        raw: Tensor = self.dec[self._conv](functional.silu(self.dec[self._norm](x)))
        return raw

    def embedding(self, batch: int, c_noise: Tensor | None, labels: Tensor | None) -> Tensor:
        """Return what the blocks are told, (B, 4 width)."""
        emb = self._noise_features(batch, c_noise)
        if self.map_label is not None:
            count = self.map_label.in_features
            given = emb.new_zeros(batch, count) if labels is None else labels
            emb = emb + self.map_label(given * count**0.5)
        emb = functional.silu(self.map_layer0(emb))
        return functional.silu(self.map_layer1(emb))

    def _noise_features(self, batch: int, c_noise: Tensor | None) -> Tensor:
        if self._is_direct:
            return self.map_layer0.weight.new_zeros(batch, self._noise_width)
        assert c_noise is not None
        if self.map_noise is not None:
            return halves_swapped(self.map_noise(c_noise))
        return halves_swapped(positional_embedding(c_noise, self._noise_width))
