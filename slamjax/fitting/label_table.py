"""The label table of a fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy import units as u

from slamjax.fitting.postprocess import FitResult
from slamjax.forward.nuisances import UNITS
from slamjax.io.label_table import LabelTable
from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import known_unit, with_unit

#: Numeric columns that identify a star.
_COORDINATES = ("ra", "dec")


def label_table(names: Sequence[str], units: Sequence[str], spectra: Spectra, result: FitResult) -> LabelTable:
    """One row per star: identifiers, labels with errors and units, the quality of the fit, flags.

    Columns: ``row`` (0-based, in the input), the input's columns of strings, integers and booleans, its ``ra`` and
    ``dec``, ``rv`` and ``rv_err`` (km/s) as measured or as in the input, then for each label
    <label>, <label>_err, <label>_err68 and <label>_err95 (half-widths of the 68 and 95 % intervals: as many errors as
    held-out stars near in this label and its error showed), where they are wanted <label>_mean and <label>_std (of the
    posterior) and, where the input has that label, <label>_ref; the nuisances (velocities in km/s, extinction in mag,
    the polynomial's coefficients); ``chi2``, ``n_pix``, ``snr``, ``unlike`` (the fraction of stars like the training
    set whose spectra are at least as unlike it: small for odd stars), ``n_iter``, ``flags``, ``noise_scale`` (the
    factor by which this star's Σ exceeds the noise model's) and ``cov``, the labels' covariance (L, L) in products of
    the labels' units.
    """
    table = LabelTable()
    table["row"] = spectra.rows
    columns = spectra.columns()
    fitted = {*names, *result.nuisances}
    for name, column in columns.items():
        if name not in fitted and (column.dtype.kind in "iuSUb" or name in _COORDINATES) and name not in table.colnames:
            table[name] = column
    velocity = result.velocity
    if velocity is None and "rv" in columns and columns["rv"].dtype.kind == "f" and "rv" not in fitted:
        unknown = np.full(len(spectra), np.nan)
        velocity = np.stack([columns["rv"], columns.get("rv_err", unknown)], axis=1)
    if velocity is not None:
        for k, name in enumerate(("rv", "rv_err")):
            table[name] = np.asarray(velocity[:, k], float) * u.km / u.s
    errors = np.sqrt(np.einsum("nll->nl", result.covariance))
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        table[name] = with_unit(result.labels[:, k], unit)
        table[f"{name}_err"] = with_unit(errors[:, k], unit)
        for place, level in enumerate(("68", "95")):
            table[f"{name}_err{level}"] = with_unit(result.half_widths[:, place, k], unit)
        if result.mean is not None and result.std is not None:
            table[f"{name}_mean"] = with_unit(result.mean[:, k], unit)
            table[f"{name}_std"] = with_unit(result.std[:, k], unit)
        if name in columns and columns[name].dtype.kind in "iuf":
            table[f"{name}_ref"] = _reference(spectra, name, unit)
    for name, values in result.nuisances.items():
        table[name] = values if name == "polynomial" else with_unit(values, UNITS[name.removesuffix("_err")])
    table["chi2"] = result.chi2
    table["n_pix"] = result.n_pix.astype(np.int32)
    table["snr"] = np.asarray(result.snr, np.float32)
    table["unlike"] = np.full(len(spectra), np.nan) if result.unlike is None else result.unlike
    table["n_iter"] = result.n_iter.astype(np.int32)
    table["flags"] = result.flags.astype(np.int32)
    table["noise_scale"] = result.noise_scale
    table["cov"] = result.covariance
    table.meta["labels"] = ",".join(names)
    return table


def _reference(spectra: Spectra, name: str, unit: str) -> u.Quantity:
    """The input's value of a label, in the model's unit: a table may state another, or none."""
    values = spectra.values(name)
    stated, wanted = known_unit(spectra.table[name].unit), known_unit(unit)
    if stated is not None and wanted is not None:
        values = np.asarray(stated.to(wanted, values))
    return with_unit(values, unit)
