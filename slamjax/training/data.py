"""The training stars: chosen, prepared, scaled and weighted."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from slamjax._util.constants import LIGHT
from slamjax.emulators.scaling import LabelScaling, Method, location_and_width
from slamjax.errors import SlamError, SlamWarning
from slamjax.preprocessing.recipe import Recipe
from slamjax.spectra.label_errors import stated_label_errors
from slamjax.spectra.spectra import Spectra
from slamjax.training.label_masks import allowed_labels
from slamjax.training.plausibility import LeftOut, absurd_labels, absurd_pixels, left_out, warn_of_contradictions
from slamjax.training.search import make_folds
from slamjax.training.specs import TrainingSpec, Weights

#: Largest weight of a star in a pixel, in units of the median one.
_HEAVIEST = 100.0
#: Stars move by tens of km/s: pixels wider than this, km/s, hardly resolve it.
_RESOLVED = 200.0


@dataclass(frozen=True, eq=False)
class ScaledStars:
    """The training stars as learners take them.

    Attributes
    ----------
    x : scaled labels
    y, weight, ivar : scaled flux, weights and inverse variances of the flux, 0 for bad pixels
    fold : number of the cross-validation fold that holds a star out
    scaling, flux_mean, flux_scale : of labels and flux
    allowed : whether the flux of a pixel may depend on a label
    metric : factors of the scaled labels in the kernel; None: all ones
    label_error : errors of the labels, scaled, from the columns ``<label>_err``; 0 where unknown, None without columns
    """

    x: Float[np.ndarray, "star label"]
    y: Float[np.ndarray, "star pixel"]
    weight: Float[np.ndarray, "star pixel"]
    ivar: Float[np.ndarray, "star pixel"]
    fold: Int[np.ndarray, " star"]
    scaling: LabelScaling
    flux_mean: Float[np.ndarray, " pixel"]
    flux_scale: Float[np.ndarray, " pixel"]
    allowed: Bool[np.ndarray, "pixel label"]
    label_error: Float[np.ndarray, "star label"] | None = None
    metric: Float[np.ndarray, " label"] | None = None

    @property
    def n_folds(self) -> int:
        return int(self.fold.max()) + 1

    @property
    def in_kernel(self) -> np.ndarray:
        """(N, L) the labels as the kernel takes them."""
        return self.x if self.metric is None else self.x * self.metric

    def some(self, rows: np.ndarray) -> ScaledStars | None:
        """Some of the stars, in the same scaling; None if a fold is left without any."""
        if len(np.unique(self.fold[rows])) < self.n_folds:
            return None
        parts = {name: getattr(self, name)[rows] for name in ("x", "y", "weight", "ivar", "fold")}
        error = None if self.label_error is None else self.label_error[rows]
        return dataclasses.replace(self, **parts, label_error=error)

    def label_groups(self) -> list[tuple[tuple[int, ...], np.ndarray]]:
        """Places of labels that may act together, and the pixels at which exactly these may."""
        kinds, kind = np.unique(self.allowed, axis=0, return_inverse=True)
        members = [np.flatnonzero(kind.ravel() == number) for number in range(len(kinds))]
        return [(tuple(np.flatnonzero(row).tolist()), pixels) for row, pixels in zip(kinds, members, strict=True)]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The training stars as read, prepared by the learnt recipe, and scaled; and what is left out.

    ``masked_pixels``: of prepared spectra, because they tell nothing.
    """

    stars: Spectra
    prepared: Spectra
    recipe: Recipe
    names: tuple[str, ...]
    scaled: ScaledStars
    screened: tuple[LeftOut, ...] = ()
    masked_pixels: int = 0

    def without(self, reasons: Mapping[int, str], options: TrainingSpec) -> TrainingSet:
        """The other stars, scaled anew; ``reasons`` by the star's index."""
        kept = ~np.isin(np.arange(len(self.stars)), list(reasons))
        stars, prepared = self.stars[kept], self.prepared[kept]
        fold = np.unique(self.scaled.fold[kept], return_inverse=True)[1].ravel()
        scaled = _scaled(stars, prepared, self.names, options, fold)
        screened = (*self.screened, *left_out(self.stars, reasons))
        return dataclasses.replace(self, stars=stars, prepared=prepared, scaled=scaled, screened=screened)


def training_set(spectra: Spectra, names: tuple[str, ...], options: TrainingSpec, n_folds: int) -> TrainingSet:
    """Choose, prepare and scale the training stars.

    Raises SlamError for missing columns, too few stars, a constant label, or wrong label windows or masks.
    """
    data = options.data
    screened: tuple[LeftOut, ...] = ()
    spectra.require(names)
    stars = usable(spectra, names)
    if data.screen:
        stars, screened = _plausible(stars, names, options)
    stars = drawn(stars, data.n_train, options.seed)
    fold = make_folds(stars.star_groups(), n_folds, options.seed)
    recipe = (options.recipe if options.recipe is not None else Recipe()).learn(stars)
    prepared = recipe(stars)
    warn_of_velocities(prepared)
    masked = 0
    if data.screen:
        warn_of_contradictions(stars, names)
        absurd = absurd_pixels(prepared)
        masked = int(absurd.sum())
        prepared = prepared.with_arrays(prepared.flux, np.where(absurd, 0, prepared.ivar))
    scaled = _scaled(stars, prepared, names, options, fold)
    return TrainingSet(stars, prepared, recipe, names, scaled, screened, masked)


def _plausible(stars: Spectra, names: tuple[str, ...], options: TrainingSpec) -> tuple[Spectra, tuple[LeftOut, ...]]:
    """The stars without absurd labels, and the others."""
    reasons = absurd_labels(stars.values(names), names, _as_tuple(options.log_labels))
    if len(reasons) > len(stars) - 2:
        return stars, ()
    return stars[~np.isin(np.arange(len(stars)), list(reasons))], tuple(left_out(stars, reasons))


def _scaled(
    stars: Spectra, prepared: Spectra, names: tuple[str, ...], options: TrainingSpec, fold: np.ndarray
) -> ScaledStars:
    data, values = options.data, stars.values(names)
    scaling = LabelScaling.from_labels(values, names, data.label_scaling, _as_tuple(options.log_labels))
    flux_mean, flux_scale, y = scaled_flux(prepared, data.flux_scaling)
    return ScaledStars(
        x=np.asarray(scaling(values)),
        y=y,
        weight=star_weights(prepared, data.weights),
        ivar=np.where(prepared.good, prepared.ivar, 0),
        fold=fold,
        scaling=scaling,
        flux_mean=flux_mean,
        flux_scale=flux_scale,
        allowed=allowed_labels(data, names, prepared.wave, str(prepared.wave_unit)),
        label_error=scaled_label_errors(stars, names, scaling),
    )


def scaled_label_errors(stars: Spectra, names: Sequence[str], scaling: LabelScaling) -> np.ndarray | None:
    """(N, L) errors of the labels in scaled units, 0 where they are not stated; None if no column states any."""
    errors = stated_label_errors(stars, names)
    if not errors.any():
        return None
    slope = np.asarray(scaling.slope(np.asarray(scaling(stars.values(names)))), float)
    return errors / np.abs(slope)


def _as_tuple(names: Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def label_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels as a tuple; raises SlamError if there is none, or one twice."""
    names = _as_tuple(labels)
    if not names:
        raise SlamError("no labels are given; name at least one column, as in labels=['teff', 'logg']")
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise SlamError(f"label {', '.join(map(repr, repeated))} is given twice; name each once")
    return names


def usable(spectra: Spectra, names: Sequence[str]) -> Spectra:
    """The stars whose labels are all finite and that have a good pixel."""
    values = spectra.values(names)
    finite = np.all(np.isfinite(values), axis=1)
    seen = spectra.good.any(axis=1)
    kept = finite & seen
    if not finite.all():
        counts = ", ".join(
            f"{name}: {int(n)}" for name, n in zip(names, (~np.isfinite(values)).sum(0), strict=True) if n
        )
        warnings.warn(
            f"{int((~finite).sum())} of {len(spectra)} stars lack a label and are left out of training ({counts})",
            SlamWarning,
            stacklevel=4,
        )
    if not seen.all():
        warnings.warn(
            f"{int((~seen).sum())} of {len(spectra)} spectra have no good pixel and are left out of training "
            f"(first: row {spectra.rows[~seen][0]})",
            SlamWarning,
            stacklevel=4,
        )
    if kept.sum() < 2:
        raise SlamError(
            f"{int(kept.sum())} of {len(spectra)} stars of {spectra.source} can be used for training "
            f"(known {', '.join(names)}, and a good pixel); give at least a few dozen"
        )
    return spectra[kept]


def drawn(spectra: Spectra, n_train: int | None, seed: int) -> Spectra:
    """``n_train`` random stars, in their order; None: all."""
    if n_train is None:
        return spectra
    if not isinstance(n_train, (int, np.integer)) or not 2 <= n_train <= len(spectra):
        raise SlamError(f"n_train is {n_train} but {len(spectra)} stars can be used; give 2 to {len(spectra)}")
    rows = np.random.default_rng(seed).choice(len(spectra), n_train, replace=False)
    return spectra[np.sort(rows)]


def scaled_flux(spectra: Spectra, method: Method) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and scale of each pixel over its good stars, and the flux in those units (0 where bad)."""
    good = spectra.good
    flux = np.where(good, spectra.flux.astype(float), np.nan)
    flux[0, ~good.any(axis=0)] = 0.0
    mean, scale = location_and_width(flux, method)
    scale = np.where(scale > 0, scale, 1.0)
    return mean, scale, np.where(good, (spectra.flux - mean) / scale, 0.0)


def star_weights(spectra: Spectra, kind: Weights) -> np.ndarray:
    """(N, P) weights of mean 1 over each pixel's good stars; 0 for bad pixels."""
    good = spectra.good
    if kind == "uniform" or not spectra.has_errors:
        return good.astype(float)
    ivar = spectra.ivar.astype(float)
    stated = good & np.isfinite(ivar)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)  # a pixel without stated errors
        typical = np.nan_to_num(np.nanmedian(np.where(stated, ivar, np.nan), axis=0))
    # one absurdly small error must not leave the other stars without weight
    ivar = np.where(stated, np.minimum(ivar, _HEAVIEST * typical), ivar)
    mean = np.sum(np.where(stated, ivar, 0), axis=0) / np.maximum(stated.sum(axis=0), 1)
    # a star without a stated error counts like the average one
    return np.where(stated, ivar / np.where(mean > 0, mean, 1), good.astype(float))


def warn_of_velocities(spectra: Spectra) -> None:
    """Warn if prepared spectra are in the observed frame and their pixels resolve the velocities of stars."""
    if spectra.frame != "observed" or spectra.n_pix < 2:
        return
    pixel = LIGHT * float(np.median(np.diff(np.log(spectra.wave))))
    if pixel < _RESOLVED:
        warnings.warn(
            f"{spectra.source} is in the observed frame, on pixels of {pixel:.0f} km/s: velocities of stars blur what "
            "is learnt; put rest_frame or resample with a column of velocities into the recipe",
            SlamWarning,
            stacklevel=4,
        )
