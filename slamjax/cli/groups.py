"""Groups of options: a command takes one option object, its user sees one option per field.

A command declares a parameter whose type is a dataclass, and `option_groups` replaces it with options:

- a dataclass of the command line (`Preparation`, ...) annotates its fields with ``typer.Option`` itself;
- an option object of the library (`slamjax.SVR`, ...) is described by `offer`, which states flags and help. Defaults
  and choices are read from the object.

Only what the user gave is handed on, so an option that is left out has the library's default.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import typer

from slamjax.errors import SlamError

Spec = TypeVar("Spec")


@dataclass(frozen=True)
class Offered:
    """How the command line offers one field of an option object.

    Parameters
    ----------
    help : str
    flag : str, optional
        Default: the field's name; ``screen/--no-screen`` for one that can be switched off.
    metavar : str, optional
    type : type, optional
        What typer parses; default: the field's type.
    parse : callable, optional
        Turns what typer parsed into the field's value; its second argument is the flag, for messages.
    """

    help: str
    flag: str = ""
    metavar: str | None = None
    type: Any = None
    parse: Callable[[Any, str], Any] | None = None


@dataclass(frozen=True)
class Given(Generic[Spec]):
    """What the user gave of an option object that is made later, or not at all."""

    kind: type[Spec]
    values: Mapping[str, Any]
    flags: tuple[str, ...]

    def make(self, **more: Any) -> Spec:
        """The object, with further fields."""
        return self.kind(**self.values, **more)

    def refuse(self, owner: str, cure: str) -> None:
        """Raise if the user gave any of these options, which belong to ``owner``."""
        if self.flags:
            belong, them = ("belongs", "it") if len(self.flags) == 1 else ("belong", "them")
            raise SlamError(f"{', '.join(self.flags)} {belong} to {owner}; leave {them} out, or {cure}")


@dataclass(frozen=True)
class Flags:
    """Other flags than the offered ones, as in ``Annotated[SearchSpec, Flags(folds="search-folds")]``."""

    of: Mapping[str, str]


_OFFERS: dict[type, tuple[str, dict[str, Offered]]] = {}


def offer(kind: type, panel: str, fields: dict[str, Offered]) -> None:
    """Describe the fields of an option object that commands offer, and their panel in --help."""
    _OFFERS[kind] = panel, fields


def offered_fields(kind: type) -> tuple[str, ...]:
    """The fields of an option object that commands offer."""
    return tuple(_OFFERS[kind][1])


def default(source: Any, name: str) -> Any:
    """The default of a function's argument, or of a dataclass's field."""
    return inspect.signature(source).parameters[name].default


def option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command as typer shall see it, with each option object replaced by its options."""
    hints = get_type_hints(command, include_extras=True)
    signature = inspect.signature(command)
    parameters = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    groups: dict[str, _Group] = {}
    for name, parameter in signature.parameters.items():
        group = _group(hints[name])
        if group is None:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            groups[name] = group
            parameters += group.parameters

    def run(ctx: typer.Context, **values: Any) -> None:
        given = {name for name in values if getattr(ctx.get_parameter_source(name), "name", "") != "DEFAULT"}
        arguments = {name: value for name, value in values.items() if name in signature.parameters}
        for name, group in groups.items():
            arguments[name] = group.build({key: value for key, value in values.items() if key in given})
        command(**arguments)

    run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@dataclass(frozen=True)
class _Group:
    """Options of one object: per field the parameter that typer sees, its flag, and how it is parsed."""

    kind: type
    later: bool
    fields: dict[str, tuple[inspect.Parameter, str, Callable[[Any, str], Any] | None]]

    @property
    def parameters(self) -> list[inspect.Parameter]:
        return [parameter for parameter, _, _ in self.fields.values()]

    def build(self, given: Mapping[str, Any]) -> Any:
        values, flags = {}, []
        for field, (parameter, flag, parse) in self.fields.items():
            if parameter.name in given:
                value = given[parameter.name]
                values[field] = value if parse is None else parse(value, flag)
                flags.append(flag)
        return Given(self.kind, values, tuple(flags)) if self.later else self.kind(**values)


def _group(hint: Any) -> _Group | None:
    """The group that a parameter's type stands for, if it does."""
    flags: Mapping[str, str] = {}
    if get_origin(hint) is Annotated:
        hint, *metadata = get_args(hint)
        flags = next((one.of for one in metadata if isinstance(one, Flags)), {})
    later = get_origin(hint) is Given
    kind = get_args(hint)[0] if later else hint
    if kind in _OFFERS:
        return _Group(kind, later, _offered(kind, flags))
    if not dataclasses.is_dataclass(kind):
        return None
    fields = {}
    for name, annotation in get_type_hints(kind, include_extras=True).items():
        parameter = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default(kind, name), annotation=annotation
        )
        fields[name] = parameter, f"--{name.replace('_', '-')}", None
    return _Group(kind, later, fields)  # type: ignore[arg-type]


def _offered(kind: type, flags: Mapping[str, str]) -> dict[str, Any]:
    panel, fields = _OFFERS[kind]
    hints, options = get_type_hints(kind), {}
    for field, one in fields.items():
        flag = flags.get(field) or one.flag or field.replace("_", "-")
        option = typer.Option(f"--{flag}", metavar=one.metavar, help=one.help, rich_help_panel=panel)
        parameter = inspect.Parameter(
            flag.split("/")[0].replace("-", "_"),
            inspect.Parameter.KEYWORD_ONLY,
            default=_shown(default(kind, field)) if one.type is str else default(kind, field),
            annotation=Annotated[one.type or hints[field], option],
        )
        options[field] = parameter, f"--{flag.split('/')[0]}", one.parse
    return options


def _shown(value: Any) -> str:
    """A default as the user would type it."""
    if isinstance(value, tuple | list):
        return ",".join(map(_shown, value))
    return value if isinstance(value, str) else f"{value:g}"
