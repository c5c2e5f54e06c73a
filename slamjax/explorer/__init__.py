"""A model, its stars and their fits as one page for a browser, without a server or a network."""

from slamjax.explorer.explore import Explorer as Explorer
from slamjax.explorer.explore import explore as explore
