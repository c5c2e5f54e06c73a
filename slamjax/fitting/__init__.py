"""From prepared spectra to labels: starts, minimisers, batches, and the table of results."""

from slamjax.fitting.fitter import Fitter as Fitter
from slamjax.fitting.fitter import fit as fit
from slamjax.fitting.optimiser import OptimiserSpec as OptimiserSpec
from slamjax.fitting.streaming import fit_table as fit_table
