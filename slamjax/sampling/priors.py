"""Priors made from a model: its training range, the density of its training stars, labels known from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpyro.distributions as dist
from scipy.cluster.vq import kmeans2

from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError
from slamjax.model.known_labels import known_labels
from slamjax.model.model import Model
from slamjax.sampling.distributions import LabelNormal, Product, TrainingDensity, TrainingRange

#: `TrainingRange` counts nearby stars among at most this many points, each of which stands for several stars.
_MAX_POINTS = 384


def training_range(model: Model, *, edge: float = 0.02, reach: bool = True) -> TrainingRange:
    """Uniform in the scaled labels within the training range, with soft edges: the default of `slamjax.sample`.

    Parameters
    ----------
    model : Model
    edge : float
        Standard deviation of the Gaussian fall-off outside, as a fraction of each label's range.
    reach : bool
        Also fall off where no training stars are near; False keeps the whole box.

    Returns
    -------
    TrainingRange
        Event shape (L,), batch shape ().

    Raises
    ------
    SlamError
        If ``edge`` is not positive.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stars = stars[:100].on_pixels(slice(100, 105))
    >>> model = slamjax.train(stars, ["teff", "logg"], emulator=slamjax.Polynomial(), noise="diagonal")
    >>> prior = slamjax.sampling.training_range(model)
    >>> inside, outside = prior.log_prob([[4500.0, 2.3], [9000.0, 2.3]])
    >>> bool(inside > outside + 100)
    True
    """
    if not edge > 0:
        raise SlamError(f"edge is {edge}; give more than 0")
    training_labels = model.training_labels
    low, high = np.asarray(training_labels.low), np.asarray(training_labels.high)
    points, log_weight = _merge_neighbours(training_labels) if reach else (None, 0.0)
    scaling, distance = model.host_emulator.scaling, float(training_labels.max_distance)
    metric = training_labels.metric
    return TrainingRange(scaling, low, high, edge * (high - low), points, log_weight, distance, metric)


def _merge_neighbours(training_labels: TrainingLabels) -> tuple[np.ndarray, np.ndarray]:
    """At most `_MAX_POINTS` points that stand for all stars, and ln of the number of stars of each.

    Neighbours are merged by k-means, isolated stars remain: the prior must not cost more than the likelihood.
    """
    stars = np.asarray(training_labels.stars)
    if len(stars) <= _MAX_POINTS:
        return stars, np.zeros(len(stars))
    metric = training_labels.factors
    centers, cluster = kmeans2(stars * metric, _MAX_POINTS, minit="++", seed=np.random.default_rng(0))
    count = np.bincount(cluster, minlength=_MAX_POINTS)
    return centers[count > 0] / metric, np.log(count[count > 0])


def training_density(model: Model, *, width: float = 1.0) -> TrainingDensity:
    """The smoothed density of the training labels, for stars drawn like the training stars.

    Parameters
    ----------
    model : Model
    width : float
        Factor of the smoothing length.

    Returns
    -------
    TrainingDensity
        Event shape (L,), batch shape ().

    Raises
    ------
    SlamError
        If ``width`` is not positive.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stars = stars[:100].on_pixels(slice(100, 105))
    >>> model = slamjax.train(stars, ["teff", "logg"], emulator=slamjax.Polynomial(), noise="diagonal")
    >>> prior = slamjax.sampling.training_density(model)
    >>> giant, dwarf = prior.log_prob([[4500.0, 2.3], [4500.0, 4.6]])
    >>> bool(giant > dwarf)
    True
    """
    if not width > 0:
        raise SlamError(f"width is {width}; give more than 0")
    return TrainingDensity(model.host_emulator.scaling, np.asarray(model.training_labels.stars), width)


def known(model: Model, labels: Mapping[str, Any]) -> LabelNormal:
    """Independent Gaussians for labels that are known from elsewhere; the other labels stay unconstrained.

    Parameters
    ----------
    model : Model
    labels : mapping of label to (value, error)
        Numbers, arrays of N stars or Quantities. NaN, or an error that is not finite, leaves the label of that star
        unconstrained.

    Returns
    -------
    LabelNormal
        Event shape (L,), batch shape () or (N,).

    Raises
    ------
    SlamError
        For a name that is not a label of the model, a unit that cannot be converted, or an error that is not positive.

    Warns
    -----
    SlamWarning
        Of values more than three errors outside the training range.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stars = stars[:100].on_pixels(slice(100, 105))
    >>> model = slamjax.train(stars, ["teff", "logg"], emulator=slamjax.Polynomial(), noise="diagonal")
    >>> prior = slamjax.sampling.known(model, {"teff": ([4500.0, 4800.0], 100.0)})
    >>> prior.batch_shape, prior.event_shape
    ((2,), (2,))
    """
    return LabelNormal(*known_labels(model, labels))


def normal(model: Model, labels: Mapping[str, Any], base: dist.Distribution | None = None) -> Product:
    """``base`` times the Gaussians of `known`.

    Parameters
    ----------
    model : Model
    labels : mapping of label to (value, error)
        As of `known`.
    base : NumPyro distribution, optional
        Of event shape (L,); `training_range` by default.

    Returns
    -------
    Product

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> stars = stars[:100].on_pixels(slice(100, 105))
    >>> model = slamjax.train(stars, ["teff", "logg"], emulator=slamjax.Polynomial(), noise="diagonal")
    >>> prior = slamjax.sampling.normal(model, {"logg": (2.5, 0.1)})
    >>> prior.event_shape
    (2,)
    """
    return Product(training_range(model) if base is None else base, known(model, labels))
