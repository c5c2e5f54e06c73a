"""Labels of the training stars: the range that is searched, and where the emulator extrapolates."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.spatial import cKDTree

from slamjax.typing import AnyArray, ScaledLabels

#: A point is judged by its distance to this nearest training star, so that a single outlier does not matter.
NEIGHBOUR = 5
#: How sparse training stars are near a point is measured by the distance to this one.
SPACING_NEIGHBOUR = 10
#: ``max_distance``: this percentile of the distances between training stars, times this factor.
REACH_PERCENTILE, REACH_FACTOR = 99.0, 1.2


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TrainingLabels:
    """Scaled labels of the training stars, their box, and the largest distance to them that is not extrapolation.

    An RBF expansion relaxes to its intercept away from the training stars, where χ² becomes flat: the fit is kept
    inside the box, and points without training stars nearby are flagged. A box alone would not do: labels of stars lie
    on thin sheets (the giant branch), and most of the box is empty.

    Attributes
    ----------
    stars : (N, L) scaled labels of the training stars
    low, high : (L,) their minima and maxima
    max_distance : largest distance, in scaled labels, to the 5th nearest training star that is not extrapolation
    metric : (L,) factors of the scaled labels in distances, those of the kernel; None: all ones

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.emulators import TrainingLabels
    >>> stars = np.random.default_rng(0).normal(size=(100, 2))
    >>> TrainingLabels.from_scaled(stars).outside(np.array([[0.0, 0.0], [9.0, 9.0]])).tolist()
    [False, True]
    """

    stars: Float[AnyArray, "support label"]
    low: Float[AnyArray, " label"]
    high: Float[AnyArray, " label"]
    max_distance: Float[AnyArray, ""]
    metric: Float[AnyArray, " label"] | None = None

    @property
    def factors(self) -> Float[np.ndarray, " label"]:
        """The metric on the host, with ones where there is none."""
        return np.ones(np.shape(self.low)) if self.metric is None else np.asarray(self.metric, float)

    def outside(self, x: ScaledLabels) -> Bool[Array, "*batch"]:
        """(...) bool: fewer than five training stars lie within ``max_distance`` of x (..., L)."""
        x, stars = (each if self.metric is None else each * self.metric for each in (x, self.stars))
        square = reduce(operator.add, (jnp.square(x[..., k, None] - stars[:, k]) for k in range(stars.shape[-1])))
        within = jnp.sum(square <= jnp.square(self.max_distance), axis=-1)
        return within < min(NEIGHBOUR, self.stars.shape[0])

    def outside_on_host(self, x: np.ndarray) -> np.ndarray:
        """`outside` for NumPy points (N, L), without a program for every N; a NaN point is outside."""
        return ~(self.neighbour_distance(x, NEIGHBOUR) <= np.asarray(self.max_distance, float))

    def neighbour_distance(self, x: np.ndarray, neighbour: int = SPACING_NEIGHBOUR) -> np.ndarray:
        """(N,) distance of x (N, L) to the tenth, or another, nearest training star; on the host. NaN for NaN."""
        stars, x = np.asarray(self.stars, float) * self.factors, x * self.factors
        known = np.all(np.isfinite(x), axis=1)
        distance = np.full(len(x), np.nan)
        if known.any():
            k = min(neighbour, len(stars))
            distance[known] = cKDTree(stars).query(x[known], k=[k])[0][:, 0]
        return distance

    @classmethod
    def from_scaled(cls, stars: np.ndarray, metric: np.ndarray | None = None) -> TrainingLabels:
        """From scaled training labels (N, L)."""
        n = len(stars)
        neighbour = min(NEIGHBOUR, n - 1)
        measured = stars if metric is None else stars * metric
        distance = cKDTree(measured).query(measured, k=neighbour + 1)[0][:, -1]
        reach = REACH_FACTOR * np.percentile(distance, REACH_PERCENTILE)
        return cls(np.asarray(stars, float), stars.min(axis=0), stars.max(axis=0), np.asarray(reach, float), metric)

    def on_device(self) -> TrainingLabels:
        return jax.tree_util.tree_map(jnp.asarray, self)


def far_apart(
    points: Float[np.ndarray, "n label"], count: int, about: Float[np.ndarray, " label"] | None = None
) -> Int[np.ndarray, " row"]:
    """Rows of at most ``count`` points, each the farthest from those before it; the first is nearest to ``about``.

    ``about`` is the median by default.
    """
    points = np.asarray(points, float)
    center = np.median(points, axis=0) if about is None else about
    rows = [int(np.argmin(np.square(points - center).sum(axis=1)))]
    nearest = np.full(len(points), np.inf)
    while len(rows) < min(count, len(points)):
        nearest = np.minimum(nearest, np.square(points - points[rows[-1]]).sum(axis=1))
        rows.append(int(np.argmax(nearest)))
    return np.array(rows)
