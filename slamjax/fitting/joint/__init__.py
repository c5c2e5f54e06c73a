"""All that was observed of each star in one fit: shared labels, nuisances of each spectrum."""

from slamjax.fitting.joint.fitter import JointFitter as JointFitter
from slamjax.fitting.joint.tables import JointFit as JointFit
