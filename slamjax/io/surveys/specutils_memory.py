"""Spectra that another package has in memory: specutils' ``Spectrum``, ``SpectrumList``, ``SpectrumCollection``.

Recognised by what they have (``spectral_axis``, ``flux``, ``uncertainty``, ``mask``, ``meta``), so that nothing
of specutils is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance

from slamjax.errors import SlamError
from slamjax.io.surveys.base import SurveySpectra, known, masked, piece, plain
from slamjax.spectra.spectra import Frame, Medium
from slamjax.spectra.wavelengths import to_vacuum

#: Facts, and the keys of ``meta`` and its header under which they are looked for.
_KEYS = {
    "id": ("id", "objid", "obj", "desig", "name"),
    "ra": ("ra", "plug_ra"),
    "dec": ("dec", "plug_dec"),
    "snr": ("snr",),
    "rv": ("rv", "vhelio"),
    "rv_err": ("rv_err", "verr"),
    "mjd": ("mjd",),
}
#: FITS's names of spectral axes that say where wavelengths are measured (Greisen et al. 2006).
_MEDIA = {"WAVE": "vacuum", "AWAV": "air"}


def is_spectrum(thing: Any) -> bool:
    """Whether a thing looks like a spectrum, or some on one array."""
    return hasattr(thing, "spectral_axis") and hasattr(thing, "flux")


def spectra_of(thing: Any) -> list[Any]:
    """A collection's spectra one by one where they have wavelengths of their own, else itself."""
    axis = np.atleast_2d(thing.spectral_axis.value)
    return [thing] if np.all(axis == axis[0]) else [thing[row] for row in range(len(axis))]


def name_of(thing: Any, number: int) -> str:
    """What the table calls it."""
    meta = _meta(thing)
    return str(meta.get("filename") or meta.get("name") or f"spectrum {number}")


def load(thing: Any) -> SurveySpectra:
    """Its spectra, rows of ``flux``; wavelengths of any spectral unit, in whatever order.

    Where wavelengths are measured, and in which frame, is what ``meta`` says ("medium": air or vacuum; "frame": rest or
    observed) or the FITS axis; else it is not known. Air ones are made vacuum. Without ``uncertainty`` errors are
    unstated.
    """
    axis = thing.spectral_axis
    wave = np.asarray(u.Quantity(np.atleast_2d(axis.value)[0], axis.unit).to_value(u.AA, u.spectral()), float)
    flux = np.asarray(thing.flux.value, float)
    index = getattr(thing, "spectral_axis_index", None)
    last = flux.ndim - 1 if index is None else index

    def rows(values: Any) -> np.ndarray:
        return np.moveaxis(np.broadcast_to(np.asarray(values), flux.shape), last, -1).reshape(-1, len(wave))

    ivar, facts = rows(_ivar(thing)), _facts(thing)
    if getattr(thing, "mask", None) is not None:
        stated = np.isfinite(ivar)
        left, ignored = masked(rows(thing.mask).astype(int), np.where(stated, ivar, 1), {"masked": 0})
        ivar, facts["mask_ignored"] = np.where((left > 0) & ~stated, ivar, left), ignored
    medium = _medium(thing)
    if medium == "air":
        wave, medium = to_vacuum(wave), "vacuum"
    order = np.argsort(wave)
    length = axis.unit.physical_type == "length"
    return piece(
        wave[order], rows(flux)[:, order], ivar[:, order], "specutils", _frame(thing), facts,
        medium=medium, unit=str(axis.unit) if length else "Angstrom",
    )  # fmt: skip


def _ivar(thing: Any) -> Any:
    """Inverse variances in the flux's unit; infinite where none are stated."""
    if getattr(thing, "uncertainty", None) is None:
        return np.inf
    try:
        found = thing.uncertainty.represent_as(InverseVariance)
    except (TypeError, AttributeError, ValueError) as error:
        raise SlamError(f"has an uncertainty that does not say what it is ({error}); make it a StdDev") from error
    with np.errstate(divide="ignore"):
        ivar = np.asarray(found.array, float)
    if found.unit is not None and thing.flux.unit is not None:
        ivar = ivar * found.unit.to(1 / thing.flux.unit**2)
    return np.where(np.isfinite(ivar), ivar, 0)


def _meta(thing: Any) -> Mapping[str, Any]:
    meta = getattr(thing, "meta", None)
    return meta if isinstance(meta, Mapping) else {}


def _facts(thing: Any) -> dict[str, Any]:
    """Single values of ``meta``, and of the header that loaders of specutils put there."""
    said: dict[str, Any] = {}
    for source in (_meta(thing).get("header"), _meta(thing)):
        if source is not None and hasattr(source, "items"):
            said |= {str(key).lower(): getattr(value, "value", value) for key, value in source.items()}
    found = {}
    for fact, keys in _KEYS.items():
        values = [plain(said[key]) for key in keys if isinstance(said.get(key), (str, int, float, np.generic))]
        if values:
            found[fact] = str(values[0]) if fact == "id" else values[0]
    return known(found)


def _medium(thing: Any) -> Medium:
    stated = str(_meta(thing).get("medium", "")).lower()
    if stated in ("air", "vacuum"):
        return cast(Medium, stated)
    ctype = getattr(getattr(getattr(thing, "wcs", None), "wcs", None), "ctype", [""])
    return cast(Medium, _MEDIA.get(str(ctype[0])[:4], "unknown"))


def _frame(thing: Any) -> Frame:
    stated = str(_meta(thing).get("frame", "")).lower()
    return cast(Frame, stated if stated in ("rest", "observed") else "unknown")
