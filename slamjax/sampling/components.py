"""Components of a spectrum: f(x) = f₀ + zᵀ(x) G, with z a polynomial's monomials or kernel sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.polynomial import Exponents, PolynomialEmulator, monomials
from slamjax.emulators.svr import KernelBlock
from slamjax.typing import AnyArray, ScaledLabels, Support


class Components(Protocol):
    """Components z(x) (..., r) of a spectrum, up to a constant, and the flux (r, P) of each.

    ``n_support`` is the number of terms that are summed for each component, which memory scales with.
    """

    @property
    def basis(self) -> Float[AnyArray, "component pixel"]: ...
    @property
    def rank(self) -> int: ...
    @property
    def n_support(self) -> int: ...
    def __call__(self, x: ScaledLabels) -> Float[Array, "*batch component"]: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Monomials:
    """Components of a polynomial: its monomials, which are exact."""

    basis: Float[AnyArray, "component pixel"]
    exponents: Exponents = field(metadata={"static": True})

    @classmethod
    def from_emulator(cls, emulator: PolynomialEmulator) -> Monomials:
        """In units of flux, with 0 for pixels that were not trained."""
        trained = np.isfinite(np.asarray(emulator.intercept))
        flux = np.asarray(emulator.flux_scale) * np.asarray(emulator.basis)
        return cls(np.where(trained, flux, 0), emulator.exponents)

    @property
    def rank(self) -> int:
        return len(self.exponents)

    @property
    def n_support(self) -> int:
        return len(self.exponents)

    def __call__(self, x: ScaledLabels) -> Float[Array, "*batch component"]:
        return jnp.asarray(monomials(jnp.asarray(x), self.exponents))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class KernelSums:
    """Components of an emulator of kernels: z = Σ_γ k_γ(x, X) Q_γ.

    Attributes
    ----------
    support : (S, L) support vectors, all of the emulator's or fewer
    blocks : kernel sums of the components, separately for each γ
    basis : (r, P) G, flux of each component
    whitened : (r, P) the same in units of the noise for which it was chosen: orthonormal
    n_support : S
    """

    support: Support
    blocks: tuple[KernelBlock, ...]
    basis: Float[AnyArray, "component pixel"]
    whitened: Float[AnyArray, "component pixel"]
    n_support: int = field(metadata={"static": True})

    @property
    def rank(self) -> int:
        return self.basis.shape[0]

    def __call__(self, x: ScaledLabels) -> Float[Array, "*batch component"]:
        """z at scaled labels x (..., L), up to a constant."""
        parts = []
        for block in self.blocks:
            sums = block(x, self.support)
            parts.append(jnp.sum(sums.reshape(*sums.shape[:-1], -1, self.rank), axis=-2))
        return sum(parts[1:], start=parts[0])
