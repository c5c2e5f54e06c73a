"""Components of a flux, and those of a polynomial, which are its monomials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.polynomial import Exponents, PolynomialEmulator, monomials
from slamjax.typing import AnyArray, ScaledLabels


class Components(Protocol):
    """Components z(x) (..., r) of a flux, up to a constant, and the flux (r, P) for each."""

    @property
    def basis(self) -> Float[AnyArray, "component pixel"]: ...
    @property
    def rank(self) -> int: ...
    @property
    def n_support(self) -> int: ...
    def __call__(self, x: ScaledLabels) -> Float[Array, "*batch component"]: ...


@partial(jax.tree_util.register_dataclass, data_fields=["basis"], meta_fields=["exponents"])
@dataclass(frozen=True, eq=False)
class Monomials:
    """Components of a polynomial: its monomials, with nothing cut off."""

    basis: Float[AnyArray, "component pixel"]
    exponents: Exponents

    @classmethod
    def of(cls, emulator: PolynomialEmulator) -> Monomials:
        """In units of flux, with 0 for pixels that were not trained."""
        trained = np.isfinite(np.asarray(emulator.intercept))
        flux = np.asarray(emulator.flux_scale) * np.asarray(emulator.basis)
        return cls(np.where(trained, flux, 0), emulator.exponents)

    @property
    def rank(self) -> int:
        return len(self.exponents)

    @property
    def n_support(self) -> int:
        """As many numbers as a star's monomials are."""
        return len(self.exponents)

    def __call__(self, x: ScaledLabels) -> Float[Array, "*batch component"]:
        return jnp.asarray(monomials(jnp.asarray(x), self.exponents))
