"""Real spectra that come with the package."""

from slamjax.datasets.xp_giants import LABELS as LABELS
from slamjax.datasets.xp_giants import load_xp_giants as load_xp_giants
