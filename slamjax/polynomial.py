"""The Cannon's emulator: every pixel's flux a polynomial in the labels, behind the same call as SLAM's.

f_λ(ℓ) = μ_λ + s_λ [ Σ_m a_mλ φ_m(x) + b_λ ],  x = (t(ℓ) − m) / w

with φ_m all monomials of the scaled labels from degree 1 up to the given one: for degree 2, x_i and x_i x_j
(Ness et al. 2015, ApJ 808, 16, eq. 4-5).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.scaling import LabelScaling
from slamjax.standardised import PRECISION, Standardised
from slamjax.typing import AnyArray, ScaledLabels

#: Exponents of each label, a monomial.
Exponents = tuple[tuple[int, ...], ...]


def exponents_of(n_labels: int, degree: int) -> Exponents:
    """Exponents (M, L) of all monomials of degree 1 to ``degree``, by degree, in the order of the labels."""
    return tuple(
        tuple(chosen.count(label) for label in range(n_labels))
        for power in range(1, degree + 1)
        for chosen in itertools.combinations_with_replacement(range(n_labels), power)
    )


def monomials(x: ScaledLabels, exponents: Exponents) -> Float[AnyArray, "*batch term"]:
    """φ (..., M) at scaled labels x (..., L): NumPy's for NumPy labels, else JAX's."""
    xp = np if isinstance(x, np.ndarray) else jnp
    made = _products(x, exponents)
    return xp.stack([made[one] for one in exponents], axis=-1)


def _products(x: ScaledLabels, exponents: Exponents) -> dict[tuple[int, ...], AnyArray]:
    """Every monomial, and those that divide it, as its divisor of one degree less times a label."""
    made: dict[tuple[int, ...], AnyArray] = {(0,) * x.shape[-1]: x[..., 0] * 0 + 1}

    def value(exponent: tuple[int, ...]) -> AnyArray:
        if exponent not in made:
            label = max(k for k, power in enumerate(exponent) if power)
            made[exponent] = value(_lower(exponent, label)) * x[..., label]
        return made[exponent]

    for one in exponents:
        value(one)
    return made


def _lower(exponent: tuple[int, ...], label: int) -> tuple[int, ...]:
    return tuple(power - (k == label) for k, power in enumerate(exponent))


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["scaling", "basis", "intercept", "flux_mean", "flux_scale"],
    meta_fields=["exponents"],
)
@dataclass(frozen=True, eq=False)
class PolynomialEmulator(Standardised):
    """A polynomial a pixel: an immutable pytree; ``emulator(labels)`` is the predicted flux.

    What works with a `KernelEmulator` works with this: the calls are the same. A pixel that was not trained has a NaN
    intercept and predicts NaN. A label that may not inform a pixel has no monomial with a coefficient there, so that
    the flux does not change with it at all.

    Attributes
    ----------
    scaling : how labels become x
    basis : (M, P) a, scaled flux for each monomial
    intercept : (P,) b, the constant term, in scaled flux
    flux_mean, flux_scale : (P,) μ and s, in flux units
    exponents : M tuples of L exponents
    """

    scaling: LabelScaling
    basis: Float[AnyArray, "term pixel"]
    intercept: Float[AnyArray, " pixel"]
    flux_mean: Float[AnyArray, " pixel"]
    flux_scale: Float[AnyArray, " pixel"]
    exponents: Exponents

    @property
    def degree(self) -> int:
        return max(sum(one) for one in self.exponents)

    @property
    def n_terms(self) -> int:
        """Monomials, the constant aside."""
        return len(self.exponents)

    @property
    def n_groups(self) -> int:
        return 1

    def components(self, x: ScaledLabels) -> Float[Array, "*batch term"]:
        """The monomials (..., M) at scaled labels x (..., L): what ``basis`` makes flux of, exactly."""
        return jnp.asarray(monomials(x, self.exponents))

    def sums(self, x: ScaledLabels) -> Float[Array, "*batch pixel"]:
        """Σ_m a_m φ_m(x)."""
        return jnp.matmul(self.components(x), self.basis, precision=PRECISION)

    def rows(self, x: ScaledLabels) -> Float[Array, "*batch row pixel"]:
        """The sums and, below them, their derivatives by x: rows of the same matrix product."""
        made = _products(x, self.exponents)
        zero = jnp.zeros_like(x[..., 0])
        rows = [[made[one] for one in self.exponents]] + [
            [one[label] * made[_lower(one, label)] if one[label] else zero for one in self.exponents]
            for label in range(self.n_labels)
        ]
        terms = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
        return jnp.matmul(terms, self.basis, precision=PRECISION)
