"""Options of the samplers as a frozen, checked object: every default stands here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

from slamjax.errors import SlamError

Method = Literal["auto", "importance", "nuts", "hmc"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class SamplerSpec:
    """How posteriors are sampled: the method, and how many draws.

    Parameters
    ----------
    method : "auto", "importance", "nuts" or "hmc"
        - "importance": independent draws from a Student-t about the mode, weighted and resampled. Stars whose weights
          are unreliable (Pareto shape above 0.7) are sampled by NUTS.
        - "auto": the same, with NUTS also where the effective sample size is below 400.
        - "nuts": NumPyro's No-U-Turn sampler.
        - "hmc": Hamiltonian Monte Carlo with a fixed number of leapfrog steps, so that no star waits for another.
    draws : int
        Draws per chain and star, at least 4.
    warmup : int
        Warm-up steps before each chain's draws (NUTS and HMC), at least 20.
    chains : int
        Chains per star.

    Raises
    ------
    SlamError
        For an unknown method, or too few draws, warm-up steps or chains.

    Examples
    --------
    >>> from slamjax import SamplerSpec
    >>> SamplerSpec(method="nuts", draws=1000)
    SamplerSpec(method='nuts', draws=1000, warmup=200, chains=2)
    """

    method: Method = "auto"
    draws: int = 500
    warmup: int = 200
    chains: int = 2

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SlamError(f"unknown sampler {self.method!r}; choose one of {', '.join(METHODS)}")
        for name, least in (("draws", 4), ("warmup", 20), ("chains", 1)):
            if getattr(self, name) < least:
                raise SlamError(f"{name} is {getattr(self, name)}; give at least {least}")

    @classmethod
    def from_option(cls, given: Self | Method) -> Self:
        """The spec itself, or the default one of a method."""
        return given if isinstance(given, cls) else cls(method=given)  # type: ignore[arg-type]
