"""Interstellar extinction: flux × 10^(−0.4 A(λ)) with A(λ) / A_V = a(x) + b(x) / R_V, x = 1 / λ in µm⁻¹.

The curve of Cardelli, Clayton & Mathis (1989, ApJ 345, 245: their eq. 2 in the infrared, 0.3 to 1.1 µm⁻¹) with the
optical coefficients of O'Donnell (1994, ApJ 422, 158: 1.1 to 3.3 µm⁻¹). Wavelengths are vacuum ones.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from slamjax.errors import SlamError
from slamjax.forward.nuisances import Nuisances
from slamjax.forward.pixel_facts import PixelFacts
from slamjax.typing import AnyArray

#: µm in which the curve is defined.
SHORTEST, LONGEST = 1 / 3.3, 1 / 0.3
#: x where the infrared joins the optical, and coefficients of powers of x − 1.82 in the optical (O'Donnell 1994).
_JOIN, _CENTRE = 1.1, 1.82
_A = (1.0, 0.104, -0.609, 0.701, 1.137, -1.718, -0.827, 1.647, -0.505)
_B = (0.0, 1.952, 2.908, -3.989, -7.985, 11.102, 5.491, -10.805, 3.347)
#: Coefficients of x^1.61 in the infrared (Cardelli et al. 1989).
_INFRARED = (0.574, -0.527)
_POWER = 1.61
#: ln of the flux per magnitude.
_MAG = -0.4 * float(np.log(10))


def extinction_curve(micron: Float[np.ndarray, " pixel"]) -> Float[np.ndarray, "2 pixel"]:
    """a and b at vacuum wavelengths in µm.

    Raises
    ------
    SlamError
        Outside of 0.303 to 3.33 µm.

    Examples
    --------
    >>> a, b = extinction_curve(np.array([1 / 1.82, 2.2]))
    >>> (a + b / 3.1).round(3)
    array([1.   , 0.114])
    """
    micron = np.asarray(micron, float)
    if not np.all((micron >= SHORTEST) & (micron <= LONGEST)):
        raise SlamError(
            f"the extinction curve is known from {SHORTEST:.3f} to {LONGEST:.2f} µm, and the model reaches from "
            f"{micron.min():.3f} to {micron.max():.2f} µm; train a model within that range, or leave extinction out"
        )
    x = 1 / micron
    y = x - _CENTRE
    optical = np.stack([np.polynomial.polynomial.polyval(y, terms) for terms in (_A, _B)])
    infrared = np.array(_INFRARED)[:, None] * x**_POWER
    return np.where(x < _JOIN, infrared, optical)


def curve_of(nuisances: Nuisances, facts: PixelFacts | None) -> Float[np.ndarray, "2 pixel"] | None:
    """The curve at a model's pixels, if extinction is a nuisance.

    Raises
    ------
    SlamError
        If the model's flux is not that of the continuum, or it has no wavelengths, or ones outside of the curve.
    """
    if nuisances.extinction is None:
        return None
    if facts is None or not facts.keeps_continuum:
        raise SlamError(
            "extinction changes the shape of the continuum, which the model's recipe divides out; train a model "
            "without a continuum in its recipe, or leave extinction out"
        )
    if facts.micron is None:
        raise SlamError(
            "extinction depends on wavelength, and the model is one of channels, which have none; leave extinction "
            "out, or have it as a label of the model"
        )
    return extinction_curve(facts.micron)


def dimming(curve: Float[AnyArray, "2 pixel"], values: dict[str, Any]) -> Array:
    """10^(−0.4 A(λ)) (..., P); ``values`` has extinction and r_v (..., 1)."""
    return jnp.exp(_MAG * values["extinction"] * (curve[0] + curve[1] / values["r_v"]))


def dimming_slopes(curve: Float[AnyArray, "2 pixel"], values: dict[str, Any], free: tuple[str, ...]) -> list[Array]:
    """Derivatives (..., P) of ln `dimming` with respect to those of extinction and r_v that are ``free``, in order."""
    slopes = {
        "extinction": _MAG * (curve[0] + curve[1] / values["r_v"]),
        "r_v": -_MAG * values["extinction"] * curve[1] / jnp.square(values["r_v"]),
    }
    return [slope for name, slope in slopes.items() if name in free]
