"""What is made of every step: by which networks, how, and under whose name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scipy.sparse import csr_array

from engines.bundle import Bundle
from engines.calibration import sampler_to_plain
from streamer.demands import Constraints
from streamer.downscale.boxes import Boxes
from streamer.downscale.work import Fusion, Recipe
from streamer.grib.encode import Imprint, Packing
from streamer.products.ensemble import Pattern
from streamer.products.plan import Making, Plan, Strand
from streamer.records import Plain


@dataclass(frozen=True, slots=True)
class Order:
    """What is made of every step: by which model, how, and under whose name.

    bundles: each by its number and network, as that sees it. digest: of all together. seed,
    noise: as in the config's `sampler`. record_limit: the largest value that the output topic
    takes, in bytes. constraints: what draws must obey. boxes: of the coarse operator, where any
    is conserved. out_of_range: what becomes of a parameter that cannot be true.
    condition_bytes: what may be kept of conditions for steps that are asked again.
    """

    bundles: Mapping[tuple[int, str], Bundle]
    digest: str
    plan: Plan
    seed: int
    noise: Literal["step", "run"]
    topic: str
    group: str
    packing: Packing
    imprint: Imprint
    record_limit: int
    constraints: Constraints = Constraints()
    boxes: tuple[csr_array, csr_array] | None = None
    out_of_range: Literal["flag", "drop", "stop"] = "flag"
    fusion: Fusion = "end"
    condition_bytes: int = 0

    @property
    def bundle(self) -> Bundle:
        """The first bundle; for what is the same in all."""
        return next(iter(self.bundles.values()))

    def bundle_of(self, strand: Strand) -> Bundle:
        """Return the bundle of a strand, as its network sees it."""
        way = self.plan.ways[strand.way]
        return self.bundles[way.bundle, way.network]

    def pattern(self, making: Making) -> Pattern:
        """Return what all ensembles of a product have in common."""
        boxes = None if self.boxes is None else Boxes(*self.boxes, making.window)
        return Pattern(making, self.bundle.channels, self.constraints, boxes)

    def recipe(self, strand: Strand) -> Recipe:
        """Return how the draws of a strand are made."""
        sampler = self.plan.ways[strand.way].sampler
        return Recipe(self.bundle_of(strand), self.plan.layout(strand), sampler, self.fusion)

    @property
    def sampler(self) -> Plain:
        """The samplers as the step's record tells them; infinity is null there.

        Those of the first way stand alone; where products draw in several ways, `products` tells
        which of them draws how many of each.
        """
        first, *others = (self._plain(way) for way in range(len(self.plan.ways)))
        made = {"fusion": self.fusion, "seed": self.seed, "noise": self.noise, **first}
        if self.plan.layouts[0].has_own_noise:
            made["layout"] = "ipsl-aid"
        if not others:
            return made
        by_product = {
            making.name: [
                {"draws": many, **self._plain(way)}
                for way, many in Counter(drawn.way for drawn in making.draws).items()
            ]
            for making in self.plan.makings
        }
        return {**made, "products": by_product}

    def _plain(self, number: int) -> dict[str, Any]:
        way, chosen = self.plan.ways[number], self.plan.chosen[number]
        told = {"profile": chosen.profile, "network": chosen.network}
        if len(self.plan.layouts) > 1:
            told["bundle"] = self.bundles[way.bundle, way.network].digest
        return {**told, **sampler_to_plain(chosen.sampler)}
