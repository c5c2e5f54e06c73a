"""Photon noise and emulator error: covariance models, their estimation, and how chi2 is calibrated."""

from slamjax.noise.calibration import Calibration as Calibration
from slamjax.noise.calibration import PhotonShares as PhotonShares
from slamjax.noise.calibration import StarNoise as StarNoise
from slamjax.noise.models import DiagonalNoise as DiagonalNoise
from slamjax.noise.models import LowRankNoise as LowRankNoise
from slamjax.noise.models import Noise as Noise
