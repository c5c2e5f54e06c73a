"""What nuisances need to know of a model's pixels beside their wavelengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class PixelFacts:
    """Facts of a model's pixels.

    Attributes
    ----------
    micron : (P,) vacuum wavelengths in µm; None of channels, which have none
    resolution : R = λ / FWHM in the middle of the range; None where the line spread is not stated
    keeps_continuum : whether the flux has the shape of the continuum, which no recipe has divided out
    """

    micron: Float[np.ndarray, " pixel"] | None
    resolution: float | None
    keeps_continuum: bool
