"""Which loader reads which file."""

from __future__ import annotations

from astropy.io import fits

from slamjax.errors import SlamError
from slamjax.readers import apogee, desi, gaia, lamost, mwm, sdss
from slamjax.readers.pieces import Loader, Piece

LOADERS: dict[str, Loader] = lamost.LOADERS | sdss.LOADERS | apogee.LOADERS | mwm.LOADERS | desi.LOADERS | gaia.LOADERS


def identify(hdus: fits.HDUList) -> str:
    """The name of the loader for an open file; raises SlamError if there is none, or more than one."""
    found = [name for name, (recognises, _) in LOADERS.items() if recognises(hdus)]
    if len(found) > 1:
        raise SlamError(f"has spectra that do not go together; name those to read: survey={' or '.join(found)}")
    if not found:
        names = ", ".join(hdu.name or str(number) for number, hdu in enumerate(hdus))
        raise SlamError(
            f"is of no survey that slamjax knows ({', '.join(LOADERS)}), or truncated; its HDUs are {names}"
        )
    return found[0]


def load(hdus: fits.HDUList, survey: str | None) -> Piece:
    """The spectra of an open file."""
    return LOADERS[survey or identify(hdus)][1](hdus)
