"""Inducing stars: the few training stars that span what a kernel can express of all of them.

    k(x, x') ≈ φ(x)ᵀφ(x'),  φ(x) = K_ZZ^(−1/2) k(Z, x)

(Nyström; Williams & Seeger 2001). The stars Z are drawn one after the other, each with a probability in proportion to
what those before leave of its k(x, x): randomly pivoted Cholesky (Chen, Epperly, Tropp & Webber 2025, CPAM 78, 995).
They cover dense and sparse regions of the labels, and their number follows from the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from slamjax.training.svr.kernel_matrix import kernel_between, kernel_diagonal
from slamjax.training.svr.pixel import SvrSettings

#: Stars among which inducing stars are drawn, at most: the choice costs m² of them.
_POOL = 20_000
#: The choice ends when this part of the stars' k(x, x) is left in the mean.
_LEFT = 1e-7
#: Directions of K_ZZ are dropped below this part of its largest eigenvalue: their coefficients would be large numbers
#: whose sum is small, and an emulator in float32 would lose it.
_CUT = 1e-7


def inducing_stars(
    x: Float[np.ndarray, "star label"], most: int, gamma: float, settings: SvrSettings
) -> Int[np.ndarray, " inducing"]:
    """Rows of up to ``most`` of the stars, in ascending order; fewer if these span all others."""
    rng = np.random.default_rng(settings.seed)
    pool = np.sort(rng.permutation(len(x))[:_POOL])
    xs = x[pool]
    left = kernel_diagonal(xs, gamma, settings)
    whole = left.sum()
    most = min(most, len(xs))
    factor = np.zeros((most, len(xs)))
    chosen: list[int] = []
    for k in range(most):
        if not left.sum() > _LEFT * whole:
            break
        pivot = int(rng.choice(len(xs), p=left / left.sum()))
        row = kernel_between(xs[pivot : pivot + 1], xs, gamma, settings)[0] - factor[:k, pivot] @ factor[:k]
        if not row[pivot] > 0:  # nothing is left of it but rounding errors
            left[pivot] = 0
            continue
        factor[k] = row / np.sqrt(row[pivot])
        left = np.maximum(left - np.square(factor[k]), 0)
        left[pivot] = 0
        chosen.append(pivot)
    return np.sort(pool[chosen or [0]])


@dataclass(frozen=True)
class FeatureMap:
    """φ(x) = T k(Z, x) − c with T Tᵀ ≈ K_ZZ⁻¹: of R features, where K_ZZ has R directions that are not negligible.

    Attributes
    ----------
    support : Z
    whitening : Tᵀ
    centre : c, features of a typical star, so that rounding errors are those of differences
    """

    support: Float[np.ndarray, "inducing label"]
    whitening: Float[np.ndarray, "inducing feature"]
    centre: Float[np.ndarray, " feature"]
    gamma: float
    settings: SvrSettings

    @classmethod
    def of(cls, support: Float[np.ndarray, "inducing label"], gamma: float, settings: SvrSettings) -> FeatureMap:
        kernel = kernel_between(support, support, gamma, settings)
        variance, direction = np.linalg.eigh(kernel)
        kept = variance > max(_CUT * variance[-1], np.finfo(float).tiny)
        whitening = direction[:, kept] / np.sqrt(variance[kept])
        return cls(support, whitening, (kernel @ whitening).mean(axis=0), gamma, settings)

    def __call__(self, x: Float[np.ndarray, "star label"]) -> Float[np.ndarray, "star feature"]:
        return kernel_between(x, self.support, self.gamma, self.settings) @ self.whitening - self.centre

    def expansion(
        self, coefficients: Float[np.ndarray, "feature pixel"], intercept: Float[np.ndarray, " pixel"]
    ) -> tuple[Float[np.ndarray, "inducing pixel"], Float[np.ndarray, " pixel"]]:
        """a and b of Σ_j a_j k(x, z_j) + b, which is φ(x)ᵀw plus the intercept."""
        return self.whitening @ coefficients, intercept - self.centre @ coefficients
