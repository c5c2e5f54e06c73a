"""LAMOST files and best-fit spectra for specutils: loaders in its registry, so that ``Spectrum.read`` reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance
from astropy.table import Table

from slamjax.errors import SlamError
from slamjax.io.fits_tables import hdu_to_table
from slamjax.io.surveys import lamost
from slamjax.io.surveys.base import Loader, SurveySpectra
from slamjax.spectra.columns import plain_column

_BEST_FITS = "slamjax best fits"
_NAMES = {"lamost": "LAMOST LRS", "lamost-image": "LAMOST LRS image", "lamost-mrs": "LAMOST MRS"}


def register_specutils() -> None:
    """Register loaders of LAMOST files, low and medium resolution, and of slamjax's best-fit spectra, in specutils.

    Then ``Spectrum.read(path)`` and ``SpectrumList.read(path)`` read them: vacuum wavelengths in Å, relative flux
    without a unit, inverse variances, masked pixels, and metadata in ``meta``. Of a file of `slamjax.write_best_fits`,
    ``Spectrum.read`` gives the observed spectra, with the other columns in ``meta``, and ``SpectrumList.read`` the
    observed and the predicted spectrum of each star, in turn. Calling it again is harmless.

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
    from specutils import Spectrum, SpectrumList

    for kind, reader in ((Spectrum, _observed), (SpectrumList, _pairs)):
        register = data_loader(
            _BEST_FITS, identifier=_are_best_fits, dtype=kind, extensions=["fits"], priority=10, force=True,
            autogenerate_spectrumlist=False,
        )  # fmt: skip
        register(reader)


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


def _are_best_fits(origin: str, *args: Any, **kwargs: Any) -> bool:
    if origin == "write":
        return False
    from specutils.io.parsing_utils import read_fileobj_or_hdulist

    with read_fileobj_or_hdulist(*args, **kwargs) as hdus:
        return {"BEST_FITS", "WAVELENGTH"} <= {hdu.name for hdu in hdus}


def _read_best_fits(file_obj: Any, **kwargs: Any) -> tuple[u.Quantity, Table, dict[str, Any]]:
    """Wavelengths, the table of stars, and the medium and frame of the wavelengths."""
    from specutils.io.parsing_utils import read_fileobj_or_hdulist

    with read_fileobj_or_hdulist(file_obj, **kwargs) as hdus:
        wave, table = (hdu_to_table(hdus[name]) for name in ("WAVELENGTH", "BEST_FITS"))
        header = hdus["WAVELENGTH"].header
        return wave["wavelength"].quantity, table, {"medium": header["MEDIUM"], "frame": header["FRAME"]}


def _observed(file_obj: Any, **kwargs: Any) -> Any:
    from specutils import Spectrum

    wave, table, meta = _read_best_fits(file_obj, **kwargs)
    meta |= {name: plain_column(table[name]) for name in table.colnames if name not in ("flux", "ivar")}
    ivar = plain_column(table["ivar"])
    return Spectrum(
        spectral_axis=wave,
        flux=plain_column(table["flux"]) * (table["flux"].unit or u.dimensionless_unscaled),
        uncertainty=InverseVariance(ivar),
        mask=ivar <= 0,
        meta=meta,
    )


def _pairs(file_obj: Any, **kwargs: Any) -> Any:
    from specutils import Spectrum, SpectrumList

    wave, table, meta = _read_best_fits(file_obj, **kwargs)
    unit = table["flux"].unit or u.dimensionless_unscaled
    flux, model, ivar = (plain_column(table[name]) for name in ("flux", "model_flux", "ivar"))
    found = SpectrumList()
    for k, row in enumerate(plain_column(table["row"])):
        its = {**meta, "row": int(row)}
        found.append(
            Spectrum(
                spectral_axis=wave,
                flux=flux[k] * unit,
                uncertainty=InverseVariance(ivar[k]),
                mask=ivar[k] <= 0,
                meta={**its, "name": f"row {row}, observed"},
            )
        )
        found.append(Spectrum(spectral_axis=wave, flux=model[k] * unit, meta={**its, "name": f"row {row}, model"}))
    return found
