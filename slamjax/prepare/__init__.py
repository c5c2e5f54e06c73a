"""Steps from spectra as read to spectra on the model's grid."""

from slamjax.prepare.continua import ChebyshevContinuum as ChebyshevContinuum
from slamjax.prepare.continua import GaussianContinuum as GaussianContinuum
from slamjax.prepare.continua import SplineContinuum as SplineContinuum
from slamjax.prepare.placing import Resample as Resample
from slamjax.prepare.placing import RestFrame as RestFrame
from slamjax.prepare.placing import onto_grid as onto_grid
from slamjax.prepare.recipe import Recipe as Recipe
from slamjax.prepare.recipe import parse_continuum as parse_continuum
from slamjax.prepare.resolution import MatchResolution as MatchResolution
from slamjax.prepare.steps import BadPixels as BadPixels
from slamjax.prepare.steps import MaskWavelengths as MaskWavelengths
from slamjax.prepare.steps import WaveRange as WaveRange
