"""The Cannon's emulator: each pixel's flux is a polynomial in the labels; the interface is that of SLAM's emulator.

f_λ(ℓ) = μ_λ + s_λ [ Σ_m a_mλ φ_m(x) + b_λ ],  x = (t(ℓ) − m) / w

with φ_m all monomials of the scaled labels of degree 1 to n: for n = 2, x_i and x_i x_j
(Ness et al. 2015, ApJ 808, 16, eq. 4-5).
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.emulators.base import PRECISION, Arrays, Standardised
from slamjax.emulators.scaling import LabelScaling
from slamjax.typing import AnyArray, ScaledLabels

#: Exponents of the labels, for each monomial.
Exponents = tuple[tuple[int, ...], ...]


def exponents_of(n_labels: int, degree: int) -> Exponents:
    """Exponents (M, L) of all monomials of degree 1 to ``degree``, by degree, in the order of the labels."""
    return tuple(
        tuple(chosen.count(label) for label in range(n_labels))
        for power in range(1, degree + 1)
        for chosen in itertools.combinations_with_replacement(range(n_labels), power)
    )


def monomials(x: ScaledLabels, exponents: Exponents) -> Float[AnyArray, "*batch term"]:
    """φ (..., M) at scaled labels x (..., L): in NumPy for NumPy labels, else in JAX."""
    return _product(_factors(x, exponents))


def _choices(exponents: Exponents) -> Float[np.ndarray, "factor one_or_label term"]:
    """Each monomial as a product of factors, as many as the largest degree: one-hot choices of 1 or a label."""
    degree = max(sum(one) for one in exponents)
    chosen = np.zeros((degree, 1 + len(exponents[0]), len(exponents)))
    for term, one in enumerate(exponents):
        labels = [1 + label for label, power in enumerate(one) for _ in range(power)]
        for factor, label in enumerate(labels + [0] * (degree - len(labels))):
            chosen[factor, label, term] = 1
    return chosen


def _factors(x: ScaledLabels, exponents: Exponents) -> list[Any]:
    """The factors (..., M); by matrix products, because differentiated gathers are slow."""
    one_and_x: Any
    if isinstance(x, np.ndarray):
        one_and_x = np.concatenate([np.ones_like(x[..., :1]), x], axis=-1)
        return [one_and_x @ chosen for chosen in _choices(exponents)]
    one_and_x = jnp.concatenate([jnp.ones_like(x[..., :1]), x], axis=-1)
    return [jnp.matmul(one_and_x, chosen.astype(x.dtype), precision=PRECISION) for chosen in _choices(exponents)]


def _product(factors: list[Any]) -> Any:
    return reduce(operator.mul, factors)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class PolynomialEmulator(Standardised):
    """One polynomial per pixel: an immutable pytree; ``emulator(labels)`` is the predicted flux.

    Interchangeable with a `KernelEmulator`. An untrained pixel has a NaN intercept and predicts NaN. Where a label is
    masked, all monomials with this label have coefficient 0.

    Attributes
    ----------
    scaling : how labels become x
    basis : (M, P) a, scaled flux per monomial
    intercept : (P,) b, the constant term, in scaled flux
    flux_mean, flux_scale : (P,) μ and s, in flux units
    exponents : M tuples of L exponents

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> model.emulator.exponents
    ((1,), (2,))
    >>> model.emulator([4500.0]).shape
    (31,)
    """

    kind: ClassVar[str] = "polynomial"
    scaling: LabelScaling
    basis: Float[AnyArray, "term pixel"]
    intercept: Float[AnyArray, " pixel"]
    flux_mean: Float[AnyArray, " pixel"]
    flux_scale: Float[AnyArray, " pixel"]
    exponents: Exponents = field(metadata={"static": True})

    @property
    def degree(self) -> int:
        return max(sum(one) for one in self.exponents)

    @property
    def name(self) -> str:
        return {1: "linear", 2: "quadratic", 3: "cubic"}.get(self.degree, f"degree {self.degree}")

    @property
    def description(self) -> str:
        return f"polynomial of the labels of degree {self.degree} ({self.name})"

    @property
    def n_terms(self) -> int:
        """Number of monomials without the constant."""
        return len(self.exponents)

    @property
    def n_groups(self) -> int:
        return 1

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Arrays and header for a model file."""
        return self.common_arrays() | {"basis": self.basis}, {"exponents": self.exponents}

    @classmethod
    def from_arrays(cls, arrays: Arrays, header: Mapping[str, Any], scaling: LabelScaling) -> PolynomialEmulator:
        """The emulator of a model file."""
        exponents = tuple(tuple(int(power) for power in term) for term in header["exponents"])
        return cls(scaling, arrays["basis"], **cls.common_fields(arrays), exponents=exponents)

    def components(self, x: ScaledLabels) -> Float[Array, "*batch term"]:
        """The monomials (..., M) at scaled labels x (..., L), the coefficients of ``basis``."""
        return jnp.asarray(monomials(jnp.asarray(x), self.exponents))

    def sums(self, x: ScaledLabels) -> Float[Array, "*batch pixel"]:
        """Σ_m a_m φ_m(x)."""
        return jnp.matmul(self.components(x), self.basis, precision=PRECISION)

    def rows(self, x: ScaledLabels) -> Float[Array, "*batch row pixel"]:
        """The sums and, below them, their derivatives with respect to x: rows of the same matrix product."""
        factors = _factors(x, self.exponents)
        slopes = jnp.zeros((), x.dtype)
        for number, chosen in enumerate(_choices(self.exponents)):
            others = factors[:number] + factors[number + 1 :]
            rest = _product(others) if others else jnp.ones_like(factors[0])
            slopes = slopes + rest[..., None, :] * chosen[1:].astype(x.dtype)
        terms = jnp.concatenate([_product(factors)[..., None, :], slopes], axis=-2)
        return jnp.matmul(terms, self.basis, precision=PRECISION)
