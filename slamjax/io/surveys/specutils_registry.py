"""LAMOST files for specutils: loaders in its registry, so that ``Spectrum.read(path)`` reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance

from slamjax.errors import SlamError
from slamjax.io.surveys import lamost
from slamjax.io.surveys.base import Loader, SurveySpectra

_NAMES = {"lamost": "LAMOST LRS", "lamost-image": "LAMOST LRS image", "lamost-mrs": "LAMOST MRS"}


def register_specutils() -> None:
    """Register loaders of LAMOST files, low and medium resolution, in specutils.

    Then ``Spectrum.read(path)`` and ``SpectrumList.read(path)`` read them: vacuum wavelengths in Å, relative flux
    without a unit, inverse variances, masked pixels, and metadata in ``meta``. Calling it again is harmless.

    Raises
    ------
    SlamError
        If specutils is not installed.

    Examples
    --------
    >>> import slamjax
    >>> from astropy.io.registry import get_formats
    >>> from specutils import Spectrum
    >>> slamjax.register_specutils()
    >>> "LAMOST LRS" in get_formats(Spectrum, "Read")["Format"]
    True
    """
    try:
        from specutils.io.registers import data_loader
    except ImportError as error:
        raise SlamError("specutils is not installed; pip install 'slamjax[specutils]'") from error
    for name, loader in {**lamost.LOADERS, **lamost.ARMS}.items():
        # a generic loader of specutils would accept these files, too
        register = data_loader(
            _NAMES[name], identifier=_identifier(loader), extensions=["fits", "fits.gz"], priority=10, force=True
        )
        register(_reader(loader))


def _identifier(loader: Loader) -> Any:
    def identify(origin: str, *args: Any, **kwargs: Any) -> bool:
        if origin == "write":
            return False
        from specutils.io.parsing_utils import read_fileobj_or_hdulist

        with read_fileobj_or_hdulist(*args, **kwargs) as hdus:
            return bool(loader[0](hdus))

    return identify


def _reader(loader: Loader) -> Any:
    def read(file_obj: Any, **kwargs: Any) -> Any:
        from specutils.io.parsing_utils import read_fileobj_or_hdulist

        with read_fileobj_or_hdulist(file_obj, **kwargs) as hdus:
            return _spectrum(loader[1](hdus), hdus[0].header)

    return read


def _spectrum(spectra: SurveySpectra, header: fits.Header) -> Any:
    from specutils import Spectrum

    meta = {"header": header, "medium": spectra.medium, "frame": spectra.frame, "survey": spectra.survey}
    meta |= {name: np.atleast_1d(value)[0] for name, value in spectra.metadata.items()}
    return Spectrum(
        spectral_axis=spectra.wave * u.AA,
        flux=spectra.flux[0] * u.dimensionless_unscaled,
        uncertainty=InverseVariance(spectra.ivar[0]),
        mask=spectra.ivar[0] <= 0,
        meta=meta,
    )
