"""Spectra on one wavelength grid; selection of rows, identifiers, units, wavelengths, resampling."""

from slamjax.spectra.channels import channels as channels
from slamjax.spectra.observations import Observations as Observations
from slamjax.spectra.spectra import Spectra as Spectra
