"""Posteriors: priors, a NumPyro distribution of spectra, samplers for one star or thousands, their result."""

from slamjax.sampling.numpyro_model import SpectrumDistribution as SpectrumDistribution
from slamjax.sampling.numpyro_model import spectrum_model as spectrum_model
from slamjax.sampling.posterior import Posterior as Posterior
from slamjax.sampling.priors import LabelNormal as LabelNormal
from slamjax.sampling.priors import Product as Product
from slamjax.sampling.priors import TrainingDensity as TrainingDensity
from slamjax.sampling.priors import TrainingRange as TrainingRange
from slamjax.sampling.priors import known as known
from slamjax.sampling.priors import normal as normal
from slamjax.sampling.priors import training_density as training_density
from slamjax.sampling.priors import training_range as training_range
from slamjax.sampling.sampler import sample as sample
