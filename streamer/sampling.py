"""Which sampler draws: the section `sampler` of the configuration, held against a bundle."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from engines.calibration import solver_name
from engines.errors import UsageError
from engines.manifest import Manifest
from engines.multistep import MultistepSettings
from engines.precondition import sigma_range
from engines.sampler import Sampler, SamplerSettings, calls, levels

#: Heun's eight, any of which the configuration may name.
_EIGHT = tuple(field.name for field in dataclasses.fields(SamplerSettings))
#: Those of them that say nothing where no level is raised by noise.
_OF_CHURN = ("s_churn", "s_min", "s_max", "s_noise")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What draws, and why.

    network: of the bundle, out of `engines.calibration.NETWORKS`. profile: the row of the bundle's
    table that was taken; None where the table had no say.
    """

    sampler: Sampler
    network: str = "denoiser"
    profile: str | None = None

    @property
    def solver(self) -> str:
        """The solver's name in the configuration."""
        return solver_name(self.sampler)

    def told(self, kind: str) -> str:
        """Return it in words; kind: of the bundle's preconditioning."""
        many = calls(self.sampler, kind)
        cost = f"{many} network call{'s' if many > 1 else ''} a tile and draw"
        if kind == "direct":
            return f"none, a plain regression, {cost}"
        parts = [self.solver, f"{self.sampler.steps} levels", cost]
        parts += [f"profile {self.profile}"] if self.profile else []
        parts += [f"network {self.network}"] if self.network != "denoiser" else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class SamplerWish:
    """How draws are made; what is None is the bundle's.

    With nothing named that is the default profile of the bundle's table, else Heun with the eight
    that the bundle recommends. Naming a solver or any of the eight leaves the table aside.
    """

    #: a row of the bundle's table: the cheapest within 2 or 0.5 % of the reference, or itself
    profile: Literal["fast", "standard", "reference"] | None = None
    #: `multistep` is DPM-Solver++(2M), one call a level, on the levels of the eight
    solver: Literal["heun", "multistep"] | None = None
    steps: int | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    rho: float | None = None
    s_churn: float | None = None
    s_min: float | None = None
    s_max: float | None = None
    s_noise: float | None = None

    def __post_init__(self) -> None:
        """Refuse what contradicts itself whatever the bundle."""
        named = [name for name in ("solver", *_EIGHT) if getattr(self, name) is not None]
        if self.profile and named:
            raise ValueError(
                f"profile: found {self.profile} beside {', '.join(named)}, wanted one way or the "
                "other: a profile decides them all"
            )
        for_churn = [name for name in _OF_CHURN if getattr(self, name)]
        if self.solver == "multistep" and for_churn:
            raise ValueError(
                f"solver: found multistep beside {', '.join(for_churn)}, wanted heun: "
                "multistep adds no noise on its way"
            )

    def chosen(self, bundle: Manifest) -> Chosen:
        """Return what draws with this bundle. Raises UsageError where the bundle cannot."""
        table = bundle.calibration
        is_named = self.solver is not None or any(getattr(self, n) is not None for n in _EIGHT)
        profile = self.profile or (table.default if table and not is_named else None)
        if profile is not None:
            return _by_profile(bundle, profile)
        settings = self._eight(bundle.sampler)
        if self.solver != "multistep":
            return Chosen(settings)
        if settings.s_churn > 0.0:
            raise UsageError(
                f"sampler: {bundle.name} recommends s_churn {settings.s_churn:g}, which the solver "
                "multistep has none of; name s_churn: 0 to do without, or solver: heun"
            )
        way = levels(settings, sigma_range(bundle.preconditioning.kind))
        return Chosen(MultistepSettings.two_m(way))

    def _eight(self, recommended: SamplerSettings) -> SamplerSettings:
        """Return the bundle's recommended eight with our overrides."""
        chosen = {name: getattr(self, name) for name in _EIGHT}
        named = {name: value for name, value in chosen.items() if value is not None}
        return dataclasses.replace(recommended, **named)


@dataclass(frozen=True, slots=True)
class SamplerChoice(SamplerWish):
    """The section `sampler`: how all products draw that name no way of their own."""

    #: goes into the key of all noise
    seed: int = 0
    #: `step`: steps are independent; `run`: a draw keeps its noise along a run and evolves smoothly
    noise: Literal["step", "run"] = "step"


def _by_profile(bundle: Manifest, profile: str) -> Chosen:
    table = bundle.calibration
    found = ", ".join(table.profiles) if table else ""
    if table is None or profile not in table.profiles:
        has = f"its table has {found or 'none'}" if table else "it has no table of samplers"
        raise UsageError(
            f"sampler.profile: found {profile}, but no row of {bundle.name} qualified for it "
            f"({has}); run `downscaled bundle calibrate`, or name a solver instead"
        )
    row = table.row(profile)
    return Chosen(row.sampler, row.network, profile)
