"""The Cannon's emulator: every pixel's flux a polynomial in the labels, behind the same call as SLAM's.

f_λ(ℓ) = μ_λ + s_λ [ Σ_m a_mλ φ_m(x) + b_λ ],  x = (t(ℓ) − m) / w

with φ_m all monomials of the scaled labels from degree 1 up to the given one: for degree 2, x_i and x_i x_j
(Ness et al. 2015, ApJ 808, 16, eq. 4-5).
"""

from __future__ import annotations

import itertools
import operator
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.base import PRECISION, Standardised
from slamjax.emulators.scaling import LabelScaling
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
    return _product(_factors(x, exponents))


def _choices(exponents: Exponents) -> Float[np.ndarray, "factor one_or_label term"]:
    """Each monomial as a product of as many factors as the largest degree, each 1 or a label: which (0 or 1)."""
    degree = max(sum(one) for one in exponents)
    chosen = np.zeros((degree, 1 + len(exponents[0]), len(exponents)))
    for term, one in enumerate(exponents):
        labels = [1 + label for label, power in enumerate(one) for _ in range(power)]
        for factor, label in enumerate(labels + [0] * (degree - len(labels))):
            chosen[factor, label, term] = 1
    return chosen


def _factors(x: ScaledLabels, exponents: Exponents) -> list[Any]:
    """The factors (..., M); by matrix products, for gathers are slow where they are differentiated."""
    one_and_x: Any
    if isinstance(x, np.ndarray):
        one_and_x = np.concatenate([np.ones_like(x[..., :1]), x], axis=-1)
        return [one_and_x @ chosen for chosen in _choices(exponents)]
    one_and_x = jnp.concatenate([jnp.ones_like(x[..., :1]), x], axis=-1)
    return [jnp.matmul(one_and_x, chosen.astype(x.dtype), precision=PRECISION) for chosen in _choices(exponents)]


def _product(factors: list[Any]) -> Any:
    return reduce(operator.mul, factors)


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
        return jnp.asarray(monomials(jnp.asarray(x), self.exponents))

    def sums(self, x: ScaledLabels) -> Float[Array, "*batch pixel"]:
        """Σ_m a_m φ_m(x)."""
        return jnp.matmul(self.components(x), self.basis, precision=PRECISION)

    def rows(self, x: ScaledLabels) -> Float[Array, "*batch row pixel"]:
        """The sums and, below them, their derivatives by x: rows of the same matrix product."""
        factors = _factors(x, self.exponents)
        slopes = jnp.zeros((), x.dtype)
        for number, chosen in enumerate(_choices(self.exponents)):
            others = factors[:number] + factors[number + 1 :]
            rest = _product(others) if others else jnp.ones_like(factors[0])
            slopes = slopes + rest[..., None, :] * chosen[1:].astype(x.dtype)
        terms = jnp.concatenate([_product(factors)[..., None, :], slopes], axis=-2)
        return jnp.matmul(terms, self.basis, precision=PRECISION)
