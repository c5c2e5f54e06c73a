"""Where the command line begins: signals are taken care of before anything large is imported."""

from __future__ import annotations

from slamjax.cli.interrupts import run_stoppable


def main() -> None:
    """Run the command line in a process of its own."""

    def command() -> None:
        from slamjax.cli.app import main as run

        run()

    run_stoppable(command)
