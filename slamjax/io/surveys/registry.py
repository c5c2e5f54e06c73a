"""The loaders of all surveys, and which of them reads a file."""

from __future__ import annotations

from pathlib import Path

from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import apogee, desi, gaia, gaia_coefficients, lamost, mwm, sdss
from slamjax.io.surveys.base import Loader, SurveySpectra

#: In the order in which they are tried; the last ones read the headers of all HDUs.
LOADERS: dict[str, Loader] = (
    lamost.LOADERS
    | sdss.LOADERS
    | mwm.LOADERS
    | apogee.LOADERS
    | gaia.LOADERS
    | gaia_coefficients.LOADERS
    | desi.LOADERS
    | lamost.ARMS
)
#: The same for CSV and ECSV files.
TEXT_LOADERS = {"gaia-xp": gaia.load_text, gaia_coefficients.NAME: gaia_coefficients.load_text}


def identify(hdus: fits.HDUList) -> str:
    """The name of the loader of an open file.

    Raises
    ------
    SlamError
        If there is none.
    """
    for name, (recognises, _) in LOADERS.items():
        if recognises(hdus):
            return name
    names = ", ".join(hdu.name or str(number) for number, hdu in enumerate(hdus))
    raise SlamError(f"is of no survey that slamjax knows ({', '.join(LOADERS)}) or truncated; its HDUs are {names}")


def load(hdus: fits.HDUList, survey: str | None) -> SurveySpectra:
    """The spectra of an open file, by the named loader or the one that recognises it."""
    return LOADERS[survey or identify(hdus)][1](hdus)


def load_text(path: Path, survey: str | None) -> SurveySpectra:
    """The spectra of a CSV or ECSV file, by the named loader or the one that its columns ask for."""
    if survey is None:
        survey = gaia_coefficients.NAME if gaia_coefficients.is_text_of_coefficients(path) else "gaia-xp"
    return TEXT_LOADERS[survey](path)
