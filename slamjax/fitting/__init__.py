"""From prepared spectra to labels: starts, minimisers, batches, and the table of results."""

from slamjax.fitting.run import fit as fit
