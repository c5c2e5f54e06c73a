"""The loaders of all surveys, and which of them reads a file."""

from __future__ import annotations

from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import apogee, desi, gaia, lamost, mwm, sdss
from slamjax.io.surveys.base import Loader, SurveySpectra

#: In the order in which they are tried; the last ones read the headers of all HDUs.
LOADERS: dict[str, Loader] = (
    lamost.LOADERS | sdss.LOADERS | mwm.LOADERS | apogee.LOADERS | gaia.LOADERS | desi.LOADERS | lamost.ARMS
)


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
