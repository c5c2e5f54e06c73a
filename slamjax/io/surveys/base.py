"""Spectra of one survey file, and what the loaders of all surveys share.

A loader takes an open FITS file and returns `SurveySpectra`: vacuum wavelengths in Å, barycentric or in the star's rest
frame; flux; ivar, 0 at masked pixels; and metadata under names that are the same for all surveys. Values by which a
survey marks unknown quantities (-9999) are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from jaxtyping import Bool, Float

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.fits_columns import read_columns
from slamjax.spectra.spectra import Frame, Medium

#: A mask that leaves less than this fraction of a spectrum's pixels is ignored.
MIN_UNMASKED = 0.1
#: The unit of flux of SDSS, APOGEE and DESI, as their data models state it.
FLUX_UNIT = "1e-17 erg / (s cm2 Angstrom)"
#: Values that surveys write for unknown quantities.
_SENTINELS = (-9999.0, -999.0)


@dataclass(frozen=True)
class SurveySpectra:
    """N spectra of one file on one grid.

    Attributes
    ----------
    wave : (P,) Å, increasing
    flux, ivar : (N, P)
    survey : str
    frame, medium : as in Spectra
    metadata : dict
        Under each name one value for all spectra, or N values. "problem" says why a spectrum must not be used,
        "mask_ignored" whose mask was ignored.
    unit : str
        Unit of wavelength in which users expect this survey's spectra.
    fwhm : (P,) or (N, P) Å, or None
        Line spread, where the survey or the file states it: (N, P) if it was measured for each spectrum.
    flux_unit : str or unit, or None
        Unit of the flux, where the survey states one; LAMOST's is relative.
    covariance : (N, P, P), or None
        Of the flux, where the survey states how errors go together.
    """

    wave: Float[np.ndarray, " pixel"]
    flux: Float[np.ndarray, "star pixel"]
    ivar: Float[np.ndarray, "star pixel"]
    survey: str
    frame: Frame
    metadata: dict[str, Any] = field(default_factory=dict)
    medium: Medium = "vacuum"
    unit: str = "Angstrom"
    fwhm: Float[np.ndarray, "*star pixel"] | None = None
    flux_unit: str | u.UnitBase | None = None
    covariance: Float[np.ndarray, "star pixel pixel"] | None = None

    def __len__(self) -> int:
        return len(self.flux)


#: Whether an open file is of this kind, and the function that reads it.
Loader = tuple[Callable[[fits.HDUList], bool], Callable[[fits.HDUList], SurveySpectra]]


def only_by_name(hdus: fits.HDUList) -> bool:
    """Of a loader that is taken only where it is named: its files are read as another kind by default."""
    return False


def survey_spectra(
    wave: Any, flux: Any, ivar: Any, survey: str, frame: Frame, metadata: dict[str, Any], **options: Any
) -> SurveySpectra:
    """SurveySpectra of checked arrays; pixels whose flux is not finite or whose ivar is not positive become bad.

    Raises
    ------
    SlamError
        If shapes disagree or wavelengths do not increase.
    """
    wave = np.asarray(wave, float).reshape(-1)
    flux, ivar = (np.atleast_2d(np.asarray(array, float)) for array in (flux, ivar))
    if not (flux.shape == ivar.shape and flux.shape[1:] == wave.shape):
        raise SlamError(
            f"has {len(wave)} wavelengths, {flux.shape[-1]} fluxes and {ivar.shape[-1]} errors; it is damaged"
        )
    if len(wave) < 2 or not np.all(np.diff(wave) > 0):
        raise SlamError("has wavelengths that do not increase; it is damaged, or of an unknown kind")
    good = np.isfinite(flux) & (ivar > 0)
    return SurveySpectra(wave, np.where(good, flux, 0), np.where(good, ivar, 0), survey, frame, metadata, **options)


def apply_mask(
    mask: Any, ivar: Any, bad_bits: Mapping[str, int]
) -> tuple[Float[np.ndarray, "*star pixel"], Bool[np.ndarray, "*star"]]:
    """ivar with 0 where a bad bit is set, and for which spectra the mask is ignored.

    It is ignored if it would leave less than `MIN_UNMASKED` of the pixels that have errors.

    Parameters
    ----------
    mask : (..., P) integers
    ivar : (..., P)
    bad_bits : mapping of names to bit numbers
        Of `slamjax.io.surveys.bitmasks`.

    Returns
    -------
    ivar : (..., P)
    ignored : (...) bool
    """
    ivar = np.asarray(ivar, float)
    ivar = np.where(np.isfinite(ivar), ivar, 0)
    usable = ivar > 0
    bits = np.asarray(mask)
    if bits.dtype.kind == "f":
        bits = np.where(np.isfinite(bits), bits, 0)
    if bits.shape != ivar.shape:
        raise SlamError(f"has {bits.shape[-1]} mask values and {ivar.shape[-1]} errors; it is damaged")
    unmasked = usable & ((bits.astype(np.int64) & bitmasks.bits(bad_bits)) == 0)
    ignored = np.asarray(unmasked.sum(axis=-1) < MIN_UNMASKED * usable.sum(axis=-1))
    return np.where(unmasked | ignored[..., None], ivar, 0), ignored


def inverse_square(error: Any) -> Float[np.ndarray, "*star pixel"]:
    """Inverse variances of errors; 0 where the error is not positive and finite."""
    sigma = np.asarray(error, float)
    valid = np.isfinite(sigma) & (sigma > 0)
    return np.where(valid, 1 / np.square(np.where(valid, sigma, 1)), 0)


def header_metadata(header: Mapping[str, Any], **keywords: str) -> dict[str, Any]:
    """Known values of header keywords, ``name="KEYWORD"``."""
    return drop_unknown({name: python_value(header[key]) for name, key in keywords.items() if key in header})


def table_metadata(hdu: fits.BinTableHDU, **columns: str | Iterable[str]) -> dict[str, Any]:
    """Scalar columns of a table, ``name="column"`` or ``name=(alternatives, the first that exists is taken)``."""
    choices = {name: (wanted,) if isinstance(wanted, str) else tuple(wanted) for name, wanted in columns.items()}
    present = read_columns(hdu, {column for choice in choices.values() for column in choice}, required=False)
    metadata = {}
    for name, choice in choices.items():
        values = next((present[column] for column in choice if column in present), None)
        if values is not None and values.ndim == 1:
            metadata[name] = np.char.strip(values.astype(str)) if values.dtype.kind in "SUO" else _native(values)
    return metadata


def drop_unknown(metadata: dict[str, Any]) -> dict[str, Any]:
    """The single values that are neither missing, nor empty, nor sentinels."""
    unknown = (None, *_SENTINELS, "", "NaN")
    return {name: value for name, value in metadata.items() if value not in unknown}


def python_value(value: Any) -> Any:
    """A header's value as a Python number or stripped string; None if it is undefined."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, fits.card.Undefined):
        return None
    return value.strip() if isinstance(value, str) else value


def hdu_at(hdus: fits.HDUList, number: int) -> Any:
    """The HDU with this number, or None; ``len(hdus)`` would read all headers, and some files have many."""
    try:
        return hdus[number]
    except IndexError:
        return None


def log_wavelengths(header: fits.Header, n_pix: int, suffix: str = "1") -> Float[np.ndarray, " pixel"]:
    """(P,) Å from the log10 wavelength of the first pixel and the step in the header (CRVAL, CDELT)."""
    return 10 ** (header[f"CRVAL{suffix}"] + header[f"CDELT{suffix}"] * np.arange(n_pix))


def _native(values: np.ndarray) -> np.ndarray:
    """Numbers in native byte order, NaN for unknown ones."""
    values = values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
    return np.where(np.isin(values, _SENTINELS), np.nan, values) if values.dtype.kind == "f" else values
