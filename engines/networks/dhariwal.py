"""DhariwalUNet, the network of `adm`."""

from torch import Tensor, nn
from torch.nn import functional

from engines.networks.block import Style
from engines.networks.layers import Conv, group_norm, positional_embedding
from engines.networks.levels import Plan, decoder, down, encoder, up
from engines.networks.settings import NetworkSettings

EPS = 1e-5
CHANNELS_PER_HEAD = 64


class DhariwalUNet(nn.Module):
    """F([c_in x, c_condition y], c_noise, labels): the network inside its preconditioning.

    Source: Dhariwal and Nichol 2021 (https://arxiv.org/abs/2105.05233), Karras et al. 2022.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        emb = 4 * settings.width
        self._width, self._is_direct = settings.width, settings.direct
        self.map_label = nn.Linear(settings.labels, emb, bias=False) if settings.labels else None
        # A direct network keeps these too, unused, since its checkpoints have them.
        self.map_layer0 = nn.Linear(settings.width, emb)
        self.map_layer1 = nn.Linear(emb, emb)
        style = Style(
            emb=emb, eps=EPS, factor=1.0, scales=True, projects=False, dropout=settings.dropout
        )
        plan = Plan(
            settings,
            style,
            # Fewer channels than one head takes: no attention there.
            lambda channels: channels // CHANNELS_PER_HEAD,
            settings.width * settings.multipliers[0],
        )
        self.enc, skips = encoder(plan)
        self.dec, channels = decoder(plan, skips, lambda level, _: plan.attends(level))
        self.out_norm = group_norm(channels, EPS)
        self.out_conv = Conv(channels, settings.outputs, 3)
        nn.init.zeros_(self.out_conv.weight)

    def forward(
        self, inputs: Tensor, c_noise: Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return (B, outputs, H, W) for inputs (B, inputs, H, W), c_noise (B,), labels (B, L).

        A direct network wants no c_noise; labels that are not given are zeros.
        """
        emb = self.embedding(inputs.shape[0], c_noise, labels).to(inputs.dtype)
        x = up(self.dec, down(self.enc, inputs, emb, 1.0), emb)
        raw: Tensor = self.out_conv(functional.silu(self.out_norm(x)))
        return raw

    def embedding(self, batch: int, c_noise: Tensor | None, labels: Tensor | None) -> Tensor:
        """Return what the blocks are told, (B, 4 width)."""
        if self._is_direct:
            emb = self.map_layer1.weight.new_zeros(batch, self.map_layer1.out_features)
        else:
            assert c_noise is not None
            features = positional_embedding(c_noise, self._width, endpoint=False)
            emb = self.map_layer1(functional.silu(self.map_layer0(features)))
        if self.map_label is not None:
            given = emb.new_zeros(batch, self.map_label.in_features) if labels is None else labels
            emb = emb + self.map_label(given)
        return functional.silu(emb)
