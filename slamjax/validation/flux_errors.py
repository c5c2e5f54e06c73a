"""Errors of predicted flux at the known labels of held-out stars, pixel by pixel."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from astropy.table import Table
from scipy.stats import median_abs_deviation

from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra


def flux_residuals(model: Model, spectra: Spectra) -> np.ndarray:
    """(N, P) prepared flux minus the prediction at the known labels, NaN where there is none."""
    prepared = model.prepare(spectra)
    predicted = np.asarray(model.emulator(spectra.values(model.label_names)), float)
    return np.where(prepared.good & model.trained, prepared.flux - predicted, np.nan)


def flux_table(model: Model, spectra: Spectra, residuals: Mapping[str, np.ndarray]) -> Table:
    """How far predictions are from held-out flux, one row per pixel, in units of prepared flux.

    Columns: ``wave``, ``n`` good stars, ``spread`` (robust width of the flux of all stars), ``photon`` (median stated
    error; NaN where none is stated), and for each emulator ``_rms`` (root mean square residual) and ``_scatter``
    (1.4826 MAD).
    """
    prepared = model.prepare(spectra)
    good = prepared.good
    with np.errstate(divide="ignore"):
        error = np.where(good & np.isfinite(prepared.ivar), 1 / np.sqrt(prepared.ivar.astype(float)), np.nan)
    table = Table({"wave": model.wave, "n": good.sum(axis=0)})
    table["spread"] = _width(np.where(good, prepared.flux, np.nan).astype(float))
    with warnings.catch_warnings():
        # pixels without any star are NaN
        warnings.filterwarnings("ignore", "All-NaN slice|Mean of empty slice", RuntimeWarning)
        table["photon"] = np.nanmedian(error, axis=0)
        for name, residual in residuals.items():
            table[f"{name}_rms"] = np.sqrt(np.nanmean(np.square(residual), axis=0))
            table[f"{name}_scatter"] = _width(residual)
    table["wave"].unit = model.info.wave_unit
    return table


def _width(values: np.ndarray) -> np.ndarray:
    return median_abs_deviation(values, axis=0, scale="normal", nan_policy="omit")
