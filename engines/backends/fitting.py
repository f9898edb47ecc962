"""What fits a network: the shapes that every backend asks for, refused in the same words."""

from dataclasses import dataclass

from engines.bundle import Bundle
from engines.denoiser import Array
from engines.errors import EngineError


@dataclass(frozen=True, slots=True)
class Fitting:
    """Shapes without the axis of tiles. beside: channels of the condition; labels: their number."""

    where: str
    channels: int
    beside: int
    tile: tuple[int, int]
    labels: int
    is_direct: bool = False

    @classmethod
    def of(cls, bundle: Bundle) -> "Fitting":
        """Return what fits a bundle's network."""
        channels = len(bundle.channels)
        return cls(
            where=str(bundle.network_path),
            channels=channels,
            beside=channels + len(bundle.constants),
            tile=bundle.tile,
            labels=len(bundle.labels),
            is_direct=bundle.preconditioning.kind == "direct",
        )

    def graph_inputs(self, batch: int) -> list[tuple[int, ...]]:
        """Return the shapes of the ONNX graph's inputs, in their order, for a number of tiles."""
        joined = self.beside + (0 if self.is_direct else self.channels)
        shapes: list[tuple[int, ...]] = [(batch, joined, *self.tile)]
        shapes += [] if self.is_direct else [(batch,)]
        return [*shapes, (batch, self.labels)] if self.labels else shapes

    def refuse_misfits(
        self, x: Array, sigma: Array, condition: Array, labels: Array | None
    ) -> None:
        """Raise EngineError for a shape that the network does not take, or a level that is 0."""
        count = len(x)
        wanted: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
            ("x", x.shape, (count, self.channels, *self.tile)),
            ("condition", condition.shape, (count, self.beside, *self.tile)),
            ("sigma", sigma.shape, (count,)),
        ]
        if self.labels or labels is not None:
            given = () if labels is None else labels.shape
            wanted += [("labels", given, (count, self.labels) if self.labels else ())]
        for name, found, fits in wanted:
            if found != fits:
                raise EngineError(f"{self.where}: {name} is {found}, wanted {fits}")
        if count and not sigma.min() > 0.0:
            raise EngineError(f"{self.where}: sigma is {sigma.min()}, wanted above 0")
