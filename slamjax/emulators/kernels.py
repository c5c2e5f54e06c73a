"""Kernels k(x, s) between labels and support vectors, as scikit-learn defines them.

rbf      exp(−γ |x − s|²)
linear   x·s
poly     (γ x·s + c₀)^degree
sigmoid  tanh(γ x·s + c₀)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from slamjax.errors import SlamError
from slamjax.typing import Scalar, ScaledLabels, Support

KERNELS = ("rbf", "linear", "poly", "sigmoid")

Similarity = Float[Array, "*batch support"]


def check_kernel(name: str) -> str:
    if name not in KERNELS:
        raise SlamError(f"unknown kernel {name!r}; choose one of {', '.join(KERNELS)}")
    return name


def similarity(kernel: str, x: ScaledLabels, support: Support, labels: Sequence[int] = ()) -> Similarity:
    """The argument of a kernel, |x − s|² for rbf and x·s for the others: the part that all γ share.

    ``labels``: indices of the labels that count; empty: all.

    Squared differences are summed label by label: the expansion |x|² + |s|² − 2 x·s loses half of float32's digits
    where x is near s and the kernel is large.
    """
    terms = (
        jnp.square(x[..., k, None] - support[:, k]) if kernel == "rbf" else x[..., k, None] * support[:, k]
        for k in labels or range(support.shape[-1])
    )
    return jnp.asarray(reduce(operator.add, terms))


def profile(kernel: str, degree: int) -> Callable[[Similarity, Scalar, Scalar], Similarity]:
    """k as a function of (similarity, gamma, coef0)."""
    match kernel:
        case "rbf":
            return lambda s, gamma, coef0: jnp.exp(-gamma * s)
        case "linear":
            return lambda s, gamma, coef0: s
        case "poly":
            return lambda s, gamma, coef0: jax.lax.integer_pow(gamma * s + coef0, degree)
        case "sigmoid":
            return lambda s, gamma, coef0: jnp.tanh(gamma * s + coef0)
    raise SlamError(f"unknown kernel {kernel!r}; choose one of {', '.join(KERNELS)}")


def similarity_gradient(
    kernel: str, x: ScaledLabels, support: Support, labels: Sequence[int] = ()
) -> Float[Array, "*batch label support"]:
    """Derivative of `similarity` with respect to x; 0 for labels that do not count."""
    n_labels, n_support = support.shape[-1], support.shape[0]
    counted = labels or range(n_labels)
    zero = jnp.zeros((*x.shape[:-1], n_support), x.dtype)
    if kernel == "rbf":
        rows = [2 * (x[..., k, None] - support[:, k]) if k in counted else zero for k in range(n_labels)]
        return jnp.stack(rows, axis=-2)
    return jnp.stack([zero + support[:, k] if k in counted else zero for k in range(n_labels)], axis=-2)


def profile_slope(kernel: str, degree: int) -> Callable[[Similarity, Scalar, Scalar, Similarity], Similarity]:
    """∂k/∂similarity as a function of (similarity, gamma, coef0, k); k is reused where the slope contains it."""
    match kernel:
        case "rbf":
            return lambda s, gamma, coef0, k: -gamma * k
        case "linear":
            return lambda s, gamma, coef0, k: jnp.ones_like(s)
        case "poly":
            return lambda s, gamma, coef0, k: degree * gamma * jax.lax.integer_pow(gamma * s + coef0, degree - 1)
        case "sigmoid":
            return lambda s, gamma, coef0, k: gamma * (1 - jnp.square(k))
    raise SlamError(f"unknown kernel {kernel!r}; choose one of {', '.join(KERNELS)}")
