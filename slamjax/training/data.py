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
from slamjax.training.catalogue_density import CatalogueDensity
from slamjax.training.label_masks import allowed_labels
from slamjax.training.plausibility import LeftOut, absurd_labels, absurd_pixels, left_out, warn_of_contradictions
from slamjax.training.search import make_folds
from slamjax.training.specs import Missing, NoiseSpec, TrainingSpec, Weights

#: Largest weight of a star in a pixel, in units of the median one.
_HEAVIEST = 100.0
#: A label that fewer stars have cannot be inferred for the others.
_FEWEST_KNOWN = 20
#: Stars move by tens of km/s: pixels wider than this, km/s, hardly resolve it.
_RESOLVED = 200.0


@dataclass(frozen=True, eq=False)
class ScaledStars:
    """The training stars as learners take them.

    Attributes
    ----------
    x : scaled labels that teach
    y, weight, ivar : scaled flux, weights and inverse variances of the flux, 0 for bad pixels
    fold : number of the cross-validation fold that holds a star out
    scaling, flux_mean, flux_scale : of labels and flux
    allowed : whether the flux of a pixel may depend on a label
    metric : factors of the scaled labels in the kernel; None: all ones
    label_error : errors of the labels, scaled, from the columns ``<label>_err``; 0 where unknown, None without columns
    catalogue : scaled labels of the table, NaN where missing; None if these are ``x``
    covariance : of the flux of each star, where stars have one of their own
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
    catalogue: Float[np.ndarray, "star label"] | None = None
    covariance: Float[np.ndarray, "star pixel pixel"] | None = None

    @property
    def complete(self) -> Bool[np.ndarray, " star"]:
        """Stars whose labels are all in the table."""
        return np.isfinite(self.x if self.catalogue is None else self.catalogue).all(axis=1)

    def without_gaps(self, needed: int) -> ScaledStars:
        """Only complete stars teach, if there are as many as ``needed``."""
        complete = self.complete
        if complete.all() or complete.sum() < needed:
            return self
        return dataclasses.replace(self, weight=np.where(complete[:, None], self.weight, 0))

    @property
    def reference(self) -> Float[np.ndarray, "star label"] | None:
        """The labels by which fits are judged, if they are not ``x``: the table's, and ``x`` where it has none."""
        return None if self.catalogue is None else np.where(np.isfinite(self.catalogue), self.catalogue, self.x)

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
        return self.only(rows)

    def only(self, rows: np.ndarray) -> ScaledStars:
        """These stars, in the same scaling; folds that are left without any are no more."""
        of_stars = ("x", "y", "weight", "ivar", "fold", "label_error", "catalogue", "covariance")
        parts = {name: getattr(self, name) for name in of_stars}
        some = dataclasses.replace(self, **{name: part[rows] for name, part in parts.items() if part is not None})
        return dataclasses.replace(some, fold=np.unique(some.fold, return_inverse=True)[1].ravel())

    def fewer_pixels(self, most: int) -> ScaledStars:
        """Every k-th pixel of those at which the same labels may act, k such that about ``most`` are left."""
        known = np.any(self.weight > 0, axis=0)
        step = -(-int(known.sum()) // most)
        if step <= 1:
            return self
        groups = [pixels[known[pixels]][::step] for _, pixels in self.label_groups()]
        return self.on_pixels(np.sort(np.concatenate(groups)))

    def on_pixels(self, pixels: np.ndarray) -> ScaledStars:
        """Only these pixels, in the same scaling."""
        of_stars = {name: getattr(self, name)[:, pixels] for name in ("y", "weight", "ivar")}
        of_pixels = {name: getattr(self, name)[pixels] for name in ("flux_mean", "flux_scale", "allowed")}
        covariance = None if self.covariance is None else self.covariance[:, pixels][:, :, pixels]
        return dataclasses.replace(self, **of_stars, **of_pixels, covariance=covariance)

    def label_groups(self) -> list[tuple[tuple[int, ...], np.ndarray]]:
        """Places of labels that may act together, and the pixels at which exactly these may."""
        kinds, kind = np.unique(self.allowed, axis=0, return_inverse=True)
        members = [np.flatnonzero(kind.ravel() == number) for number in range(len(kinds))]
        return [(tuple(np.flatnonzero(row).tolist()), pixels) for row, pixels in zip(kinds, members, strict=True)]


@dataclass(frozen=True)
class LatentLabels:
    """Which labels teach as inferred from the table and the spectra.

    Attributes
    ----------
    stars : stars that lack a label in the table
    gaps : how many lack each label, where any do
    with_errors : labels that are inferred where the table has them, too, because of their stated errors
    """

    stars: int
    gaps: dict[str, int]
    with_errors: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """The training stars as read, prepared by the learnt recipe, and scaled; and what is left out.

    ``masked_pixels``: of prepared spectra, because they tell nothing. ``latent``: if labels were inferred.
    """

    stars: Spectra
    prepared: Spectra
    recipe: Recipe
    names: tuple[str, ...]
    scaled: ScaledStars
    screened: tuple[LeftOut, ...] = ()
    masked_pixels: int = 0
    latent: LatentLabels | None = None

    def without(self, reasons: Mapping[int, str], options: TrainingSpec) -> TrainingSet:
        """The other stars, scaled anew; ``reasons`` by the star's index."""
        rest = self.simply_without(reasons)
        scaled = _scaled(rest.stars, rest.prepared, self.names, options, rest.scaled.fold)
        return dataclasses.replace(rest, scaled=scaled)

    def simply_without(self, reasons: Mapping[int, str]) -> TrainingSet:
        """The other stars, in the same units."""
        kept = ~np.isin(np.arange(len(self.stars)), list(reasons))
        return dataclasses.replace(
            self,
            stars=self.stars[kept],
            prepared=self.prepared[kept],
            scaled=self.scaled.only(kept),
            screened=(*self.screened, *left_out(self.stars, reasons)),
        )


def training_set(spectra: Spectra, names: tuple[str, ...], options: TrainingSpec, n_folds: int) -> TrainingSet:
    """Choose, prepare and scale the training stars.

    Raises SlamError for missing columns, too few stars, a constant label, or wrong label windows or masks.
    """
    data = options.data
    screened: tuple[LeftOut, ...] = ()
    spectra.require(names)
    _check_covariance(spectra, NoiseSpec.from_option(options.noise))
    stars = usable(spectra, names, data.missing)
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
        prepared = prepared.masked(absurd)
    scaled = _scaled(stars, prepared, names, options, fold)
    return TrainingSet(stars, prepared, recipe, names, scaled, screened, masked)


def _check_covariance(spectra: Spectra, noise: NoiseSpec) -> None:
    """Raise SlamError if photon noise shall be learnt of stars that state how it goes from pixel to pixel."""
    if spectra.covariance is not None and noise.photons == "learnt":
        raise SlamError(
            f"{spectra.source} has covariances between pixels, so that its photon noise is known; leave "
            "photons='learnt' out, or give spectra.with_independent_pixels()"
        )


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
    x, error = np.asarray(scaling(values)), scaled_label_errors(stars, names, scaling)
    catalogue = None
    if not np.isfinite(x).all():  # until spectra have been looked at, what is missing is what such stars usually have
        known = np.zeros_like(x) if error is None else error
        catalogue, x = x, np.where(np.isfinite(x), x, CatalogueDensity.estimate(x, known).given(x, known)[0])
    return ScaledStars(
        x=x,
        y=y,
        weight=star_weights(prepared, data.weights),
        ivar=np.where(prepared.good, prepared.ivar, 0),
        fold=fold,
        scaling=scaling,
        flux_mean=flux_mean,
        flux_scale=flux_scale,
        allowed=allowed_labels(data, names, prepared.wave, str(prepared.wave_unit)),
        label_error=error,
        catalogue=catalogue,
        covariance=prepared.covariance,
    )


def scaled_label_errors(stars: Spectra, names: Sequence[str], scaling: LabelScaling) -> np.ndarray | None:
    """(N, L) errors of the labels in scaled units, 0 where they are not stated; None if no column states any."""
    errors, values = stated_label_errors(stars, names), stars.values(names)
    errors = np.where(np.isfinite(values), errors, 0)
    if not errors.any():
        return None
    slope = np.asarray(scaling.slope(np.asarray(scaling(values))), float)
    return np.where(errors > 0, errors / np.abs(slope), 0)


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


def usable(spectra: Spectra, names: Sequence[str], missing: Missing = "drop") -> Spectra:
    """The stars that have a good pixel and all labels, or any of them if what is missing is to be inferred.

    Raises SlamError if too few stars are left, or too few have a label that is to be inferred for most.
    """
    known = np.isfinite(spectra.values(names))
    seen = spectra.good.any(axis=1)
    infer = missing == "infer" and _can_be_inferred(spectra, names, known[seen])
    labelled = known.any(axis=1) if infer else known.all(axis=1)
    kept = labelled & seen
    if not labelled.all():
        counts = ", ".join(f"{name}: {int(n)}" for name, n in zip(names, (~known).sum(0), strict=True) if n)
        lack = "have none of the labels" if infer else "lack a label"
        warnings.warn(
            f"{int((~labelled).sum())} of {len(spectra)} stars {lack} and are left out of training ({counts})",
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


def _can_be_inferred(spectra: Spectra, names: Sequence[str], known: np.ndarray) -> bool:
    """Whether enough stars have each label; if not, stars without are left out, unless they are most of the stars."""
    counts = known.sum(axis=0)
    rarest = int(np.argmin(counts))
    if len(known) == 0 or counts[rarest] >= _FEWEST_KNOWN or known.all():
        return True
    if 2 * known.all(axis=1).sum() >= len(known):
        return False
    raise SlamError(
        f"label {names[rarest]!r} is known for {counts[rarest]} of {len(known)} stars of {spectra.source}, too few to "
        f"infer it for the others; leave the label out, or give at least {_FEWEST_KNOWN} stars that have it"
    )


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
