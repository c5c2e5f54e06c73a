"""Spectra as a survey's file has them, and what the loaders of all surveys share.

A loader takes an open FITS file and gives a `SurveySpectra`: wavelengths in Å, vacuum, barycentric or in the star's
frame; flux; ivar, 0 at masked pixels; and the metadata of each spectrum under one name for all surveys. Values that a
survey writes for "not known" (-9999) are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.fits_columns import read_columns
from slamjax.spectra.spectra import Frame, Medium

#: A mask that leaves less than this part of the pixels with errors is not believed: the spectrum keeps its ivar.
LEAST_LEFT = 0.1
_UNKNOWN = (-9999.0, -999.0)


@dataclass(frozen=True)
class SurveySpectra:
    """N spectra on one grid: wave (P,) in Å, rising; flux and ivar (N, P).

    ``facts`` has a value for all of them, or N values, under each name; "problem" says why a spectrum is not to be
    used, "mask_ignored" whose mask was not believed. ``unit`` is that of the wavelengths as users know them.
    """

    wave: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    survey: str
    frame: Frame
    facts: dict[str, Any] = field(default_factory=dict)
    medium: Medium = "vacuum"
    unit: str = "Angstrom"

    def __len__(self) -> int:
        return len(self.flux)


#: What tells a survey's file, and what reads it.
Loader = tuple[Callable[[fits.HDUList], bool], Callable[[fits.HDUList], SurveySpectra]]


def piece(
    wave: Any, flux: Any, ivar: Any, survey: str, frame: Frame, facts: dict[str, Any], **options: Any
) -> SurveySpectra:
    """A piece of native arrays whose wavelengths rise; what is not finite, or has no positive ivar, is bad."""
    wave = np.asarray(wave, float).reshape(-1)
    flux, ivar = (np.atleast_2d(np.asarray(part, float)) for part in (flux, ivar))
    if not (flux.shape == ivar.shape and flux.shape[1:] == wave.shape):
        raise SlamError(
            f"has {len(wave)} wavelengths, {flux.shape[-1]} fluxes and {ivar.shape[-1]} errors; it is damaged"
        )
    if len(wave) < 2 or not np.all(np.diff(wave) > 0):
        raise SlamError("has wavelengths that do not rise; it is damaged, or its columns are not what they say")
    sound = np.isfinite(flux) & (ivar > 0)
    return SurveySpectra(wave, np.where(sound, flux, 0), np.where(sound, ivar, 0), survey, frame, facts, **options)


def masked(mask: Any, ivar: Any, named: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
    """ivar (..., P), 0 where a bit is set or it is not finite, and for which spectra (...) the mask is ignored.

    It is where less than `LEAST_LEFT` of the pixels with errors would be left.
    """
    ivar = np.asarray(ivar, float)
    ivar = np.where(np.isfinite(ivar), ivar, 0)
    usable = ivar > 0
    flags = np.asarray(mask)
    if flags.dtype.kind == "f":
        flags = np.where(np.isfinite(flags), flags, 0)
    if flags.shape != ivar.shape:
        raise SlamError(f"has {flags.shape[-1]} mask values and {ivar.shape[-1]} errors; it is damaged")
    left = usable & ((flags.astype(np.int64) & bitmasks.bits(named)) == 0)
    ignored = left.sum(axis=-1) < LEAST_LEFT * usable.sum(axis=-1)
    return np.where(left | ignored[..., None], ivar, 0), ignored


def inverse_square(error: Any) -> np.ndarray:
    """ivar of errors; 0 where there is none."""
    sigma = np.asarray(error, float)
    sound = np.isfinite(sigma) & (sigma > 0)
    return np.where(sound, 1 / np.square(np.where(sound, sigma, 1)), 0)


def header_facts(header: Mapping[str, Any], **names: str) -> dict[str, Any]:
    """What a header knows, ``fact="KEYWORD"``."""
    return known({fact: plain(header[key]) for fact, key in names.items() if key in header})


def row_facts(hdu: fits.BinTableHDU, **names: str | Iterable[str]) -> dict[str, Any]:
    """What a table's rows say, ``fact="column"`` or ``fact=(the first of these columns that there is)``."""
    choices = {fact: (wanted,) if isinstance(wanted, str) else tuple(wanted) for fact, wanted in names.items()}
    columns = read_columns(hdu, {name for choice in choices.values() for name in choice}, required=False)
    facts = {fact: [columns[name] for name in choice if name in columns] for fact, choice in choices.items()}
    return {
        fact: np.char.strip(found[0].astype(str)) if found[0].dtype.kind in "SUO" else _native(found[0])
        for fact, found in facts.items()
        if found and found[0].ndim == 1
    }


def known(facts: dict[str, Any]) -> dict[str, Any]:
    """Those of some header's facts that are given."""
    return {name: value for name, value in facts.items() if value is not None and value not in (*_UNKNOWN, "", "NaN")}


def plain(value: Any) -> Any:
    """A header's value as Python's own: numbers as numbers, text stripped."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, fits.card.Undefined):
        return None
    return value.strip() if isinstance(value, str) else value


def hdu_at(hdus: fits.HDUList, number: int) -> Any:
    """The HDU at a place from the start, or None; ``len`` would read the headers of all, and some files have many."""
    try:
        return hdus[number]
    except IndexError:
        return None


def log_wave(header: fits.Header, n_pix: int, suffix: str = "1") -> np.ndarray:
    """(P,) Å of a header's log10 start and step at its first pixel."""
    return 10 ** (header[f"CRVAL{suffix}"] + header[f"CDELT{suffix}"] * np.arange(n_pix))


def _native(values: np.ndarray) -> np.ndarray:
    """Rows' numbers in the machine's byte order, NaN where they are not known."""
    values = values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
    return np.where(np.isin(values, _UNKNOWN), np.nan, values) if values.dtype.kind == "f" else values
