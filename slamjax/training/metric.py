"""The metric of the labels, shared by all pixels: the kernel is wide in labels that hardly bend the spectrum.

Length scales are proposed by marginal likelihood (`slamjax.training.length_scales`), which in noisy spectra may want
too smooth a kernel. What is taken is chosen by the labels of held-out stars, and no metric at all is always among the
candidates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from slamjax._util.threads import one_blas_thread
from slamjax.emulators.scaling import LabelScaling
from slamjax.errors import SlamError
from slamjax.training.data import ScaledStars
from slamjax.training.length_scales import inverse_length_scales


@dataclass(frozen=True, eq=False)
class Metric:
    """Factors (L,) of the scaled labels in the kernel, None for all ones; and where they are from."""

    name: str
    factors: Float[np.ndarray, " label"] | None

    def of(self, scaled: ScaledStars) -> ScaledStars:
        """The stars with this metric."""
        return dataclasses.replace(scaled, metric=self.factors)


ISOTROPIC = Metric("isotropic", None)


def given_metric(lengths: Sequence[float], names: Sequence[str], scaling: LabelScaling) -> Metric:
    """Of length scales in units of the labels (log10 of those that are learnt so)."""
    values = np.asarray(lengths, float)
    if values.shape != (len(names),):
        raise SlamError(f"metric has {values.size} length scales for the labels {', '.join(names)}; give one for each")
    return Metric("given", _exact(np.asarray(scaling.width, float) / values))


def proposed_metrics(scaled: ScaledStars, seed: int) -> list[Metric]:
    """No metric, and a learnt one.

    Length scales are taken relative to each other, so that γ keeps its meaning. With the width of the Gaussian process,
    too, kernels of noisy spectra may become narrower than the user wants: known labels of held-out stars, whose fits
    start near them, are then more probable, but more fits of new stars end in other minima.
    """
    with one_blas_thread():
        inverse = inverse_length_scales(scaled.x, _in_noise(scaled), seed)
    return [ISOTROPIC, Metric("learned", _exact(inverse / np.sqrt(np.mean(np.square(inverse)))))]


def _in_noise(scaled: ScaledStars) -> np.ndarray:
    """(N, P) deviations from the mean flux in units of the typical photon noise; without errors, in those of flux."""
    flux = scaled.y * scaled.flux_scale
    known = (scaled.ivar > 0) & np.isfinite(scaled.ivar)
    pixels = known.any(axis=0)
    if not pixels.any():
        return flux
    weight = np.zeros(flux.shape[1])
    weight[pixels] = np.sqrt(np.nanmedian(np.where(known, scaled.ivar, np.nan)[:, pixels], axis=0))
    return flux * weight


def _exact(factors: np.ndarray) -> np.ndarray:
    """Numbers that a float32 holds exactly: the same kernel in either precision."""
    return factors.astype(np.float32).astype(float)
