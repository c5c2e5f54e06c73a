"""The command line: ``slamjax read | train | fit | sample | validate | calibrate | compare | info |
explore | report | plot | demo``."""

from slamjax.cli.entry import main as main
