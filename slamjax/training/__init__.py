"""Learning: one SVR a pixel, its hyper-parameters, and the export of all of them to arrays."""

from slamjax.training.pipeline import train as train
from slamjax.training.recalibrate import recalibrate_noise as recalibrate_noise
from slamjax.training.svr.export import from_sklearn as from_sklearn
