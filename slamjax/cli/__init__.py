"""The command line: ``slamjax train | fit | sample | validate | compare | info | plot | demo``."""

from slamjax.cli.app import main as main
