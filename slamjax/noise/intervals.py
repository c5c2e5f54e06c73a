"""Local intervals of labels: how many errors hold 68 and 95 % of known labels of held-out stars like a new one.

Conformal prediction (Vovk, Gammerman & Shafer 2005) with scores |known − fitted| / error, made local by weights (Guan
2023, Biometrika 110, 33): a label's scores count by how near their stars are in this label, then in its stated error,
which follows S/N and place.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

#: Probabilities of the intervals, and half-widths of a Gaussian's, in standard deviations.
LEVELS = (0.68, 0.95)
GAUSSIAN = (0.994457883209753, 1.959963984540054)
#: The 95 % interval is at least so many times as wide as that of 68 %.
_LEAST_RATIO = 1.05


@dataclass(frozen=True, eq=False)
class LocalIntervals:
    """Half-widths of central intervals, in errors, as smooth functions of each label and its stated error.

    The logarithm of a half-width is that of all stars and two terms, which are linear between G knots and constant
    beyond them: one of the label, scaled, and one of the logarithm of its error. Where few held-out stars were near,
    or showed no difference, a term is 0.

    Attributes
    ----------
    marginal : logarithms of half-widths for 68 and for 95 %
    knots : of label and logarithm of error, rising
    terms : of label and error, for 68 and for 95 %

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax.noise.intervals import LocalIntervals
    >>> one = LocalIntervals.everywhere(np.array([[1.0, 2.2]]))
    >>> one.half_widths(np.zeros((3, 1)), np.ones((3, 1)))[0].round(1)
    array([[1. ],
           [2.2]])
    """

    marginal: Float[np.ndarray, "label 2"]
    knots: Float[np.ndarray, "label 2 knot"]
    terms: Float[np.ndarray, "label 2 2 knot"]

    def __eq__(self, other: object) -> bool:
        """Whether all numbers are the same."""
        if not isinstance(other, LocalIntervals):
            return NotImplemented
        return all(np.array_equal(getattr(self, each.name), getattr(other, each.name)) for each in fields(self))

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def everywhere(cls, half: Float[np.ndarray, "label 2"]) -> LocalIntervals:
        """The same half-widths for all stars."""
        n_labels = len(half)
        return cls(np.log(half), np.zeros((n_labels, 2, 1)), np.zeros((n_labels, 2, 2, 1)))

    def half_widths(
        self, x: Float[np.ndarray, "star label"], error: Float[np.ndarray, "star label"]
    ) -> Float[np.ndarray, "star 2 label"]:
        """In errors, for 68 and for 95 %, of fits with scaled labels x and their stated errors, scaled too."""
        found = np.zeros((len(x), 2, x.shape[1]))
        for label, marginal in enumerate(self.marginal):
            place = coordinates(x[:, label], error[:, label])
            found[..., label] = marginal
            for at, knots, terms in zip(place, self.knots[label], self.terms[label], strict=True):
                found[..., label] += interpolated(at, knots, terms)
        half = np.exp(found)
        half[:, 1] = np.maximum(half[:, 1], _LEAST_RATIO * half[:, 0])
        return half


def coordinates(x: np.ndarray, error: np.ndarray) -> Float[np.ndarray, "2 star"]:
    """A label, scaled, and the logarithm of its error, of stars (N,)."""
    return np.stack([x, np.log(np.maximum(error, 1e-30))])


def interpolated(at: np.ndarray, knots: np.ndarray, terms: np.ndarray) -> Float[np.ndarray, "star 2"]:
    """Terms (2, G) at coordinates (N,); those in the middle where the coordinate is unknown."""
    known = np.where(np.isnan(at), knots[len(knots) // 2], at)
    return np.stack([np.interp(known, knots, each) for each in terms], axis=-1)
