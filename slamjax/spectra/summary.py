"""Spectra in words."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u

from slamjax._util.cards import shortened
from slamjax.spectra.flux_units import describe_flux_unit
from slamjax.spectra.line_spread import describe_fwhm

#: Columns whose ranges are told.
_RANGES = 10


def spectra_facts(spectra: Any) -> dict[str, str]:
    """What `Spectra` are and what their table says, by topic."""
    facts = {"from": spectra.source + (f", {spectra.selection}" if spectra.selection else "")}
    facts["wavelengths"] = _wavelengths(spectra)
    if len(spectra) == 0:
        return facts | {"columns": shortened(spectra.table.colnames, 40) or "none"}
    facts["flux"] = describe_flux_unit(spectra.flux_unit)
    facts["errors"] = _errors(spectra) + ("" if spectra.covariance is None else "; covariances between pixels")
    bad = ~spectra.good
    empty = int(bad.all(axis=1).sum())
    facts["bad pixels"] = f"{100 * bad.mean():.2g} %" + (f"; {empty} spectra without a good pixel" if empty else "")
    ranges = _ranges(spectra)
    if ranges:
        facts["ranges"] = shortened(ranges, _RANGES)
    facts["columns"] = shortened(spectra.table.colnames, 40) or "none"
    return facts


def spectra_title(spectra: Any) -> str:
    """What they are, in a line."""
    n, n_pix = spectra.flux.shape
    return f"{n} spectr{'um' if n == 1 else 'a'} of {n_pix} pixel{'' if n_pix == 1 else 's'}"


def _wavelengths(spectra: Any) -> str:
    wave, unit = spectra.wave, spectra.wave_unit
    if not wave.size:
        return "none"
    if unit == u.pix:
        return f"none: pixels are numbers {wave[0]:g} to {wave[-1]:g}, such as those of coefficients"
    width = "line spread unknown" if spectra.fwhm is None else f"FWHM {describe_fwhm(spectra.fwhm)} {unit}"
    medium = "unknown medium" if spectra.medium == "unknown" else spectra.medium
    return f"{wave[0]:g} to {wave[-1]:g} {unit}, {medium}, {spectra.frame} frame, {width}"


def _errors(spectra: Any) -> str:
    if not spectra.has_errors:
        return "not stated"
    snr = spectra.snr()
    snr = snr[np.isfinite(snr)]
    if snr.size == 0:
        return "stated"
    if snr.size == 1:
        return f"stated; S/N per pixel {snr[0]:.3g}"
    low, middle, high = np.percentile(snr, [16, 50, 84])
    return f"stated; median S/N per pixel {middle:.3g} (68 % of the spectra: {low:.3g} to {high:.3g})"


def _ranges(spectra: Any) -> list[str]:
    """Smallest and largest value of every column of real numbers but errors, with the number of unknown ones."""
    ranges = []
    for name, values in spectra.columns().items():
        if values.dtype.kind != "f" or name.endswith("_err"):
            continue
        known = values[np.isfinite(values)]
        if known.size == 0:
            continue
        unit = spectra.table[name].unit
        low, high = f"{known.min():.5g}", f"{known.max():.5g}"
        text = f"{name} {low if low == high else f'{low} to {high}'}" + (f" {unit}" if unit else "")
        unknown = len(values) - known.size
        ranges.append(text + (f" ({unknown} unknown)" if unknown else ""))
    return ranges
