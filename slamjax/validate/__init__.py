"""Are the labels as good as their errors say? Known stars, calibration, simulated stars, the Cramér-Rao bound."""

from slamjax.validate.bins import MAD_TO_SIGMA as MAD_TO_SIGMA
from slamjax.validate.bounds import crlb as crlb
from slamjax.validate.calibration import Comparison as Comparison
from slamjax.validate.calibration import calibration_table as calibration_table
from slamjax.validate.calibration import compare_draws as compare_draws
from slamjax.validate.calibration import compare_fit as compare_fit
from slamjax.validate.calibration import compare_posterior as compare_posterior
from slamjax.validate.ranks import RankTest as RankTest
from slamjax.validate.ranks import rank_statistics as rank_statistics
from slamjax.validate.ranks import rank_test as rank_test
from slamjax.validate.ranks import scale_draws as scale_draws
from slamjax.validate.ranks import thin_draws as thin_draws
from slamjax.validate.regions import RegionTest as RegionTest
from slamjax.validate.regions import tarp as tarp
from slamjax.validate.report import format_calibration as format_calibration
from slamjax.validate.report import format_scatter as format_scatter
from slamjax.validate.report import report_table as report_table
from slamjax.validate.report import write_report as write_report
from slamjax.validate.scatter import scatter_table as scatter_table
from slamjax.validate.simulated import SimulatedCalibration as SimulatedCalibration
from slamjax.validate.simulated import sbc as sbc
from slamjax.validate.simulation import draw_nuisances as draw_nuisances
from slamjax.validate.simulation import prepared_model as prepared_model
from slamjax.validate.simulation import simulate as simulate
from slamjax.validate.stars import Validation as Validation
from slamjax.validate.stars import validate as validate
