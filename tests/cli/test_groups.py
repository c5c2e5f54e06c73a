"""Options that are made from the fields of option objects."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from slamjax.cli.groups import Flags, Given, Offered, default, offer, option_groups
from slamjax.cli.options import numbers
from slamjax.errors import SlamError


@dataclass(frozen=True)
class Oven:
    """An option object of the library."""

    heat: float | tuple[float, ...] = (150.0, 180.0)
    mode: Literal["fan", "grill"] = "fan"
    secret: int = 7


@dataclass(frozen=True)
class Table:
    """A group of the command line."""

    guests: Annotated[int, typer.Option(help="Guests.")] = 4


offer(
    Oven,
    "Oven",
    {"heat": Offered("Degrees.", type=str, parse=numbers), "mode": Offered("How it heats.", flag="oven-mode")},
)


def served(command, *arguments):
    """What a command was called with."""
    calls = []

    @option_groups
    def serve(*, dish: str, oven: Oven, table: Table) -> None:
        calls.append((dish, oven, table))

    @option_groups
    def later(*, oven: Annotated[Given[Oven], Flags({"heat": "warmth"})]) -> None:
        calls.append(oven)

    app = typer.Typer()
    app.command()({"serve": serve, "later": later}[command])
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return calls[0] if calls else result.stdout


def test_omitted_options_have_the_defaults_of_the_object():
    assert served("serve", "pie") == ("pie", Oven(), Table())
    assert default(Oven, "secret") == 7


def test_given_options_are_parsed_into_the_object():
    arguments = ["pie", "--heat", "100,120", "--oven-mode", "grill", "--guests", "2"]
    assert served("serve", *arguments) == ("pie", Oven(heat=[100.0, 120.0], mode="grill"), Table(guests=2))


def test_help_shows_defaults_as_they_are_typed_and_hides_what_is_not_offered():
    text = served("serve", "--help")
    assert "[default: 150,180]" in text
    assert "secret" not in text


def test_an_object_that_is_not_wanted_refuses_its_options():
    given = served("later", "--warmth", "90")
    assert given.make(secret=1) == Oven(heat=90.0, secret=1)
    with pytest.raises(SlamError, match="--warmth belongs to the oven; leave it out, or buy one"):
        given.refuse("the oven", "buy one")
    served("later").refuse("the oven", "buy one")
