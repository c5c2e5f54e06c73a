"""From prepared spectra to labels: starts, minimisers, batches, and the table of results."""

from slamjax.fitting.best_fits import write_best_fits as write_best_fits
from slamjax.fitting.fitter import Fitter as Fitter
from slamjax.fitting.joint import JointFit as JointFit
from slamjax.fitting.joint import JointFitter as JointFitter
from slamjax.fitting.one_call import fit as fit
from slamjax.fitting.optimiser import OptimiserSpec as OptimiserSpec
from slamjax.fitting.pairs import fit_pairs as fit_pairs
from slamjax.fitting.streaming import fit_table as fit_table
from slamjax.fitting.visits import fit_visits as fit_visits
