"""The command line: its commands, and what becomes of errors."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated

import typer

import slamjax
from slamjax.cli.comparing import compare
from slamjax.cli.console import console, errors, show_warning
from slamjax.cli.judging import calibrate, validate
from slamjax.cli.labelling import fit, sample
from slamjax.cli.making import read, train
from slamjax.cli.showing import demo, info, plot
from slamjax.errors import SlamError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="SLAM, the Stellar LAbel Machine, in JAX: learn spectra from stars with known labels, then label other stars.",
)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        console.print(slamjax.__version__)
        raise typer.Exit()


for command in (read, train, fit, sample, validate, calibrate, compare, info, plot, demo):
    app.command()(command)


def main() -> None:
    """Run the command line; an error becomes one sentence and exit status 1."""
    warnings.showwarning = show_warning
    try:
        app()
    except SlamError as error:
        errors.print(f"slamjax: error: {error}", style="red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("slamjax: stopped; nothing was written half", markup=False)
        sys.exit(130)
