"""Which loader reads which file."""

from __future__ import annotations

from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.io.surveys import apogee, desi, gaia, lamost, mwm, sdss
from slamjax.io.surveys.base import Loader, SurveySpectra

#: In the order in which they look at a file: the last ones read the headers of all its HDUs.
LOADERS: dict[str, Loader] = (
    lamost.LOADERS | sdss.LOADERS | mwm.LOADERS | apogee.LOADERS | gaia.LOADERS | desi.LOADERS | lamost.ARMS
)


def identify(hdus: fits.HDUList) -> str:
    """The name of the loader for an open file; raises SlamError if there is none."""
    for name, (recognises, _) in LOADERS.items():
        if recognises(hdus):
            return name
    names = ", ".join(hdu.name or str(number) for number, hdu in enumerate(hdus))
    raise SlamError(f"is of no survey that slamjax knows ({', '.join(LOADERS)}), or truncated; its HDUs are {names}")


def load(hdus: fits.HDUList, survey: str | None) -> SurveySpectra:
    """The spectra of an open file."""
    return LOADERS[survey or identify(hdus)][1](hdus)
