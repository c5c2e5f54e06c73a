"""The command line: its commands, and how errors end it."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Annotated, Any

import typer
import typer.core
import typer.main

import slamjax
from slamjax.cli.console import say, say_error, show_warning
from slamjax.errors import SlamError

#: Every command is the function of its name in the module of its name, with the line that --help lists it with.
COMMANDS = {
    "read": "Convert survey files to one table of spectra.",
    "train": "Train a model on stars with known labels.",
    "import-astroslam": "Make a model file of a dump of the original SLAM (astroslam).",
    "fit": "Fit the labels of every spectrum, with errors and flags.",
    "visits": "Fit all visits of each star together, beside their stack.",
    "collect": "Join what the shards of a fit, or of sampling, have finished.",
    "to-hats": "Make a catalogue by sky pixel (HATS) of label tables, for LSDB.",
    "sample": "Sample the posterior of the labels of every spectrum.",
    "validate": "Compare fitted with known labels, and errors with their scatter.",
    "calibrate": "Test posteriors on simulated stars (SBC, TARP).",
    "compare": "Train SLAM and The Cannon on the same stars and compare them on held-out ones.",
    "info": "Describe a file: a model, spectra, labels, a posterior or a recipe.",
    "explore": "Write a page to explore a model and its stars in a browser.",
    "report": "Write a page that says what a model and its fits are worth.",
    "plot": "Draw spectra, labels, errors, training scores or posteriors.",
    "demo": "Train on 1000 real giants, label 1000 others and draw the results.",
}
_MARKUP: Any = "markdown"


class CommandGroup(typer.core.TyperGroup):
    """Imports a command's module only when the command runs, so that ``slamjax --help`` is quick."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command's name and line for --help, without its options."""
        if cmd_name not in COMMANDS:
            return None
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name], rich_markup_mode=_MARKUP)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """The command with its options."""
    module = name.replace("-", "_")
    function = getattr(importlib.import_module(f"slamjax.cli.{module}"), module)
    one = typer.Typer(add_completion=False, rich_markup_mode=_MARKUP)
    one.command(name, help=f"{COMMANDS[name]}\n\n{function.__doc__}")(function)
    return typer.main.get_command(one)


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=_MARKUP,
    pretty_exceptions_enable=False,
    help="SLAM, the Stellar LAbel Machine, in JAX: train a model of spectra on stars with known labels, then fit the "
    "labels of other stars.",
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        say(slamjax.__version__)
        raise typer.Exit()


def main() -> None:
    """Run the command line; an error becomes one sentence and exit status 1."""
    warnings.showwarning = show_warning
    try:
        app()
    except SlamError as error:
        say_error(f"error: {error}")
        sys.exit(1)
