"""Vacuum and air wavelengths; slamjax keeps vacuum where it reads survey files."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax._util.constants import LIGHT

#: Below this many Å catalogues and surveys give vacuum wavelengths even where they give air ones above.
_ULTRAVIOLET = 2000.0


def refraction(vacuum: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Refractive index of standard air at vacuum wavelengths in Å (Ciddor 1996, Applied Optics 35, 1566, eq. 1)."""
    square = np.square(1e4 / np.asarray(vacuum, float))
    return 1 + 0.05792105 / (238.0185 - square) + 0.00167917 / (57.362 - square)


def to_air(vacuum: Float[np.ndarray, "*shape"], unit: u.UnitBase | str = u.AA) -> Float[np.ndarray, "*shape"]:
    """Air wavelengths of vacuum ones."""
    scale = u.Unit(unit).to(u.AA)
    angstrom = np.asarray(vacuum, float) * scale
    return np.where(angstrom > _ULTRAVIOLET, angstrom / refraction(angstrom), angstrom) / scale


def to_vacuum(air: Float[np.ndarray, "*shape"], unit: u.UnitBase | str = u.AA) -> Float[np.ndarray, "*shape"]:
    """Vacuum wavelengths of air ones: the inverse of `to_air`, by iteration."""
    scale = u.Unit(unit).to(u.AA)
    angstrom = np.asarray(air, float) * scale
    vacuum = angstrom
    for _ in range(4):  # the index varies slowly: each step gains five digits
        vacuum = np.where(angstrom > _ULTRAVIOLET, angstrom * refraction(vacuum), angstrom)
    return vacuum / scale


def shifted(wave: Float[np.ndarray, "*shape"], velocity: float) -> Float[np.ndarray, "*shape"]:
    """Wavelengths as seen by who recedes at ``velocity`` km/s: λ √((1 + β) / (1 − β))."""
    beta = velocity / LIGHT
    return np.asarray(wave, float) * np.sqrt((1 + beta) / (1 - beta))
