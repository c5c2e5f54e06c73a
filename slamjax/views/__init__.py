"""What objects and files of slamjax are, in words."""

from slamjax.views.describe import describe as describe
from slamjax.views.facts import facts as facts
