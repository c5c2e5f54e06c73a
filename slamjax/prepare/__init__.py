"""Steps from spectra as read to spectra on the model's grid."""

from slamjax.prepare.recipe import Recipe as Recipe
from slamjax.prepare.recipe import parse_continuum as parse_continuum
from slamjax.prepare.steps import BadPixels as BadPixels
from slamjax.prepare.steps import GaussianContinuum as GaussianContinuum
from slamjax.prepare.steps import SplineContinuum as SplineContinuum
from slamjax.prepare.steps import WaveRange as WaveRange
