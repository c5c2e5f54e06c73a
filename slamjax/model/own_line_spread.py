"""Line spreads that spectra state one by one, as a model sees them: by how much each star's exceeds its own."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from slamjax._util.batching import map_padded
from slamjax._util.jit import compiled
from slamjax.forward.line_spread import LineSpreadGrid, neighbours_needed, sampled_sigma
from slamjax.model.info import ModelInfo
from slamjax.preprocessing.resolution import extra_sigma
from slamjax.spectra.spectra import Spectra
from slamjax.typing import AnyArray, Flux

#: Spectra that are convolved together: limits memory.
_BLOCK = 64
#: Spectra whose widths are looked at together.
_PREPARED = 1024


def own_sigma(info: ModelInfo, placed: Spectra) -> Float[np.ndarray, "star pixel"]:
    """(N, P) σ of the Gaussians by which predictions are convolved for each of these spectra on the model's pixels.

    σ² is what a spectrum's line spread exceeds the model's by; 0 where it does not, or where it is unknown.
    """
    if info.fwhm is None or not placed.has_own_line_spreads:
        return np.zeros(placed.flux.shape)
    return _sigma(info, placed)


def half_width(info: ModelInfo, spectra: Spectra) -> int:
    """Pixels on each side that the widest line spread of spectra reaches; 0 where these have none of their own."""
    if info.fwhm is None or not spectra.has_own_line_spreads:
        return 0
    blocks = (spectra[start : start + _PREPARED] for start in range(0, len(spectra), _PREPARED))
    return max((neighbours_needed(_sigma(info, some), info.wave) for some in blocks), default=0)


def _sigma(info: ModelInfo, spectra: Spectra) -> Float[np.ndarray, "star pixel"]:
    theirs = spectra.fwhm_at(info.wave, info.wave_unit)
    assert info.fwhm is not None
    assert theirs is not None
    return sampled_sigma(np.asarray(extra_sigma(info.fwhm, theirs)), info.wave)


def line_spread_grid(info: ModelInfo, trained: np.ndarray, n_neighbours: int, dtype: Any) -> LineSpreadGrid | None:
    """The neighbours of the model's pixels, on the device; None for none."""
    if n_neighbours == 0:
        return None
    return LineSpreadGrid.from_wavelengths(info.wave, trained, n_neighbours).on_device(dtype)


def as_seen(info: ModelInfo, trained: np.ndarray, placed: Spectra, flux: Flux) -> Float[AnyArray, "star pixel"]:
    """Predicted flux (N, P), convolved to the line spread of each of these spectra on the model's pixels."""
    sigma = own_sigma(info, placed)
    grid = line_spread_grid(info, trained, neighbours_needed(sigma, info.wave), jax.dtypes.canonicalize_dtype(float))
    return flux if grid is None else map_padded(partial(_convolved, grid), (np.asarray(flux), sigma), _BLOCK)


@compiled
def _convolved(grid: LineSpreadGrid, flux: Any, sigma: Any) -> Any:
    return jax.vmap(lambda one, width: grid.of_star(width)(one))(flux, sigma)


def with_line_spread_of(info: ModelInfo, spectra: Spectra) -> Spectra:
    """The spectra with the model's line spread in place of their own."""
    if info.fwhm is None:
        return spectra
    scale = spectra.wave_unit.to(info.wave_unit)
    at = np.interp(spectra.wave * scale, info.wave, np.broadcast_to(info.fwhm, info.wave.shape))
    return spectra.with_metadata(fwhm=at / scale)
