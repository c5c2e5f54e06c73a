"""All pixels' SVRs on features of inducing stars: memory and time grow in proportion to the stars.

The rules, folds and scores are those of `slamjax.training.svr.pixel.fit_pixel`; the kernel is its Nyström approximation
(`slamjax.training.svr.inducing`). Each candidate is fitted to all stars first; the folds start from that solution.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from joblib import effective_n_jobs

from slamjax.training.search import Candidate
from slamjax.training.svr.batched import Stars
from slamjax.training.svr.fits import Fits
from slamjax.training.svr.inducing import FeatureMap
from slamjax.training.svr.pixel import Report, SvrSettings, unusable
from slamjax.training.svr.splitting import MOST_STEPS, TILE, Columns, FeatureStars
from slamjax.typing import Progress

#: GiB of numbers of stars and pixels at a time.
_AT_A_TIME = 0.25
#: Below this many stars everything is in float64: products in float32 would save no time worth having.
_SINGLE = 3000
#: A star's weight in the ridge regression is its mean weight, between these.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.01, 100.0


@dataclass(frozen=True)
class _Sorted:
    """Stars in the order of their folds."""

    stars: Stars
    order: np.ndarray
    scale: Float[np.ndarray, " star"]
    parts: list[slice]
    dtype: type

    @classmethod
    def of(cls, stars: Stars) -> _Sorted:
        order = np.argsort(stars.fold, kind="stable")
        edges = np.searchsorted(stars.fold[order], np.arange(stars.n_folds + 1))
        parts = [slice(int(a), int(b)) for a, b in itertools.pairwise(edges)]
        scale = np.clip(stars.weight.mean(axis=1)[order], _LEAST_WEIGHT, _MOST_WEIGHT)
        return cls(stars, order, scale, parts, np.float64 if len(order) < _SINGLE else np.float32)

    def features(self, features: FeatureMap, n_jobs: int) -> FeatureStars:
        found: np.ndarray = np.empty((len(self.order), features.whitening.shape[1]), self.dtype)
        for start in range(0, len(found), TILE):
            found[start : start + TILE] = features(self.stars.x[self.order[start : start + TILE]])
        return FeatureStars(found, self.scale, self.parts, n_jobs)

    def pixels(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Flux and c / s (N, M) of some pixels."""
        y = self.stars.y[self.order[:, None], chosen].astype(self.dtype)
        ratio = (self.stars.weight[self.order[:, None], chosen] / self.scale[:, None]).astype(self.dtype)
        return y, ratio


def fit_pixels_in_features(
    stars: Stars,
    inducing: np.ndarray,
    candidates: Sequence[Candidate],
    settings: SvrSettings,
    n_jobs: int,
    on_progress: Progress | None,
) -> tuple[Fits, Report]:
    """Cross-validate every candidate and fit the best one to all good stars, for every pixel.

    ``inducing``: rows of the stars that span the features.
    """
    n_stars, n_pix = stars.y.shape
    fits = Fits.untrained(stars.x[inducing], n_stars, n_pix, len(candidates), stars.n_folds)
    for pixel in range(n_pix):
        fits.status[pixel] = unusable(stars.y[:, pixel], stars.weight[:, pixel], stars.fold, settings.min_stars)
    fits.n_train[:] = np.count_nonzero(stars.weight, axis=0)
    trainable, ordered = np.flatnonzero(fits.status == ""), _Sorted.of(stars)
    report, done, n_jobs = Report("inducing", inducing=len(inducing)), 0, effective_n_jobs(n_jobs)
    for gamma in dict.fromkeys(candidate.gamma for candidate in candidates):
        feature_map = FeatureMap.of(fits.support, gamma, settings)
        features = ordered.features(feature_map, n_jobs)
        numbers = [k for k, candidate in enumerate(candidates) if candidate.gamma == gamma]
        for chunk in _chunks(trainable, n_stars):
            y, ratio = ordered.pixels(chunk)
            for k in numbers:
                fitted = _Candidate(features, feature_map, candidates[k], settings)
                report += fitted.cross_validate(ordered, y, ratio, fits, chunk, k)
                done += len(chunk)
                if on_progress is not None:
                    on_progress(done * n_pix // (len(trainable) * len(candidates)), n_pix)
    _finish(fits, trainable)
    if on_progress is not None:
        on_progress(n_pix, n_pix)
    return fits, report


def _chunks(pixels: np.ndarray, n_stars: int) -> Iterator[np.ndarray]:
    """Pixels at a time: seven arrays of stars and pixels."""
    size = int(np.clip(_AT_A_TIME * 2**30 / (7 * 4 * n_stars), 16, 256))
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


@dataclass(frozen=True)
class _Candidate:
    """A combination of hyper-parameters on the features of its γ."""

    features: FeatureStars
    feature_map: FeatureMap
    candidate: Candidate
    settings: SvrSettings

    def cross_validate(
        self, ordered: _Sorted, y: np.ndarray, ratio: np.ndarray, fits: Fits, pixels: np.ndarray, number: int
    ) -> Report:
        """Fit all stars, then all but each fold; what is better than before goes into ``fits``."""
        C, epsilon, tol = self.candidate.C, self.candidate.epsilon, self.settings.tol
        most = MOST_STEPS if self.settings.max_iter < 0 else self.settings.max_iter
        solved, columns = self.features.solve(Columns.start(y, ratio, C, epsilon), C, epsilon, tol, most)
        gaps, score, held_out = [solved.gap], np.zeros(len(pixels)), np.empty(y.shape, np.float32)
        folds = []
        for fold, part in enumerate(self.features.parts):
            without, _ = self.features.solve(columns.copy(), C, epsilon, tol, most, without=fold)
            held_out[part] = self.features.predict(fold, without.w, without.b)
            weight = (ratio[part] * self.features.scale[part]).astype(float)
            error = np.square(held_out[part] - y[part]).astype(float)
            score += (weight * error).sum(axis=0) / weight.sum(axis=0) / len(self.features.parts)
            gaps.append(without.gap)
            folds.append(self.feature_map.expansion(without.w, without.b))
        before = np.where(fits.best[pixels] >= 0, fits.scores[pixels, np.maximum(fits.best[pixels], 0)], np.inf)
        fits.scores[pixels, number] = score
        better = score < before
        chosen, gap = pixels[better], np.max(gaps, axis=0)
        dual, intercept = self.feature_map.expansion(solved.w, solved.b)
        fits.best[chosen], fits.dual[:, chosen], fits.intercept[chosen] = number, dual[:, better], intercept[better]
        for fold, (dual, intercept) in enumerate(folds):
            fits.fold_dual[fold][:, chosen], fits.fold_intercept[fold, chosen] = dual[:, better], intercept[better]
        known = np.where(ratio[:, better] > 0, held_out[:, better], np.nan)
        fits.held_out[ordered.order[:, None], chosen] = known
        fits.status[chosen] = np.where(gap[better] > tol, "trained, out of iterations", "trained")
        return Report("inducing", columns=len(gaps) * len(pixels), gap=float(np.max(gap, initial=0)))


def _finish(fits: Fits, trainable: np.ndarray) -> None:
    """Pixels whose numbers are not finite are not trained."""
    finite = np.isfinite(fits.intercept) & np.isfinite(fits.dual).all(axis=0) & np.isfinite(fits.scores).all(axis=1)
    lost = trainable[~finite[trainable]]
    fits.status[lost], fits.best[lost], fits.intercept[lost] = "SVR diverged", -1, np.nan
    fits.dual[:, lost], fits.scores[lost], fits.held_out[:, lost] = 0, np.nan, np.nan
    fits.fold_dual[..., lost], fits.fold_intercept[:, lost] = 0, np.nan
