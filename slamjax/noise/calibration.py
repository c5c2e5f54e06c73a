"""How χ² is to be read: what is reported, what is too high, and what it says of a star's own noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

#: Half-width of a Gaussian's central 95 % interval, in standard deviations.
GAUSSIAN_REACH = 1.959963984540054


@dataclass(frozen=True)
class Calibration:
    """What held-out stars taught about χ².

    Attributes
    ----------
    chi2_limit : reported chi2 a degree of freedom above which a star is unlike those that training had not seen
    chi2_scale : reported chi2 over rᵀΣ⁻¹r
        Pixels that say little of labels go along with each other more closely than Σ says; reported is a chi2 of
        which half of the held-out stars have less than their number of pixels.
    model_factor : what Σ was multiplied with, where training states no errors
        A star that states its own is read through `PhotonNoiseCorrection`. 1: photon noise was learnt with the rest.
    tail : degrees of freedom of a star's own noise scale; infinite: all stars have the same
    sparse, neighbour_distance : label errors grow as (d / neighbour_distance)^sparse where training stars are few
        d is the distance to the tenth nearest training star, see
        `slamjax.emulators.training_labels.TrainingLabels.neighbour_distance`.
    label_scale : (L,) factors of the errors in a fit's table; none: 1
        What remains between the width of a likelihood and how far known labels lie, a label.
    interval95_factor : (L,) half-widths of the central 95 % interval, in errors of a fit's table; none: a Gaussian's
    tried : noise models that were compared: rank, floor and score
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
        return np.asarray(self.interval95_factor) if self.interval95_factor else np.full(n_labels, GAUSSIAN_REACH)

    def star_scale(
        self, chi2: np.ndarray, dof: np.ndarray, distance: np.ndarray, least: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Factor of a star's covariance: its own noise (`noise_scale`, ``least`` or more) times how sparse the training
        stars are."""
        own = np.maximum(noise_scale(chi2, dof, self.tail), least)
        return own * sparseness(distance, self.neighbour_distance, self.sparse)


@dataclass(frozen=True)
class PhotonNoiseCorrection:
    """N stars that state errors, under a noise model whose training stars stated none.

    Held-out stars asked for a Σ that is f = ``model_factor`` times their residuals' covariance: the known labels have
    errors of their own, and the emulator's go together in ways that Σ does not hold. Neither grows with a star's photon
    noise. With s the share of the label variance that is there without any photon noise, the variance is that of the
    covariance as learnt plus f − 1 times this share: 1 + (f − 1) s instead of f.

    Attributes
    ----------
    label_share : (N,) s
    model, photon : (N,) Σ_λ s²_λ / D_λ and Σ_λ σ²_λ / D_λ, with D the diagonal part of Σ
        What a χ² of rᵀΣ⁻¹r is expected to be is made of these two.
    """

    label_share: np.ndarray
    model: np.ndarray
    photon: np.ndarray

    #: χ² a pixel that photon noise alone may reach before a star is called unlike all others: an assumption, for
    #: training stars without errors can teach no limit.
    PHOTON_LIMIT: ClassVar[float] = 3.0

    def scale(self, calibration: Calibration) -> np.ndarray:
        """Factor of Σ, between 1/f (photon noise only) and 1 (none)."""
        factor = calibration.model_factor
        return (1 + (factor - 1) * self.label_share) / factor

    def expected(self, calibration: Calibration) -> np.ndarray:
        """rᵀΣ⁻¹r of half of such stars: ``calibration.chi2_scale`` holds for the model's part only."""
        found = self.model / calibration.chi2_scale + self.photon
        return np.where(found > 0, found, 1)

    def photon_share(self, calibration: Calibration) -> np.ndarray:
        """Part of the expected χ² that is photon noise."""
        return self.photon / self.expected(calibration)

    def chi2_scale(self, calibration: Calibration, n_pix: np.ndarray) -> np.ndarray:
        """Reported chi2 over rᵀΣ⁻¹r."""
        return n_pix / self.expected(calibration)

    def chi2_limit(self, calibration: Calibration) -> np.ndarray:
        """``calibration.chi2_limit`` for the model's part, ``PHOTON_LIMIT`` for the photons'."""
        share = self.photon_share(calibration)
        return calibration.chi2_limit * (1 - share) + self.PHOTON_LIMIT * share


def noise_scale(chi2: np.ndarray, dof: np.ndarray, tail: float) -> np.ndarray:
    """Factor of a star's covariance, (ν + χ²) / (ν + dof), from its own reported chi2.

    Some stars are noisier than their stated errors say, in all pixels alike: residuals are multivariate Student-t. Its
    likelihood is largest at the same labels as the Gaussian one, and curved less by this factor (Lange, Little &
    Taylor 1989, JASA 84, 881).
    """
    if not np.isfinite(tail):
        return np.ones(np.shape(chi2))
    return (tail + np.asarray(chi2)) / (tail + np.asarray(dof))


def sparseness(distance: np.ndarray, spacing: float, exponent: float) -> np.ndarray:
    """(d / spacing)^(2 exponent): an emulator errs more where it has fewer stars to learn from."""
    return np.power(np.clip(np.asarray(distance, float) / spacing, 0.2, 5.0), 2 * exponent)
