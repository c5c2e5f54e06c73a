"""Means of the labels of stars with such a spectrum, by a regression that was learnt from held-out stars.

The mean of a posterior is the regression of the labels on the data. Here the regression is one of what a fit lacks,
known minus fitted labels, on what the fit found: its labels, their errors, and the factors c of its residual under the
noise model (see `slamjax.noise.likeness`). It is a sum of Gaussian kernels, so that it fades to nothing away from the
stars it was learnt from; the mean is then the fitted label.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from slamjax._util.batching import fill_up

#: Widths of the kernel, per feature: of labels (standard deviations of the stars'), of the logarithms of their errors,
#: and of the factors (robust widths of the stars').
_LABELS, _ERRORS, _FACTORS = 1.5, 1.0, 3.0
#: Factors are bounded smoothly at so many widths.
_BOUND = 8.0
#: Stars per block, whose shape is always the same: a star's mean does not depend on the other stars.
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class LabelMeans:
    """The regression, learnt from M stars with L labels and K factors.

    Attributes
    ----------
    label_width, factor_width : widths by which scaled labels and factors are divided
    features : of the stars, as `features_of` makes them
    weights : of each star's kernel, for each label (scaled)
    stretch : logarithm of std / error, as offset and slope in the logarithm of the error
    error_range : lowest and highest logarithms of errors, beyond which the stretch is constant
    nearness : the largest kernel of a typical star with any other

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.noise.label_means import LabelMeans
    >>> one, none = np.ones(1), np.zeros((1, 0))
    >>> found = LabelMeans.features_of(one[None], one[None], none, one, np.ones(0))
    >>> means = LabelMeans(one, np.ones(0), found, np.full((1, 1), 0.5), np.zeros((1, 2)), np.zeros((1, 2)), 1.0)
    >>> x = np.array([[1.0], [30.0]])
    >>> means.mean_and_std(x, np.ones_like(x), np.zeros((2, 0)))[0]
    array([[ 1.5],
           [30. ]])
    """

    label_width: Float[np.ndarray, " label"]
    factor_width: Float[np.ndarray, " factor"]
    features: Float[np.ndarray, "star feature"]
    weights: Float[np.ndarray, "star label"]
    stretch: Float[np.ndarray, "label 2"]
    error_range: Float[np.ndarray, "label 2"]
    nearness: float

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same."""
        if not isinstance(other, LabelMeans):
            return NotImplemented
        return all(np.array_equal(getattr(self, each.name), getattr(other, each.name)) for each in fields(self))

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def features_of(
        x: np.ndarray, error: np.ndarray, factors: np.ndarray, label_width: np.ndarray, factor_width: np.ndarray
    ) -> Float[np.ndarray, "star feature"]:
        """Labels, logarithms of errors, and bounded factors, each kind over √its number and over its kernel's width."""
        bounded = _BOUND * np.tanh(factors / (_BOUND * factor_width))
        n_labels, n_factors = x.shape[1], max(factors.shape[1], 1)
        return np.concatenate(
            [
                x / (label_width * _LABELS * np.sqrt(n_labels)),
                log_error(error) / (_ERRORS * np.sqrt(n_labels)),
                bounded / (_FACTORS * np.sqrt(n_factors)),
            ],
            axis=1,
        )

    def mean_and_std(
        self,
        x: Float[np.ndarray, "star label"],
        error: Float[np.ndarray, "star label"],
        factors: Float[np.ndarray, "star factor"],
    ) -> tuple[Float[np.ndarray, "star label"], Float[np.ndarray, "star label"]]:
        """Means and standard deviations, scaled as the fitted labels x and their errors are."""
        given = self.features_of(x, error, factors, self.label_width, self.factor_width)
        given = np.nan_to_num(given, nan=1e6, posinf=1e6, neginf=-1e6)  # far from all stars
        lacking, near = np.empty(x.shape), np.empty(len(x))
        for start in range(0, len(x), _BLOCK):
            rows = np.arange(start, min(len(x), start + _BLOCK))
            kernel = gaussian(given[fill_up(rows, _BLOCK)], self.features)
            lacking[rows] = (kernel @ self.weights)[: rows.size]
            near[rows] = kernel.max(axis=1)[: rows.size]
        near = np.minimum(near / self.nearness, 1)[:, None]
        return x + lacking, error * np.exp(near * self.log_stretch(error))

    def log_stretch(self, error: np.ndarray) -> Float[np.ndarray, "star label"]:
        """ln (std / error) of stars that are near those of training."""
        at = np.clip(log_error(error), *self.error_range.T)
        return self.stretch[:, 0] + self.stretch[:, 1] * at


def log_error(error: np.ndarray) -> np.ndarray:
    """The logarithm, finite for any error that is a number."""
    return np.log(np.clip(error, 1e-30, 1e30))


def gaussian(a: Float[np.ndarray, "first feature"], b: Float[np.ndarray, "second feature"]) -> np.ndarray:
    """exp(−|a − b|² / 2), (first, second)."""
    square = np.sum(np.square(a), axis=1)[:, None] + np.sum(np.square(b), axis=1) - 2 * a @ b.T
    return np.exp(-0.5 * np.maximum(square, 0))
