"""Preparation: recipes and their steps, from spectra as read to spectra on the model's grid."""

from slamjax.preprocessing.chebyshev import ChebyshevContinuum as ChebyshevContinuum
from slamjax.preprocessing.continuum import GaussianContinuum as GaussianContinuum
from slamjax.preprocessing.continuum import SplineContinuum as SplineContinuum
from slamjax.preprocessing.recipe import Recipe as Recipe
from slamjax.preprocessing.recipe import parse_continuum as parse_continuum
from slamjax.preprocessing.regrid import Resample as Resample
from slamjax.preprocessing.regrid import RestFrame as RestFrame
from slamjax.preprocessing.regrid import onto_grid as onto_grid
from slamjax.preprocessing.resolution import MatchResolution as MatchResolution
from slamjax.preprocessing.stacking import stack as stack
from slamjax.preprocessing.steps import BadPixels as BadPixels
from slamjax.preprocessing.steps import MaskWavelengths as MaskWavelengths
from slamjax.preprocessing.steps import WaveRange as WaveRange
