"""Training: from stars with known labels to a model, and its options."""

from slamjax.training.astroslam import from_astroslam as from_astroslam
from slamjax.training.pipeline import train as train
from slamjax.training.recalibrate import recalibrate_noise as recalibrate_noise
from slamjax.training.specs import SVR as SVR
from slamjax.training.specs import DataSpec as DataSpec
from slamjax.training.specs import NoiseSpec as NoiseSpec
from slamjax.training.specs import Polynomial as Polynomial
from slamjax.training.specs import SearchSpec as SearchSpec
from slamjax.training.specs import TrainingSpec as TrainingSpec
from slamjax.training.svr.export import from_sklearn as from_sklearn
