"""The Cramér-Rao bound: the best precision of labels that a spectrum allows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax._util.progress import reporter
from slamjax.fitting.covariance import covariances
from slamjax.forward.scaled import ScaledModel
from slamjax.model.model import Model
from slamjax.model.named_labels import LabelsLike
from slamjax.typing import Progress
from slamjax.validation.simulation import checked_ivar, checked_labels

#: Stars per batch.
_BATCH = 256


def crlb(
    model: Model, labels: LabelsLike, ivar: np.ndarray, *, on_progress: Progress | bool | None = True
) -> np.ndarray:
    """Cramér-Rao bound C = (J Σ⁻¹ Jᵀ)⁻¹: no unbiased estimate has a smaller covariance (Cramér 1946; Rao 1945).

    Σ, photon noise plus model error, does not depend on labels, so that J Σ⁻¹ Jᵀ is the whole Fisher information. Use
    the bound to plan observations (which S/N, which pixels), or to see how efficient a fit is.

    Parameters
    ----------
    model : Model
    labels : (N, L) or (L,) array, mapping, or table
        In physical units: in the order of ``model.label_names``, by name, or as columns.
    ivar : (N, P) or (P,) array
        Inverse photon variance of the prepared flux on the model's grid, as ``model.prepare(stars).ivar``; 0 for
        pixels that are not observed.
    on_progress : callable or bool
        Called with (stars done, stars in all). By default a line in terminals and notebooks; False for none.

    Returns
    -------
    (N, L, L) array, or (L, L) for the labels of one star
        In products of the labels' units. A label that is not constrained within the training range has an infinite
        variance and NaN covariances, as in the table of a fit.

    Raises
    ------
    SlamError
        For labels or ivar of a wrong shape, or that are not finite or negative.

    Warns
    -----
    SlamWarning
        Of labels outside the training range.

    Examples
    --------
    >>> import numpy as np
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(510, 530), wave_unit="nm", continuum="gaussian:50nm")
    >>> quadratic = slamjax.Polynomial()
    >>> model = slamjax.train(stars[:80], ["teff", "logg"], emulator=quadratic, recipe=recipe, noise="diagonal")
    >>> bright, faint = (slamjax.crlb(model, {"teff": 4800.0, "logg": 2.5}, np.full(11, ivar)) for ivar in (1e6, 1e4))
    >>> bool(np.all(np.diag(bright) < np.diag(faint)))
    True
    """
    given = checked_labels(model, labels)
    points = np.atleast_2d(given)
    n = len(points)
    scaled = model.scaled()
    scaling = model.host_emulator.scaling
    x = np.asarray(scaling(points))
    weights = scaled.ivar(np.where(model.trained, checked_ivar(model, ivar, n), 0))
    stars = (x.astype(scaled.dtype), weights)
    with reporter(on_progress) as report:
        report.stage("computing bounds")
        fisher = map_padded(lambda *block: _fisher(scaled, *block), stars, min(n, _BATCH), report=report)
    fisher = fisher.astype(float)
    covariance, _ = covariances(fisher, np.asarray(model.training_labels.high) - np.asarray(model.training_labels.low))
    slope = np.asarray(scaling.slope(x))
    covariance = covariance * slope[:, :, None] * slope[:, None, :]
    return covariance if given.ndim == 2 else covariance[0]


@compiled
def _fisher(scaled: ScaledModel, x: jax.Array, ivar: jax.Array) -> jax.Array:
    # the residual's row of the Gram matrix is not needed: its flux is the model's
    return scaled.emulator.information(scaled.noise.inverse_covariance(ivar), x, jnp.zeros((), x.dtype))[:, 1:, 1:]
