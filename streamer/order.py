"""What is made of every step: by which networks, how, and under whose name."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scipy.sparse import csr_array

from engines.bundle import Bundle
from engines.calibration import sampler_to_plain
from streamer.domain import Constraints
from streamer.downscale.boxes import Boxes
from streamer.downscale.work import Fusion, Recipe
from streamer.ensemble import Pattern
from streamer.grib.encode import Imprint, Packing
from streamer.plan import Making, Plan, Strand
from streamer.records import Plain
from streamer.sampling import Chosen


@dataclass(frozen=True, slots=True)
class Order:
    """What is made of every step: by which model, how, and under whose name.

    bundles: the bundle as each of the plan's networks sees it. seed, noise: as in the config's
    `sampler`. record_limit: the largest value that the output topic takes, in bytes.
    constraints: what draws must obey. boxes: of the coarse operator, where any is conserved.
    out_of_range: what becomes of a parameter that cannot be true.
    condition_bytes: what may be kept of conditions for steps that are asked again.
    """

    bundles: Mapping[str, Bundle]
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
        """The bundle; what is the same for all of its networks."""
        return self.bundles[self.plan.ways[0].network]

    def pattern(self, making: Making) -> Pattern:
        """Return what all ensembles of a product have in common."""
        boxes = None if self.boxes is None else Boxes(*self.boxes, making.window)
        return Pattern(making, self.bundle.channels, self.constraints, boxes)

    def recipe(self, strand: Strand) -> Recipe:
        """Return how the draws of a strand are made."""
        way = self.plan.ways[strand.way]
        return Recipe(self.bundles[way.network], self.plan.layout, way.sampler, self.fusion)

    @property
    def sampler(self) -> Plain:
        """The samplers as the step's record tells them; infinity is null there.

        Those of the first way stand alone; where products draw in several ways, `products` tells
        which of them draws how many of each.
        """
        first, *others = (_plain(one) for one in self.plan.chosen)
        made = {"fusion": self.fusion, "seed": self.seed, "noise": self.noise, **first}
        if not others:
            return made
        by_product = {
            making.name: [
                {"draws": many, **_plain(self.plan.chosen[way])}
                for way, many in Counter(drawn.way for drawn in making.draws).items()
            ]
            for making in self.plan.makings
        }
        return {**made, "products": by_product}


def _plain(chosen: Chosen) -> dict[str, Any]:
    why = {"profile": chosen.profile, "network": chosen.network}
    return {**why, **sampler_to_plain(chosen.sampler)}
