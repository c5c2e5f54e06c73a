"""Spectra in the unit of flux of a model."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from jaxtyping import Float

from slamjax.errors import SlamError
from slamjax.spectra.flux_units import describe_flux_unit, flux_unit
from slamjax.spectra.spectra import Spectra


def in_flux_unit(spectra: Spectra, unit: str | None, wanted_by: str) -> Spectra:
    """The spectra in another unit of flux: converted if both units are stated, else as they are.

    Flux per wavelength, per frequency and in photons are converted into each other. No pixel is touched where the
    units are the same.

    Parameters
    ----------
    spectra : Spectra
    unit : str
        "" is dimensionless, None not stated.
    wanted_by : str
        Whose unit it is, for the error: "the model was trained on flux".

    Raises
    ------
    SlamError
        If the units cannot be converted into each other.

    Examples
    --------
    >>> import numpy as np
    >>> from slamjax import Spectra
    >>> spectra = Spectra([400.0, 500.0], np.ones((1, 2)) * u.mJy, wave_unit="nm")
    >>> in_flux_unit(spectra, "Jy", "the model was trained on flux").flux
    array([[0.001, 0.001]])
    """
    wanted, given = flux_unit(unit), spectra.flux_unit
    if wanted is None or given is None or given == wanted:
        return spectra
    try:
        factor = _factor(given, wanted, spectra.wave * spectra.wave_unit)
    except u.UnitConversionError as error:
        raise SlamError(
            f"flux of {spectra.source} is {describe_flux_unit(given)}, but {wanted_by} {describe_flux_unit(wanted)}; "
            "convert it, or train with a continuum in the recipe"
        ) from error
    flux, ivar = spectra.flux.astype(float) * factor, spectra.ivar.astype(float) / np.square(factor)
    return spectra.with_arrays(flux, ivar, flux_unit=wanted)


def _factor(given: u.UnitBase, wanted: u.UnitBase, wave: u.Quantity) -> float | Float[np.ndarray, " pixel"]:
    if given.is_equivalent(wanted):
        return float(given.to(wanted))
    return np.asarray((np.ones(wave.shape) * given).to_value(wanted, u.spectral_density(wave)))
