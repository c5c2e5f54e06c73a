"""Spectra on one wavelength grid; selection of rows, identifiers, units, wavelengths, resampling."""

from slamjax.spectra.spectra import Spectra as Spectra
