"""Do the errors say how far the labels are from the truth? Pulls, coverage, PIT, the labels jointly.

Of N posteriors with means m, standard deviations σ and covariances C, and the labels t that are known of the stars:

- pull (m − t) / σ: of width 1 where errors are honest;
- PIT P(label < t | spectrum) (probability integral transform; Dawid 1984, J. R. Stat. Soc. A 147, 278): uniform where
  the posterior's shape is honest as well. A histogram high at both ends tells of errors too small;
- coverage: the part of the stars whose t lies in the central p interval, |PIT − ½| < p / 2;
- distance (m − t)ᵀ C⁻¹ (m − t): χ² with L degrees of freedom where correlations are honest too.

**Errors of the known labels are counted once.** A noise model learnt from residuals at the training stars' known
labels holds the errors of those labels already (a wrong label makes a residual J δℓ), and with it every error that a
fit states. For stars whose known labels are of the training stars' kind nothing is therefore added to the fit's error.
Only where they are of another kind, known less well than those of the training stars, is ``reference_errors`` to be
given, which adds their variances; it should hold what they have in excess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table
from scipy import stats

from slamjax.errors import SlamError
from slamjax.forward.nuisances import VELOCITIES
from slamjax.noise.calibration import GAUSSIAN_95
from slamjax.validation.bins import bins_of, numbers, robust_width

if TYPE_CHECKING:
    from slamjax.sampling import Posterior

#: Probabilities of the central intervals whose coverage is counted.
LEVELS = (0.50, 0.68, 0.90, 0.95)
#: What the table calls the row of all labels together.
JOINT = "jointly"
#: Standard error of a median over the standard deviation / √n, for normal values.
_MEDIAN_ERROR = float(np.sqrt(np.pi / 2))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Posteriors of N stars beside their known labels: all that calibration is measured by. NaN where not known.

    Attributes
    ----------
    names : L labels
    difference : (N, L) posterior mean (or fit) minus known label, in physical units
    pull : (N, L) difference / error; NaN for a label that the spectrum does not constrain
    pit : (N, L) P(label < known | spectrum)
    distance : (N,) squared Mahalanobis distance of all labels together
    chi2_dof : (N,) χ² / (pixels − L)
    flags : (N,) `slamjax.Flag`
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
    """A label table as `slamjax.fit` gives it, beside its own columns <label>_ref.

    Posteriors are normal within one error; beyond it they are stretched to meet the table's 95 % interval.

    Parameters
    ----------
    labels : Table
        With <label>, <label>_err, <label>_ref, ``flags``; <label>_err95, ``cov``, ``chi2`` and ``n_pix`` where known.
    names : sequence of str
    reference_errors : (N, L) array, optional
        Errors that the known labels have beyond those of the training stars, added in quadrature (see this module's
        head); a star without one is not counted.
    """
    absent = [f"{name}_ref" for name in names if f"{name}_ref" not in labels.colnames]
    if absent:
        raise SlamError(f"the label table has no column {', '.join(absent)} to compare with; fit stars of known labels")
    extra = _variances(reference_errors, (len(labels), len(names)))
    difference = np.stack([numbers(labels[name]) - numbers(labels[f"{name}_ref"]) for name in names], axis=-1)
    variance = np.stack([numbers(labels[f"{name}_err"]) for name in names], axis=-1) ** 2 + extra
    usable = np.isfinite(variance) & (variance > 0)
    pull = np.where(usable, difference / np.sqrt(np.where(usable, variance, 1)), np.nan)
    reach = np.full(pull.shape, GAUSSIAN_95)
    for k, name in enumerate(names):
        if f"{name}_err95" in labels.colnames:
            half = np.sqrt(numbers(labels[f"{name}_err95"]) ** 2 + GAUSSIAN_95**2 * extra[:, k])
            reach[:, k] = np.where(usable[:, k], half / np.sqrt(np.where(usable[:, k], variance[:, k], 1)), np.nan)
    distance = np.full(len(labels), np.nan)
    if "cov" in labels.colnames:
        distance = _distance(difference, numbers(labels["cov"]) + extra[:, :, None] * np.eye(len(names)))
    chi2_dof = np.full(len(labels), np.nan)
    if "chi2" in labels.colnames:
        chi2_dof = _per_freedom(labels["chi2"], labels["n_pix"], len(names))
    flags = np.asarray(labels["flags"])
    pit = stats.norm.cdf(-_without_tails(pull, reach))
    return Comparison(tuple(names), difference, pull, pit, distance, chi2_dof, flags)


def _without_tails(pull: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Pulls as those of a Gaussian: the same within one error, and ``reach`` errors become 1.96."""
    beyond = (np.abs(pull) - 1) * (GAUSSIAN_95 - 1) / (reach - 1)
    return np.where(np.abs(pull) > 1, np.sign(pull) * (1 + beyond), pull)


def compare_draws(
    truth: np.ndarray,
    draws: np.ndarray,
    names: Sequence[str],
    *,
    reference_errors: np.ndarray | None = None,
    flags: np.ndarray | None = None,
    chi2_dof: np.ndarray | None = None,
) -> Comparison:
    """Posterior draws (N, D, L) beside known labels (N, L), in the same units; no shape is assumed but for pulls.

    ``reference_errors`` as in `compare_fit`: the posterior is then smoothed by a normal distribution of that width.
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
        smooth = stats.norm.cdf(offset / np.where(width > 0, width, 1)).mean(axis=1)
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
    """What `slamjax.sample` gives for stars of known labels, beside these; see `compare_draws`."""
    stars = posterior.stars
    # velocities that were sampled beside the labels have no reference
    kept = [k for k, name in enumerate(posterior.label_names) if name not in VELOCITIES or f"{name}_ref" in stars]
    names = tuple(posterior.label_names[k] for k in kept)
    absent = [f"{name}_ref" for name in names if f"{name}_ref" not in stars]
    if absent:
        raise SlamError(f"the posterior has no {', '.join(absent)} to compare with; sample stars of known labels")
    truth = np.stack([np.asarray(stars[f"{name}_ref"], float) for name in names], axis=-1)
    draws = np.moveaxis(posterior.labels[..., kept], 2, 0).reshape(len(posterior), -1, len(names))
    chi2_dof = _per_freedom(stars["chi2"], stars["n_pix"], len(names)) if "chi2" in stars else None
    return compare_draws(
        truth, draws, names, reference_errors=reference_errors, flags=posterior.flags, chi2_dof=chi2_dof
    )


def checked_draws(truth: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 arrays (N, L) and (N, D, L); raises SlamError if they do not belong together."""
    truth, draws = np.asarray(truth, float), np.asarray(draws, float)
    fits = truth.ndim == 2 and draws.ndim == 3 and (draws.shape[0], draws.shape[2]) == truth.shape
    if not fits or draws.shape[1] < 2:
        raise SlamError(
            f"truth has shape {truth.shape} and draws {draws.shape}; give (stars, labels) and (stars, draws, labels)"
        )
    return truth, draws


def calibration_table(
    comparison: Comparison,
    values: np.ndarray | None = None,
    edges: Sequence[float] | None = None,
    *,
    good_only: bool = False,
) -> Table:
    """How honest the errors are, for all stars and for bins of ``values`` (N,), as `scatter_table` bins them.

    A row a label and bin, and one for all labels together (label "jointly", ellipsoids for intervals). Columns:

    - ``label``, ``low``, ``high`` (NaN for all stars), ``n`` stars with a fitted and a known label,
      ``flagged`` of them;
    - ``bias``, the median difference, ``bias_err``, 1.2533 robust scatter / √n, and ``bias_scatter``, bias / scatter;
    - ``pull_width`` (1.4826 MAD) and ``pull_sd``; for all labels together √(median distance / that of χ² with L
      degrees of freedom) and √(mean distance / L), 1 where errors and correlations are honest;
    - ``cover50`` … ``cover95``, the part of the stars inside the interval, and ``cover50_err`` …, the binomial standard
      error √(p (1 − p) / n) that honest errors would have. Labels without a finite error are in ``n`` but in neither
      pulls nor coverage;
    - ``chi2_dof``, the median.

    Bins of a known label hold stars that scattered into them: where stars are rare, the bias of such a bin is partly
    that of regression towards the mean, not the model's.
    """
    usable = comparison.flags == 0 if good_only else np.ones(len(comparison), bool)
    if values is None:
        values, edges = np.full(len(comparison), np.nan), None
    rows = []
    for low, high, members in bins_of(values, edges):
        chosen = members & usable
        for k, name in enumerate(comparison.names):
            rows.append((name, low, high, *_label_row(comparison, k, chosen)))
        rows.append((JOINT, low, high, *_joint_row(comparison, chosen)))
    columns = ["label", "low", "high", "n", "flagged", "bias", "bias_err", "bias_scatter", "pull_width", "pull_sd"]
    for level in LEVELS:
        columns += [f"cover{100 * level:.0f}", f"cover{100 * level:.0f}_err"]
    return Table(rows=rows, names=[*columns, "chi2_dof"])


def _label_row(comparison: Comparison, k: int, chosen: np.ndarray) -> tuple[float, ...]:
    counted = chosen & np.isfinite(comparison.difference[:, k])
    difference = comparison.difference[counted, k]
    pull, pit = comparison.pull[counted, k], comparison.pit[counted, k]
    pull, pit = pull[np.isfinite(pull)], pit[np.isfinite(pit)]
    n = int(counted.sum())
    bias = float(np.median(difference)) if n else np.nan
    scatter = robust_width(difference)
    inside = [np.abs(pit - 0.5) < level / 2 for level in LEVELS]
    return (
        n,
        int(np.sum(comparison.flags[counted] != 0)),
        bias,
        _MEDIAN_ERROR * scatter / np.sqrt(n) if n else np.nan,
        bias / scatter if scatter > 0 else np.nan,
        robust_width(pull),
        float(np.std(pull)) if pull.size else np.nan,
        *_coverage(inside),
        _median(comparison.chi2_dof[counted]),
    )


def _joint_row(comparison: Comparison, chosen: np.ndarray) -> tuple[float, ...]:
    counted = chosen & np.all(np.isfinite(comparison.difference), axis=1)
    distance = comparison.distance[counted]
    distance = distance[np.isfinite(distance)]
    n_labels = len(comparison.names)
    inside = [distance < stats.chi2.ppf(level, n_labels) for level in LEVELS]
    return (
        int(counted.sum()),
        int(np.sum(comparison.flags[counted] != 0)),
        *[np.nan] * 3,
        np.sqrt(_median(distance) / stats.chi2.median(n_labels)),
        np.sqrt(np.mean(distance) / n_labels) if distance.size else np.nan,
        *_coverage(inside),
        _median(comparison.chi2_dof[counted]),
    )


def _coverage(inside: Sequence[np.ndarray]) -> list[float]:
    """Coverage and its standard error, level after level."""
    out: list[float] = []
    for level, within in zip(LEVELS, inside, strict=True):
        n = within.size
        out += [float(within.mean()), float(np.sqrt(level * (1 - level) / n))] if n else [np.nan, np.nan]
    return out


def _per_freedom(chi2: object, n_pix: object, n_labels: int) -> np.ndarray:
    freedom = numbers(n_pix) - n_labels
    return np.where(freedom > 0, numbers(chi2) / np.where(freedom > 0, freedom, 1), np.nan)


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else np.nan


def _variances(errors: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    if errors is None:
        return np.zeros(shape)
    errors = np.asarray(errors, float)
    if errors.shape != shape:
        raise SlamError(f"reference_errors has shape {errors.shape}; give one a star and label, {shape}")
    if np.any(errors < 0):
        raise SlamError("reference_errors holds negative numbers; give standard deviations, NaN where not known")
    return errors**2


def _distance(difference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """δᵀ C⁻¹ δ for each star, NaN where any of it is not finite."""
    n_labels = difference.shape[1]
    sound = np.all(np.isfinite(difference), axis=1) & np.all(np.isfinite(covariance), axis=(1, 2))
    given = np.where(sound[:, None, None], covariance, np.eye(n_labels))
    sigma = np.sqrt(np.maximum(np.einsum("nii->ni", given), 0))
    sound &= np.all(sigma > 0, axis=1)
    sigma = np.where(sound[:, None], sigma, 1)
    # labels differ in size by thousands: correlations, not covariances, are what may be inverted
    correlation = np.where(sound[:, None, None], given / (sigma[:, :, None] * sigma[:, None, :]), np.eye(n_labels))
    standard = np.where(sound[:, None], difference, 0) / sigma
    solved = np.linalg.solve(correlation, standard[..., None])[..., 0]
    return np.where(sound, np.sum(standard * solved, axis=1), np.nan)
