"""Posteriors: the sampler and its options, priors, the result, and a NumPyro distribution of spectra."""

from slamjax.sampling.arviz_io import check_posterior_path as check_posterior_path
from slamjax.sampling.diagnostics import Diagnostics as Diagnostics
from slamjax.sampling.distributions import LabelNormal as LabelNormal
from slamjax.sampling.distributions import Product as Product
from slamjax.sampling.distributions import TrainingDensity as TrainingDensity
from slamjax.sampling.distributions import TrainingRange as TrainingRange
from slamjax.sampling.numpyro_model import SpectrumDistribution as SpectrumDistribution
from slamjax.sampling.numpyro_model import spectrum_model as spectrum_model
from slamjax.sampling.one_call import sample as sample
from slamjax.sampling.posterior import Posterior as Posterior
from slamjax.sampling.priors import known as known
from slamjax.sampling.priors import normal as normal
from slamjax.sampling.priors import training_density as training_density
from slamjax.sampling.priors import training_range as training_range
from slamjax.sampling.sampler import Sampler as Sampler
from slamjax.sampling.specs import SamplerSpec as SamplerSpec
