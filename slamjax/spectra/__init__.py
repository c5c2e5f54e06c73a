"""Spectra on one wavelength grid, their selection, units, wavelengths and resampling."""

from slamjax.spectra.spectra import Spectra as Spectra
