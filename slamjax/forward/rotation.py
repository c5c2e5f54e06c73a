"""Fourier transform of the rotation profile in ln λ, and its derivatives.

Widths enter as squares: a spectrum changes smoothly with σ² at σ = 0, where its derivative with respect to σ vanishes.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import jv

#: Linear limb-darkening coefficient of the stellar disc.
LIMB_DARKENING = 0.6
#: The transform is tabulated at this many points per unit of z = 2πk v sin i / c, up to this z.
_DENSITY, _LARGEST = 16, 400.0
_ORDERS = 4


@cache
def _rotation_table() -> Float[np.ndarray, "order z"]:
    """Derivatives d^m g / d(z²)^m of the rotation profile's transform g(z), m = 0 … 4, at z = 0, 1/16, ….

    The profile over the disc, x = Δv / v sin i, is 2(1 − ε) √(1 − x²) + ½ π ε (1 − x²) (Gray 2005, eq. 18.14); its
    transform, in Bessel functions, (1 − ε/3) g = 2(1 − ε) J₁(z)/z + 2ε j₁(z)/z. J_ν(z)/z^ν has the slope
    −½ J_ν₊₁(z)/z^ν⁺¹ with respect to z².
    """
    z = np.arange(0, _LARGEST + 1, 1 / _DENSITY)
    z[0] = 1e-3  # the limit at 0, to the ninth digit
    eps = LIMB_DARKENING
    rows = []
    for m in range(_ORDERS + 1):
        disc = jv(1 + m, z) / z ** (1 + m)
        dark = np.sqrt(np.pi / 2) * jv(1.5 + m, z) / z ** (1.5 + m)
        rows.append((-0.5) ** m * 2 * ((1 - eps) * disc + eps * dark) / (1 - eps / 3))
    # powers of a small z lose digits: use the first term of the series there
    for m, row in enumerate(rows):
        row[0] = _at_zero(m)
    return np.stack(rows)


def _at_zero(m: int) -> float:
    from math import gamma

    eps = LIMB_DARKENING
    disc = 1 / (2 ** (1 + m) * gamma(2 + m))
    dark = np.sqrt(np.pi / 2) / (2 ** (1.5 + m) * gamma(2.5 + m))
    return float((-0.5) ** m * 2 * ((1 - eps) * disc + eps * dark) / (1 - eps / 3))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def rotation_transform(q: Any, order: int = 0) -> Array:
    """d^m g / dq^m of the rotation profile's transform g at q = z² ≥ 0 (any shape), 0 beyond z = 400; m ≤ 3.

    Cubic Hermite interpolation of a table, good to 1e-7.
    """
    table = _rotation_table()
    z = jnp.sqrt(jnp.maximum(q, 0))
    place = jnp.minimum(z, _LARGEST) * _DENSITY
    low = jnp.floor(place)
    t = place - low
    at = low.astype(jnp.int32)
    dtype = z.dtype
    value = jnp.asarray(table[order], dtype)
    grid = np.arange(table.shape[1]) / _DENSITY
    slope = jnp.asarray(2 * grid * table[order + 1] / _DENSITY, dtype)
    h00, h10 = (1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2
    h01, h11 = t * t * (3 - 2 * t), t * t * (t - 1)
    interpolated = h00 * value[at] + h10 * slope[at] + h01 * value[at + 1] + h11 * slope[at + 1]
    return jnp.where(z < _LARGEST, interpolated, 0)


@rotation_transform.defjvp
def _rotation_slope(order: int, primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    (q,), (dq,) = primals, tangents
    # derivatives beyond the third are not needed
    slope = rotation_transform(q, order + 1) if order + 2 <= _ORDERS else jnp.zeros_like(q)
    return rotation_transform(q, order), slope * dq
