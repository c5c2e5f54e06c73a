"""``python -m slamjax``."""

from slamjax.cli import main

main()
