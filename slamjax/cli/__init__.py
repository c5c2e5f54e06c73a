"""The command line: ``slamjax train | fit | validate | info | plot | demo``."""

from slamjax.cli.app import main as main
