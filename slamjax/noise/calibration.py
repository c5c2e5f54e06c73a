"""Interpretation of χ²: what is reported, what is too high, and what it says about a star's noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

#: Half-width of a Gaussian's central 95 % interval, in standard deviations.
GAUSSIAN_95 = 1.959963984540054


@dataclass(frozen=True)
class Calibration:
    """χ² and label errors, calibrated on held-out stars.

    Attributes
    ----------
    chi2_limit : reported χ² per degree of freedom above which a star is unlike the held-out stars
    chi2_scale : reported χ² over rᵀΣ⁻¹r
        Pixels that carry little information on labels are more strongly correlated than Σ says. The median reported
        χ² of held-out stars is their number of pixels.
    model_factor : factor by which Σ was multiplied, if the training spectra state no errors
        Stars with stated errors are corrected by `PhotonNoiseCorrection`. 1: photon noise is part of Σ.
    tail : degrees of freedom of a star's noise scale; infinite: the same scale for all stars
    sparse, neighbour_distance : label errors grow as (d / neighbour_distance)^sparse where training stars are sparse
        d is the distance to the tenth nearest training star, see
        `slamjax.emulators.training_labels.TrainingLabels.neighbour_distance`.
    label_scale : (L,) factors of the errors in a fit's table; empty: 1
        Ratio of the scatter about the known labels to the width of the likelihood.
    interval95_factor : (L,) half-widths of the central 95 % interval, in errors of a fit's table; empty: Gaussian
    tried : noise models that were compared: rank, floor and score

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.noise import Calibration
    >>> chi2, dof, distance = np.array([50.0, 200.0]), np.array([50, 50]), np.ones(2)
    >>> Calibration(chi2_limit=3.0, tail=10.0).star_scale(chi2, dof, distance)
    array([1. , 3.5])
    """

    chi2_limit: float
    chi2_scale: float = 1.0
    tail: float = float("inf")
    sparse: float = 0.0
    neighbour_distance: float = 1.0
    label_scale: list[float] = field(default_factory=list)
    interval95_factor: list[float] = field(default_factory=list)
    model_factor: float = 1.0
    tried: list[dict[str, Any]] = field(default_factory=list)

    def label_scale_of(self, n_labels: int) -> np.ndarray:
        """``label_scale`` as an array (L,)."""
        return np.asarray(self.label_scale) if self.label_scale else np.ones(n_labels)

    def interval95_factor_of(self, n_labels: int) -> np.ndarray:
        """``interval95_factor`` as an array (L,)."""
        return np.asarray(self.interval95_factor) if self.interval95_factor else np.full(n_labels, GAUSSIAN_95)

    def star_scale(
        self, chi2: np.ndarray, dof: np.ndarray, distance: np.ndarray, least: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Factor of a star's covariance: its `noise_scale`, at least ``least``, times `sparseness`."""
        scale = np.maximum(noise_scale(chi2, dof, self.tail), least)
        return scale * sparseness(distance, self.neighbour_distance, self.sparse)


@dataclass(frozen=True)
class PhotonNoiseCorrection:
    """N stars that state errors, under a noise model whose training stars stated none.

    Held-out stars require f = ``model_factor`` times the covariance of their residuals: the known labels have errors,
    and the emulator's errors are correlated in ways that Σ does not describe. Neither grows with a star's photon noise.
    With s the fraction of the label variance that remains without photon noise, the variance is that of the learnt
    covariance plus f − 1 times this fraction: 1 + (f − 1) s instead of f.

    Attributes
    ----------
    label_share : (N,) s
    model, photon : (N,) Σ_λ s²_λ / D_λ and Σ_λ σ²_λ / D_λ, with D the diagonal part of Σ
        The expected rᵀΣ⁻¹r follows from these two.
    """

    label_share: np.ndarray
    model: np.ndarray
    photon: np.ndarray

    #: χ² per pixel that photon noise alone may reach before a star is flagged: an assumption, because training stars
    #: without stated errors cannot calibrate a limit.
    PHOTON_LIMIT: ClassVar[float] = 3.0

    def scale(self, calibration: Calibration) -> np.ndarray:
        """Factor of Σ, between 1/f (photon noise only) and 1 (none)."""
        factor = calibration.model_factor
        return (1 + (factor - 1) * self.label_share) / factor

    def expected(self, calibration: Calibration) -> np.ndarray:
        """Median rᵀΣ⁻¹r of such stars: ``calibration.chi2_scale`` holds for the model's part only."""
        expected = self.model / calibration.chi2_scale + self.photon
        return np.where(expected > 0, expected, 1)

    def photon_share(self, calibration: Calibration) -> np.ndarray:
        """Fraction of the expected χ² that is due to photon noise."""
        return self.photon / self.expected(calibration)

    def chi2_scale(self, calibration: Calibration, n_pix: np.ndarray) -> np.ndarray:
        """Reported chi2 over rᵀΣ⁻¹r."""
        return n_pix / self.expected(calibration)

    def chi2_limit(self, calibration: Calibration) -> np.ndarray:
        """``calibration.chi2_limit`` for the model's part, ``PHOTON_LIMIT`` for the photon noise."""
        share = self.photon_share(calibration)
        return calibration.chi2_limit * (1 - share) + self.PHOTON_LIMIT * share


def noise_scale(chi2: np.ndarray, dof: np.ndarray, tail: float) -> np.ndarray:
    """Factor of a star's covariance, (ν + χ²) / (ν + dof), from its reported χ².

    Some stars are noisier than their stated errors, in all pixels alike: residuals are multivariate Student-t. That
    likelihood has its maximum at the same labels as the Gaussian one, and its curvature is smaller by this factor
    (Lange, Little & Taylor 1989, JASA 84, 881).
    """
    if not np.isfinite(tail):
        return np.ones(np.shape(chi2))
    return (tail + np.asarray(chi2)) / (tail + np.asarray(dof))


def sparseness(distance: np.ndarray, spacing: float, exponent: float) -> np.ndarray:
    """(d / spacing)^(2 exponent): an emulator is less accurate where training stars are sparse."""
    return np.power(np.clip(np.asarray(distance, float) / spacing, 0.2, 5.0), 2 * exponent)
