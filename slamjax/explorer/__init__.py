"""A model, its stars and their fits as one page for a browser, without a server or a network."""

from slamjax.explorer.explorer import Explorer as Explorer
from slamjax.explorer.explorer import explore as explore
