"""Spectra of specutils in memory: ``Spectrum``, ``SpectrumList``, ``SpectrumCollection``.

They are recognised by their attributes (``spectral_axis``, ``flux``, ``uncertainty``, ``mask``, ``meta``), so specutils
is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance

from slamjax.errors import SlamError
from slamjax.io.surveys.base import SurveySpectra, apply_mask, drop_unknown, python_value, survey_spectra
from slamjax.spectra.spectra import Frame, Medium
from slamjax.spectra.wavelengths import to_vacuum

#: Names of metadata, and the keys of ``meta`` and its header in which they are looked for.
_KEYS = {
    "id": ("id", "objid", "obj", "desig", "name"),
    "ra": ("ra", "plug_ra"),
    "dec": ("dec", "plug_dec"),
    "snr": ("snr",),
    "rv": ("rv", "vhelio"),
    "rv_err": ("rv_err", "verr"),
    "mjd": ("mjd",),
}
#: Media of the FITS names of spectral axes (Greisen et al. 2006).
_MEDIA = {"WAVE": "vacuum", "AWAV": "air"}


def is_spectrum(thing: Any) -> bool:
    """Whether an object looks like a spectrum, or several in one array."""
    return hasattr(thing, "spectral_axis") and hasattr(thing, "flux")


def split(spectrum: Any) -> list[Any]:
    """A collection's spectra one by one if they have different wavelengths, else the collection itself."""
    axis = np.atleast_2d(spectrum.spectral_axis.value)
    return [spectrum] if np.all(axis == axis[0]) else [spectrum[row] for row in range(len(axis))]


def name_of(spectrum: Any, number: int) -> str:
    """The spectrum's name in the column "file" of the table."""
    meta = _meta(spectrum)
    return str(meta.get("filename") or meta.get("name") or f"spectrum {number}")


def load(spectrum: Any) -> SurveySpectra:
    """Spectra of an object, one per row of ``flux``; wavelengths in any spectral unit and order.

    Medium ("air" or "vacuum") and frame ("rest" or "observed") are taken from ``meta``, the medium also from the FITS
    axis; otherwise they are unknown. Air wavelengths are converted to vacuum. Without ``uncertainty`` no errors are
    known.
    """
    axis = spectrum.spectral_axis
    unit = u.AA if axis.unit == u.A else axis.unit  # what astropy makes of a file's "A"
    wave = np.asarray(u.Quantity(np.atleast_2d(axis.value)[0], unit).to_value(u.AA, u.spectral()), float)
    flux = np.asarray(spectrum.flux.value, float)
    index = getattr(spectrum, "spectral_axis_index", None)
    last = flux.ndim - 1 if index is None else index

    def as_rows(values: Any) -> np.ndarray:
        return np.moveaxis(np.broadcast_to(np.asarray(values), flux.shape), last, -1).reshape(-1, len(wave))

    ivar, metadata = as_rows(_ivar(spectrum)), _metadata(spectrum)
    if getattr(spectrum, "mask", None) is not None:
        known = np.isfinite(ivar)
        unmasked, ignored = apply_mask(as_rows(spectrum.mask).astype(int), np.where(known, ivar, 1), {"masked": 0})
        ivar, metadata["mask_ignored"] = np.where((unmasked > 0) & ~known, ivar, unmasked), ignored
    medium = _medium(spectrum)
    if medium == "air":
        wave, medium = to_vacuum(wave), "vacuum"
    order = np.argsort(wave)
    is_length = unit.physical_type == "length"
    return survey_spectra(
        wave[order], as_rows(flux)[:, order], ivar[:, order], "specutils", _frame(spectrum), metadata,
        medium=medium, unit=str(unit) if is_length else "Angstrom", flux_unit=_flux_unit(spectrum),
    )  # fmt: skip


def _flux_unit(spectrum: Any) -> u.UnitBase | None:
    """Its flux always has a unit: that of a flux whose unit is not known is dimensionless."""
    unit = getattr(spectrum.flux, "unit", None)
    return None if unit == u.dimensionless_unscaled else unit


def _ivar(spectrum: Any) -> Any:
    """Inverse variances in the unit of the flux; infinite if there is no uncertainty."""
    if getattr(spectrum, "uncertainty", None) is None:
        return np.inf
    try:
        inverse = spectrum.uncertainty.represent_as(InverseVariance)
    except (TypeError, AttributeError, ValueError) as error:
        raise SlamError(f"has an uncertainty of unknown type ({error}); make it a StdDevUncertainty") from error
    with np.errstate(divide="ignore"):
        ivar = np.asarray(inverse.array, float)
    if inverse.unit is not None and spectrum.flux.unit is not None:
        ivar = ivar * inverse.unit.to(1 / spectrum.flux.unit**2)
    return np.where(np.isfinite(ivar), ivar, 0)


def _meta(spectrum: Any) -> Mapping[str, Any]:
    meta = getattr(spectrum, "meta", None)
    return meta if isinstance(meta, Mapping) else {}


def _metadata(spectrum: Any) -> dict[str, Any]:
    """Single values of ``meta`` and of the header that specutils' loaders put there."""
    given: dict[str, Any] = {}
    for source in (_meta(spectrum).get("header"), _meta(spectrum)):
        if source is not None and hasattr(source, "items"):
            given |= {str(key).lower(): getattr(value, "value", value) for key, value in source.items()}
    metadata = {}
    for name, keys in _KEYS.items():
        values = [python_value(given[key]) for key in keys if isinstance(given.get(key), (str, int, float, np.generic))]
        if values:
            metadata[name] = str(values[0]) if name == "id" else values[0]
    return drop_unknown(metadata)


def _medium(spectrum: Any) -> Medium:
    stated = str(_meta(spectrum).get("medium", "")).lower()
    if stated in ("air", "vacuum"):
        return cast(Medium, stated)
    ctype = getattr(getattr(getattr(spectrum, "wcs", None), "wcs", None), "ctype", [""])
    return cast(Medium, _MEDIA.get(str(ctype[0])[:4], "unknown"))


def _frame(spectrum: Any) -> Frame:
    stated = str(_meta(spectrum).get("frame", "")).lower()
    return cast(Frame, stated if stated in ("rest", "observed") else "unknown")
