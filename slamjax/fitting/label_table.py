"""The label table that a fit gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy import units as u
from astropy.table import QTable

from slamjax.spectra.spectra import Spectra
from slamjax.spectra.units import known_unit, with_unit

#: Columns of numbers that say which star it is.
_PLACES = ("ra", "dec")


def label_table(
    names: Sequence[str],
    units: Sequence[str],
    spectra: Spectra,
    *,
    labels: np.ndarray,
    covariance: np.ndarray,
    half95: np.ndarray,
    chi2: np.ndarray,
    n_pix: np.ndarray,
    snr: np.ndarray,
    n_iter: np.ndarray,
    flags: np.ndarray,
    noise_scale: np.ndarray,
    velocity: np.ndarray | None = None,
    nuisances: Mapping[str, np.ndarray] | None = None,
) -> QTable:
    """One row a star: where it came from, labels with errors and units, the quality of the fit, flags.

    Columns: ``row`` (0-based, in the input), the input's columns of words, integers and truths, its ``ra`` and ``dec``,
    ``rv`` and ``rv_err`` (km/s) as measured (``velocity``, (N, 2)) or as the input has them, then for each label
    <label>, <label>_err, <label>_err95 (half-width of the 95 % interval: more than 1.96 errors where held-out stars
    had heavier tails than a Gaussian) and, where the input has that label, <label>_ref; ``chi2``, ``n_pix``, ``snr``,
    ``n_iter``, ``flags``, ``noise_scale`` (the factor that this star's own Σ has over the noise model's) and ``cov``,
    the labels' covariance (L, L) in products of the labels' units. ``nuisances`` are columns behind those of the
    labels: velocities in km/s, the polynomial's coefficients.
    """
    table = QTable()
    table["row"] = spectra.rows
    for name, column in spectra.columns().items():
        if (
            name not in names
            and name not in (nuisances or {})
            and (column.dtype.kind in "iuSUb" or name in _PLACES)
            and name not in table.colnames
        ):
            table[name] = column
    known = spectra.columns()
    given = {*names, *(nuisances or {})}
    if velocity is None and "rv" in known and known["rv"].dtype.kind == "f" and "rv" not in given:
        unknown = np.full(len(spectra), np.nan)
        velocity = np.stack([known["rv"], known.get("rv_err", unknown)], axis=1)
    if velocity is not None:
        for k, name in enumerate(("rv", "rv_err")):
            table[name] = np.asarray(velocity[:, k], float) * u.km / u.s
    errors = np.sqrt(np.einsum("nll->nl", covariance))
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        table[name] = with_unit(labels[:, k], unit)
        table[f"{name}_err"] = with_unit(errors[:, k], unit)
        table[f"{name}_err95"] = with_unit(half95[:, k], unit)
        if name in known and known[name].dtype.kind in "iuf":
            table[f"{name}_ref"] = _reference(spectra, name, unit)
    for name, values in (nuisances or {}).items():
        table[name] = values if name == "polynomial" else values * (u.km / u.s)
    table["chi2"] = chi2
    table["n_pix"] = n_pix.astype(np.int32)
    table["snr"] = snr
    table["n_iter"] = n_iter.astype(np.int32)
    table["flags"] = flags.astype(np.int32)
    table["noise_scale"] = noise_scale
    table["cov"] = covariance
    table.meta["labels"] = ",".join(names)
    return table


def _reference(spectra: Spectra, name: str, unit: str) -> u.Quantity:
    """The input's own value of a label, in the model's unit: a table may state another, or none."""
    values = spectra.values(name)
    own, wanted = known_unit(spectra.table[name].unit), known_unit(unit)
    if own is not None and wanted is not None:
        values = np.asarray(own.to(wanted, values))
    return with_unit(values, unit)
