"""Interpretation of χ²: what is reported, what is too high, and what it says about a star's noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slamjax.noise.intervals import GAUSSIAN, LocalIntervals
from slamjax.noise.label_means import LabelMeans
from slamjax.noise.likeness import Likeness

#: Half-widths of a Gaussian's central 68 and 95 % intervals, in standard deviations.
GAUSSIAN_68, GAUSSIAN_95 = GAUSSIAN
#: χ² per pixel that photon noise as stated may reach before a star is flagged.
PHOTON_LIMIT = 3.0


@dataclass(frozen=True)
class PhotonShares:
    """Which part of N stars' errors and χ² photon noise makes up, by the noise model.

    Attributes
    ----------
    variance : (N, V) fraction of the variance of each parameter, 0 to 1
    model, photon : (N,) Σ_λ s²/D and Σ_λ a σ²/D, with D the diagonal part of Σ
        The expected rᵀΣ⁻¹r follows from these two.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.noise import PhotonShares
    >>> PhotonShares.none(np.array([50]), 2).model
    array([50.])
    """

    variance: np.ndarray
    model: np.ndarray
    photon: np.ndarray

    @classmethod
    def none(cls, n_pix: np.ndarray, n_parameters: int) -> PhotonShares:
        """Where photon noise is read like all else."""
        n = len(n_pix)
        return cls(np.zeros((n, n_parameters)), np.asarray(n_pix, float), np.zeros(n))

    @classmethod
    def joined(cls, parts: Sequence[PhotonShares]) -> PhotonShares:
        """Stars of several parts, one part after the other."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("variance", "model", "photon"))
        )

    def __getitem__(self, rows: np.ndarray) -> PhotonShares:
        return PhotonShares(self.variance[rows], self.model[rows], self.photon[rows])


@dataclass(frozen=True)
class StarNoise:
    """How noisy N stars are.

    Attributes
    ----------
    chi2 : (N,) reported χ²
    limit : (N,) reported χ² per degree of freedom above which a star is unlike the held-out stars
    excess : (N,) what photon noise leaves of χ², in units of what is expected
    scale : (N,) factor of the model's part of Σ
    variance_factor : (N, V) factors of the parameters' variances

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.noise import StarNoise
    >>> one = np.ones(1)
    >>> StarNoise(one, one, one, one, np.array([[1.0, 4.0]])).noise_scale(2)
    array([2.])
    """

    chi2: np.ndarray
    limit: np.ndarray
    excess: np.ndarray
    scale: np.ndarray
    variance_factor: np.ndarray

    def noise_scale(self, n_labels: int) -> np.ndarray:
        """(N,) one factor of Σ: the geometric mean of the labels' ``variance_factor``."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.exp(np.mean(np.log(self.variance_factor[:, :n_labels]), axis=1))


@dataclass(frozen=True)
class Calibration:
    """χ² and label errors, calibrated on held-out stars.

    Attributes
    ----------
    chi2_limit : reported χ² per degree of freedom above which a star is unlike the held-out stars
    chi2_scale : reported χ² over rᵀΣ⁻¹r
        Pixels that carry little information on labels are more strongly correlated than Σ says. The median reported
        χ² of held-out stars is their number of pixels.
    photons_as_stated : photon noise is what the stated errors say
        Limit, scale and factors here then belong to the model's part of χ² and of label variances alone, so that they
        hold for fainter and for brighter stars than those of training. Otherwise the training stars showed that photon
        noise differs from what is stated, and both parts are read alike.
    photon_chi2 : expected χ² of the photons' part over what Σ says of it; 1 where it is as stated; 0: as the model's
    tail : degrees of freedom of a star's noise scale; infinite: the same scale for all stars
    unseen_scale : the scale of a star whose photon noise hides its χ²
        Scales are skew: where they cannot be told apart, errors are those of a larger one than the typical star's.
    sparse, neighbour_distance : label errors grow as (d / neighbour_distance)^sparse where training stars are sparse
        d is the distance to the tenth nearest training star, see
        `slamjax.emulators.training_labels.TrainingLabels.neighbour_distance`.
    label_scale : (L,) factors of the errors in a fit's table; empty: 1
        Ratio of the scatter about the known labels to the width of the likelihood.
    interval95_factor : (L,) half-widths of the central 95 % interval, in errors of a fit's table; empty: Gaussian
        Of models that were trained before there were local ``intervals``.
    without_label_errors : the training labels state errors (``<label>_err``), which label errors do not contain
    tried : noise models that were compared: rank, floor and score
    likeness : how unlike the training set held-out stars are; None where that was not learnt
    intervals : half-widths of central 68 and 95 % intervals by place; None where they were not learnt
    means : means of the labels of stars with such a spectrum; None where they were not learnt

    Examples
    --------
    Stars whose χ² is due to the model, and due to photon noise:

    >>> import numpy as np
    >>> from slamjax.noise import Calibration, PhotonShares
    >>> pixels, chi2 = np.array([50, 50]), np.array([200.0, 200.0])
    >>> shares = PhotonShares(np.array([[0.0], [1.0]]), model=np.array([50.0, 0.0]), photon=np.array([0.0, 50.0]))
    >>> noise = Calibration(chi2_limit=9.0, tail=10.0, photons_as_stated=True).star_noise(
    ...     chi2, pixels, pixels, np.ones(2), shares
    ... )
    >>> noise.limit, noise.scale, noise.variance_factor[:, 0]
    (array([9., 3.]), array([3.5, 1. ]), array([3.5, 1. ]))
    """

    chi2_limit: float
    chi2_scale: float = 1.0
    tail: float = float("inf")
    unseen_scale: float = 1.0
    sparse: float = 0.0
    neighbour_distance: float = 1.0
    label_scale: list[float] = field(default_factory=list)
    interval95_factor: list[float] = field(default_factory=list)
    photons_as_stated: bool = False
    photon_chi2: float = 0.0
    without_label_errors: bool = False
    tried: list[dict[str, Any]] = field(default_factory=list)
    likeness: Likeness | None = None
    intervals: LocalIntervals | None = None
    means: LabelMeans | None = None

    def label_scale_of(self, n_labels: int) -> np.ndarray:
        """``label_scale`` as an array (L,)."""
        return np.asarray(self.label_scale) if self.label_scale else np.ones(n_labels)

    def half_widths(self, x: np.ndarray, error: np.ndarray) -> np.ndarray:
        """(N, 2, L) half-widths, in errors, of central 68 and 95 % intervals of scaled labels x with these errors."""
        if self.intervals is not None:
            return self.intervals.half_widths(x, error)
        n_labels = x.shape[1]
        wide = self.interval95_factor or np.full(n_labels, GAUSSIAN_95)
        return np.broadcast_to(np.stack([np.full(n_labels, GAUSSIAN_68), np.asarray(wide)]), (len(x), 2, n_labels))

    def star_noise(
        self, chi2: np.ndarray, n_pix: np.ndarray, dof: np.ndarray, distance: np.ndarray, shares: PhotonShares
    ) -> StarNoise:
        """How noisy stars are, from rᵀΣ⁻¹r (N,), good pixels, degrees of freedom, and the distance to training stars.

        The expected χ² is the sum of the model's part, over ``chi2_scale``, and of the photons'. A star's own scale is
        ``noise_scale`` of what the photons leave of its χ², which says the less the more of it is theirs.
        """
        model = shares.model / self.chi2_scale
        photons = shares.photon * (self.photon_chi2 or 1 / self.chi2_scale)
        expected = np.where(model + photons > 0, model + photons, 1)
        apart = self.photons_as_stated & (model + photons > 0)
        weight = np.where(apart, model / expected, 1.0)
        with np.errstate(invalid="ignore"):
            reported = chi2 * (n_pix / expected)
            excess = np.maximum(reported / dof - (1 - weight), 0) / np.maximum(weight, 1e-30)
            scale = noise_scale(excess * weight**2 * dof, weight**2 * dof, self.tail, self.unseen_scale)
            scale = scale * sparseness(distance, self.neighbour_distance, self.sparse)
        limit = self.chi2_limit * weight + PHOTON_LIMIT * (1 - weight)
        photon = shares.variance if self.photons_as_stated else np.zeros_like(shares.variance)
        return StarNoise(reported, limit, excess, scale, photon + (1 - photon) * scale[:, None])

    def stretched(self, variance_factor: np.ndarray, photon: np.ndarray, n_labels: int) -> np.ndarray:
        """(N, V) variance factors with `label_scale` applied to the model's part of the labels' variances."""
        scale = np.ones(variance_factor.shape[1])
        scale[:n_labels] = np.square(self.label_scale_of(n_labels))
        return photon + scale * (variance_factor - photon)


def noise_scale(chi2: np.ndarray, dof: np.ndarray, tail: float, unseen: float = 1.0) -> np.ndarray:
    """Factor of a star's covariance, (ν u + χ²) / (ν + dof), from its reported χ², and u where that tells nothing.

    Some stars are noisier than their stated errors, in all pixels alike: residuals are multivariate Student-t. That
    likelihood has its maximum at the same labels as the Gaussian one, and its curvature is smaller by this factor
    (Lange, Little & Taylor 1989, JASA 84, 881).
    """
    if not np.isfinite(tail):
        return np.ones(np.shape(chi2))
    return (tail * unseen + np.asarray(chi2)) / (tail + np.asarray(dof))


def sparseness(distance: np.ndarray, spacing: float, exponent: float) -> np.ndarray:
    """(d / spacing)^(2 exponent): an emulator is less accurate where training stars are sparse."""
    return np.power(np.clip(np.asarray(distance, float) / spacing, 0.2, 5.0), 2 * exponent)
