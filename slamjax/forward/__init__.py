"""The forward model of a spectrum: nuisances around an emulator, and the likelihood."""

from slamjax.forward.emulator import ForwardEmulator as ForwardEmulator
from slamjax.forward.joint import JointEmulator as JointEmulator
from slamjax.forward.label_density import LabelDensity as LabelDensity
from slamjax.forward.likelihood import chi2 as chi2
from slamjax.forward.likelihood import log_likelihood as log_likelihood
from slamjax.forward.nuisances import Free as Free
from slamjax.forward.nuisances import Gaussian as Gaussian
from slamjax.forward.nuisances import Nuisances as Nuisances
from slamjax.forward.pair import PairEmulator as PairEmulator
