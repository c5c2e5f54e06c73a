"""Optical SDSS spectra: ``spec`` files of SDSS-I to SDSS-IV.

https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html: vacuum, heliocentric.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import bitmasks
from slamjax.io.surveys.base import (
    FLUX_UNIT,
    Loader,
    SurveySpectra,
    apply_mask,
    hdu_at,
    header_metadata,
    only_by_name,
    python_value,
    survey_spectra,
    table_metadata,
)
from slamjax.io.surveys.fits_columns import column_names, read_columns
from slamjax.spectra.line_spread import FWHM
from slamjax.spectra.resampling import pixel_edges, resample

#: Pixels of coadds, in log10 λ.
STEP = 1e-4
#: The same in ln λ: the unit of a coadd's wdisp.
_PIXEL = STEP * np.log(10)


def _is_spec(hdus: fits.HDUList) -> bool:
    return {"flux", "loglam", "ivar", "and_mask"} <= column_names(hdu_at(hdus, 1))


def _spec(hdus: fits.HDUList) -> SurveySpectra:
    """A COADD table with one row per pixel."""
    data, header = read_columns(hdus[1], ("loglam", "flux", "ivar", "and_mask")), hdus[0].header
    ivar, ignored = apply_mask(data["and_mask"], data["ivar"], bitmasks.SDSS)
    metadata = header_metadata(header, ra="PLUG_RA", dec="PLUG_DEC", plate="PLATEID", mjd="MJD", fiber="FIBERID")
    results = hdu_at(hdus, 2)  # redshifts and classes are in a separate table, SPECOBJ or SPALL
    if isinstance(results, fits.BinTableHDU):
        columns = table_metadata(results, redshift="z", subclass="subclass", snr="sn_median_all")
        metadata |= {name: python_value(values[0]) for name, values in columns.items()}
    metadata["id"] = _identifier(metadata)
    metadata["mask_ignored"] = ignored
    wave = 10 ** data["loglam"].astype(float)
    fwhm = _line_spread(hdus[1], wave)
    return survey_spectra(wave, data["flux"], ivar, "sdss", "observed", metadata, fwhm=fwhm, flux_unit=FLUX_UNIT)


def _line_spread(hdu: fits.BinTableHDU, wave: np.ndarray) -> np.ndarray | None:
    """(1, P) FWHM in Å of this spectrum.

    ``wdisp`` is the standard deviation of the line spread in pixels of 1e-4 dex, 0 where it is unknown.
    https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html
    """
    sigma = read_columns(hdu, ("wdisp",), required=False).get("wdisp", np.zeros(0)).astype(float)
    known = np.isfinite(sigma) & (sigma > 0)
    return (FWHM * _PIXEL * wave * np.interp(wave, wave[known], sigma[known]))[None] if known.any() else None


def _exposures(hdus: fits.HDUList) -> SurveySpectra:
    """The single exposures of each camera, resampled to the grid of coadds; a row lacks the other camera's pixels."""
    frames = [hdu for hdu in hdus[2:] if {"flux", "loglam", "ivar", "mask", "wdisp"} <= column_names(hdu)]
    if not frames:
        raise SlamError("has no single exposures; read it without a survey, as a coadd")
    read = [read_columns(hdu, ("loglam", "flux", "ivar", "mask", "wdisp")) for hdu in frames]
    ends = [10 ** data["loglam"].astype(float)[[0, -1]] for data in read]
    numbers = np.log10([min(end[0] for end in ends), max(end[1] for end in ends)]) / STEP
    wave = 10 ** (STEP * np.arange(round(numbers[0]), round(numbers[1]) + 1))
    edges = pixel_edges(wave)
    flux, ivar, fwhm, ignored = [], [], [], []
    for hdu, data in zip(frames, read, strict=True):
        own = 10 ** data["loglam"].astype(float)
        unmasked, was_ignored = apply_mask(data["mask"], data["ivar"], bitmasks.SDSS_EXPOSURE)
        new_flux, new_ivar = resample(own, data["flux"][None].astype(float), unmasked[None], edges)
        width = _line_spread(hdu, own)
        flux.append(new_flux[0])
        ivar.append(new_ivar[0])
        fwhm.append(np.full(len(wave), np.nan) if width is None else np.interp(wave, own, width[0], np.nan, np.nan))
        ignored.append(bool(was_ignored))
    metadata = header_metadata(
        hdus[0].header, ra="PLUG_RA", dec="PLUG_DEC", plate="PLATEID", mjd="MJD", fiber="FIBERID"
    )
    metadata["id"] = _identifier(metadata)
    names = np.array([hdu.name for hdu in frames])
    metadata |= {"exposure": names, "camera": np.array([name[:2] for name in names]), "mask_ignored": np.array(ignored)}
    return survey_spectra(wave, flux, ivar, "sdss", "observed", metadata, fwhm=np.array(fwhm), flux_unit=FLUX_UNIT)


def _identifier(metadata: dict[str, Any]) -> str:
    return f"{metadata.get('plate', 0):04d}-{metadata.get('mjd', 0)}-{metadata.get('fiber', 0):04d}"


LOADERS: dict[str, Loader] = {"sdss": (_is_spec, _spec), "sdss-exposures": (only_by_name, _exposures)}
