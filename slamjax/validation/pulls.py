"""Are the errors honest? Pulls, PIT values and distances of posteriors from known labels.

For N posteriors with means m, standard deviations σ and covariances C, and known labels t:

- pull (m − t) / σ: of width 1 if errors are honest;
- PIT P(label < t | spectrum) (probability integral transform; Dawid 1984, J. R. Stat. Soc. A 147, 278): uniform if the
  posterior's shape is right as well. A histogram high at both ends means that errors are too small;
- coverage: the fraction of stars whose t lies in the central p interval, |PIT − ½| < p / 2;
- distance (m − t)ᵀ C⁻¹ (m − t): χ² with L degrees of freedom if correlations are right, too.

**Errors of the known labels are counted once.** A noise model learnt from residuals at the training stars' known labels
already includes the errors of those labels (a wrong label causes a residual J δℓ), and so does every error of a fit. If
the known labels are as good as those of the training stars, nothing is therefore added to the errors of the fit. Only
if they are less precise should ``reference_errors`` be given, whose variances are added: their errors in excess. Where
the training labels stated their errors (``<label>_err``), no error of a fit includes them, and ``reference_errors`` are
all of the errors of the known labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table
from scipy.stats import norm

from slamjax.errors import SlamError
from slamjax.forward.nuisances import UNITS
from slamjax.noise.intervals import GAUSSIAN
from slamjax.validation.bins import numbers

if TYPE_CHECKING:
    from slamjax.sampling import Posterior


@dataclass(frozen=True, eq=False)
class Comparison:
    """Posteriors of N stars compared with their known labels; NaN where unknown.

    Attributes
    ----------
    names : tuple of L str
    difference : (N, L) array
        Posterior mean (or fit) minus known label, in the labels' units.
    pull : (N, L) array
        Difference / error; NaN for a label that the spectrum does not constrain.
    pit : (N, L) array
        P(label < known | spectrum).
    distance : (N,) array
        Squared Mahalanobis distance of all labels together.
    chi2_dof : (N,) array
        χ² / (pixels − L).
    flags : (N,) int array
        `slamjax.Flag`.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from slamjax.validation import compare_fit
    >>> fitted = Table({"logg": [2.6, 2.3], "logg_err": [0.1, 0.2], "logg_ref": [2.5, 2.5], "flags": [0, 0]})
    >>> comparison = compare_fit(fitted, ["logg"])
    >>> len(comparison), comparison.difference.round(1).tolist()
    (2, [[0.1], [-0.2]])
    """

    names: tuple[str, ...]
    difference: np.ndarray
    pull: np.ndarray
    pit: np.ndarray
    distance: np.ndarray
    chi2_dof: np.ndarray
    flags: np.ndarray

    def __len__(self) -> int:
        return len(self.difference)


def compare_fit(labels: Table, names: Sequence[str], *, reference_errors: np.ndarray | None = None) -> Comparison:
    """Compare the fitted labels of a label table with its known ones.

    Posteriors are Gaussians whose halves are stretched to meet the table's 68 and 95 % intervals.

    Parameters
    ----------
    labels : Table
        As `slamjax.fit` returns it: <label>, <label>_err, <label>_ref (known), ``flags``; if present, also
        <label>_err68, <label>_err95, ``cov``, ``chi2`` and ``n_pix``.
    names : sequence of str
        L labels.
    reference_errors : (N, L) array, optional
        Errors of the known labels beyond those of the training stars' labels, in the labels' units, added in
        quadrature. A star with NaN is not counted.

    Returns
    -------
    Comparison

    Raises
    ------
    SlamError
        If the table has no known labels, or ``reference_errors`` has another shape or negative values.

    Examples
    --------
    >>> from astropy.table import Table
    >>> from slamjax.validation import compare_fit
    >>> fitted = Table({"logg": [2.6, 2.3], "logg_err": [0.1, 0.2], "logg_ref": [2.5, 2.5], "flags": [0, 0]})
    >>> compare_fit(fitted, ["logg"]).pull.round(2)
    array([[ 1.],
           [-1.]])
    """
    absent = [f"{name}_ref" for name in names if f"{name}_ref" not in labels.colnames]
    if absent:
        raise SlamError(f"the label table has no {', '.join(absent)} to compare with; fit stars with known labels")
    extra = _variances(reference_errors, (len(labels), len(names)))
    difference = np.stack([numbers(labels[name]) - numbers(labels[f"{name}_ref"]) for name in names], axis=-1)
    variance = np.stack([numbers(labels[f"{name}_err"]) for name in names], axis=-1) ** 2 + extra
    usable = np.isfinite(variance) & (variance > 0)
    pull = np.where(usable, difference / np.sqrt(np.where(usable, variance, 1)), np.nan)
    reach = np.stack([np.full(pull.shape, width) for width in GAUSSIAN])
    for k, name in enumerate(names):
        for each, width, level in zip(reach, GAUSSIAN, ("68", "95"), strict=True):
            if f"{name}_err{level}" in labels.colnames:
                half = np.sqrt(numbers(labels[f"{name}_err{level}"]) ** 2 + width**2 * extra[:, k])
                each[:, k] = np.where(usable[:, k], half / np.sqrt(np.where(usable[:, k], variance[:, k], 1)), np.nan)
    distance = np.full(len(labels), np.nan)
    if "cov" in labels.colnames:
        distance = _distance(difference, numbers(labels["cov"]) + extra[:, :, None] * np.eye(len(names)))
    chi2_dof = np.full(len(labels), np.nan)
    if "chi2" in labels.colnames:
        chi2_dof = _per_freedom(labels["chi2"], labels["n_pix"], len(names))
    flags = np.asarray(labels["flags"])
    pit = norm.cdf(-_without_tails(pull, reach))
    return Comparison(tuple(names), difference, pull, pit, distance, chi2_dof, flags)


def _without_tails(pull: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Pulls as of a Gaussian: half the 68 and 95 % intervals, ``reach`` (2, N, L) errors, become 0.99 and 1.96."""
    (near, far), (one, two) = reach, GAUSSIAN
    size = np.abs(pull)
    beyond = one + (size - near) * (two - one) / np.maximum(far - near, 1e-6)
    return np.sign(pull) * np.where(size > near, beyond, size * one / near)


def compare_draws(
    truth: np.ndarray,
    draws: np.ndarray,
    names: Sequence[str],
    *,
    reference_errors: np.ndarray | None = None,
    flags: np.ndarray | None = None,
    chi2_dof: np.ndarray | None = None,
) -> Comparison:
    """Compare posterior draws with known labels.

    Parameters
    ----------
    truth : (N, L) array
        Known labels.
    draws : (N, D, L) array
        Posterior draws, in the same units.
    names : sequence of str
        L labels.
    reference_errors : (N, L) array, optional
        As in `compare_fit`; each posterior is smoothed by a Gaussian of that width.
    flags, chi2_dof : (N,) array, optional
        Handed on to the result.

    Returns
    -------
    Comparison

    Raises
    ------
    SlamError
        If the shapes do not match.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.validation import compare_draws
    >>> rng = np.random.default_rng(0)
    >>> draws = rng.normal(2.5, 0.1, size=(1, 1000, 1))
    >>> compare_draws([[2.6]], draws, ["logg"]).pit.round(1)
    array([[0.8]])
    """
    truth, draws = checked_draws(truth, draws)
    n, _, n_labels = draws.shape
    extra = _variances(reference_errors, (n, n_labels))
    difference = draws.mean(axis=1) - truth
    variance = draws.var(axis=1, ddof=1) + extra
    usable = np.isfinite(variance) & (variance > 0)
    pull = np.where(usable, difference / np.sqrt(np.where(usable, variance, 1)), np.nan)
    pit = (np.sum(draws < truth[:, None], axis=1) + 0.5) / (draws.shape[1] + 1)
    if reference_errors is not None:
        width = np.sqrt(extra)[:, None]
        offset = truth[:, None] - draws
        smooth = norm.cdf(offset / np.where(width > 0, width, 1)).mean(axis=1)
        pit = np.where(width[:, 0] > 0, smooth, pit)
    centred = draws - draws.mean(axis=1, keepdims=True)
    covariance = np.einsum("ndi,ndj->nij", centred, centred) / (draws.shape[1] - 1)
    distance = _distance(difference, covariance + extra[:, :, None] * np.eye(n_labels))
    return Comparison(
        tuple(names),
        difference,
        pull,
        np.where(np.isfinite(pull), pit, np.nan),
        distance,
        np.full(n, np.nan) if chi2_dof is None else np.asarray(chi2_dof, float),
        np.zeros(n, int) if flags is None else np.asarray(flags),
    )


def compare_posterior(posterior: Posterior, *, reference_errors: np.ndarray | None = None) -> Comparison:
    """Compare a posterior with the known labels of its stars; see `compare_draws`.

    Parameters
    ----------
    posterior : Posterior
        As `slamjax.sample` returns it, of stars with known labels.
    reference_errors : (N, L) array, optional
        As in `compare_fit`.

    Returns
    -------
    Comparison

    Raises
    ------
    SlamError
        If the stars have no known labels.

    Examples
    --------
    >>> from slamjax.validation import calibration_table, compare_posterior
    >>> posterior = slamjax.sample(model, stars)  # doctest: +SKIP
    >>> calibration_table(compare_posterior(posterior))  # doctest: +SKIP
    """
    stars = posterior.stars
    # nuisances that were sampled together with the labels have no known value
    kept = [k for k, name in enumerate(posterior.label_names) if name not in UNITS or f"{name}_ref" in stars]
    names = tuple(posterior.label_names[k] for k in kept)
    absent = [f"{name}_ref" for name in names if f"{name}_ref" not in stars]
    if absent:
        raise SlamError(f"the posterior has no {', '.join(absent)} to compare with; sample stars with known labels")
    truth = np.stack([np.asarray(stars[f"{name}_ref"], float) for name in names], axis=-1)
    draws = np.moveaxis(posterior.labels[..., kept], 2, 0).reshape(len(posterior), -1, len(names))
    chi2_dof = _per_freedom(stars["chi2"], stars["n_pix"], len(names)) if "chi2" in stars else None
    return compare_draws(
        truth, draws, names, reference_errors=reference_errors, flags=posterior.flags, chi2_dof=chi2_dof
    )


def checked_draws(truth: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays (N, L) and (N, D, L); raises SlamError if their shapes do not match."""
    truth, draws = np.asarray(truth, float), np.asarray(draws, float)
    fits = truth.ndim == 2 and draws.ndim == 3 and (draws.shape[0], draws.shape[2]) == truth.shape
    if not fits or draws.shape[1] < 2:
        raise SlamError(
            f"truth has shape {truth.shape} and draws {draws.shape}; give (stars, labels) and (stars, draws, labels)"
        )
    return truth, draws


def _per_freedom(chi2: object, n_pix: object, n_labels: int) -> np.ndarray:
    freedom = numbers(n_pix) - n_labels
    return np.where(freedom > 0, numbers(chi2) / np.where(freedom > 0, freedom, 1), np.nan)


def _variances(errors: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    if errors is None:
        return np.zeros(shape)
    errors = np.asarray(errors, float)
    if errors.shape != shape:
        raise SlamError(f"reference_errors has shape {errors.shape}; give one per star and label, {shape}")
    if np.any(errors < 0):
        raise SlamError("reference_errors has negative values; give standard deviations, NaN where unknown")
    return errors**2


def _distance(difference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """δᵀ C⁻¹ δ for each star, NaN where any of it is not finite."""
    n_labels = difference.shape[1]
    finite = np.all(np.isfinite(difference), axis=1) & np.all(np.isfinite(covariance), axis=(1, 2))
    given = np.where(finite[:, None, None], covariance, np.eye(n_labels))
    sigma = np.sqrt(np.maximum(np.einsum("nii->ni", given), 0))
    finite &= np.all(sigma > 0, axis=1)
    sigma = np.where(finite[:, None], sigma, 1)
    # labels differ in size by thousands: correlations can be inverted safely, covariances cannot
    correlation = np.where(finite[:, None, None], given / (sigma[:, :, None] * sigma[:, None, :]), np.eye(n_labels))
    standard = np.where(finite[:, None], difference, 0) / sigma
    solved = np.linalg.solve(correlation, standard[..., None])[..., 0]
    return np.where(finite, np.sum(standard * solved, axis=1), np.nan)
