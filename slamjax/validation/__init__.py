"""Are the labels as good as their errors say? Known stars, calibration, simulated stars, the Cramér-Rao bound."""

from slamjax.validation.coverage import calibration_table as calibration_table
from slamjax.validation.cramer_rao import crlb as crlb
from slamjax.validation.emulator_comparison import EmulatorComparison as EmulatorComparison
from slamjax.validation.emulator_comparison import compare as compare
from slamjax.validation.known_stars import Validation as Validation
from slamjax.validation.known_stars import validate as validate
from slamjax.validation.pulls import Comparison as Comparison
from slamjax.validation.pulls import compare_draws as compare_draws
from slamjax.validation.pulls import compare_fit as compare_fit
from slamjax.validation.pulls import compare_posterior as compare_posterior
from slamjax.validation.ranks import RankTest as RankTest
from slamjax.validation.ranks import rank_statistics as rank_statistics
from slamjax.validation.ranks import rank_test as rank_test
from slamjax.validation.ranks import scale_draws as scale_draws
from slamjax.validation.ranks import thin_draws as thin_draws
from slamjax.validation.regions import RegionTest as RegionTest
from slamjax.validation.regions import tarp as tarp
from slamjax.validation.report import format_calibration as format_calibration
from slamjax.validation.report import format_scatter as format_scatter
from slamjax.validation.scatter import scatter_table as scatter_table
from slamjax.validation.simulation import draw_nuisances as draw_nuisances
from slamjax.validation.simulation import prepared_model as prepared_model
from slamjax.validation.simulation import simulate as simulate
from slamjax.validation.simulation_based import SimulatedCalibration as SimulatedCalibration
from slamjax.validation.simulation_based import sbc as sbc
