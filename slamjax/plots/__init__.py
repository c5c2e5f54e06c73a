"""Figures of spectra, labels, training, posteriors and calibration.

Each function returns a matplotlib Figure, made without pyplot, for the caller to show or save (`write_figure`).
"""

from slamjax.plots.calibration import plot_calibration as plot_calibration
from slamjax.plots.calibration import plot_simulated as plot_simulated
from slamjax.plots.canvas import check_figure_path as check_figure_path
from slamjax.plots.canvas import title_of as title_of
from slamjax.plots.canvas import write_figure as write_figure
from slamjax.plots.comparison import plot_flux_errors as plot_flux_errors
from slamjax.plots.comparison import plot_label_scatter as plot_label_scatter
from slamjax.plots.labels import plot_labels as plot_labels
from slamjax.plots.metric import plot_metric as plot_metric
from slamjax.plots.pixels import check_pixels as check_pixels
from slamjax.plots.pixels import plot_pixels as plot_pixels
from slamjax.plots.posteriors import plot_corner as plot_corner
from slamjax.plots.posteriors import plot_predictive as plot_predictive
from slamjax.plots.posteriors import plot_trace as plot_trace
from slamjax.plots.spectra import plot_spectra as plot_spectra
from slamjax.plots.training import plot_training as plot_training
