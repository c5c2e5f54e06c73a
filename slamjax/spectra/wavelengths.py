"""Vacuum and air wavelengths, and the Doppler shift; survey files are read to vacuum wavelengths."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax._util.constants import LIGHT
from slamjax.spectra.length_units import length_unit

#: Below this many Å catalogues and surveys give vacuum wavelengths even if they give air wavelengths above.
_ULTRAVIOLET = 2000.0


def refractive_index(vacuum: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Refractive index of standard air at vacuum wavelengths in Å (Ciddor 1996, Applied Optics 35, 1566, eq. 1)."""
    square = np.square(1e4 / np.asarray(vacuum, float))
    return 1 + 0.05792105 / (238.0185 - square) + 0.00167917 / (57.362 - square)


def to_air(vacuum: Float[np.ndarray, "*shape"], unit: u.UnitBase | str = u.AA) -> Float[np.ndarray, "*shape"]:
    """Vacuum to air wavelengths, above 2000 Å.

    Examples
    --------
    >>> to_air(np.array([5000.0])).round(3)
    array([4998.606])
    """
    scale = length_unit(unit).to(u.AA)
    angstrom = np.asarray(vacuum, float) * scale
    return np.where(angstrom > _ULTRAVIOLET, angstrom / refractive_index(angstrom), angstrom) / scale


def to_vacuum(air: Float[np.ndarray, "*shape"], unit: u.UnitBase | str = u.AA) -> Float[np.ndarray, "*shape"]:
    """Air to vacuum wavelengths: the inverse of `to_air`, by fixed-point iteration.

    Examples
    --------
    >>> to_vacuum(to_air(np.array([500.0]), "nm"), "nm").round(6)
    array([500.])
    """
    scale = length_unit(unit).to(u.AA)
    angstrom = np.asarray(air, float) * scale
    vacuum = angstrom
    for _ in range(4):  # the index varies slowly: each iteration gains five digits
        vacuum = np.where(angstrom > _ULTRAVIOLET, angstrom * refractive_index(vacuum), angstrom)
    return vacuum / scale


def doppler_shift(wave: Float[np.ndarray, ...], velocity: float | Float[np.ndarray, ...]) -> Float[np.ndarray, ...]:
    """Wavelengths of a source receding at ``velocity`` km/s: λ √((1 + β) / (1 − β)), β = v / c.

    Examples
    --------
    >>> doppler_shift(np.array([5000.0]), 30.0).round(4)
    array([5000.5004])
    """
    beta = velocity / LIGHT
    return np.asarray(wave, float) * np.sqrt((1 + beta) / (1 - beta))
