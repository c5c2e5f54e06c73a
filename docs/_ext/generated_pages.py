"""Pages that follow from the package: API reference, table of flags, command line; and the notebooks.

They are written before Sphinx reads its sources, and git ignores them. The groups of the reference are made from what
the package offers, so that no public name can be missing.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from typer.testing import CliRunner

import slamjax
from slamjax.flags import FLAG_ADVICE, FLAG_MEANINGS

DOCS = Path(__file__).parents[1]

#: Rooms in the order in which spectra pass through them, and the titles of their groups.
ROOMS = {
    "spectra": "Spectra",
    "io": "Reading and writing",
    "preprocessing": "Preparation",
    "training": "Training",
    "model": "The model",
    "emulators": "Emulators",
    "noise": "Noise models",
    "forward": "Forward model and nuisances",
    "fitting": "Fitting",
    "sampling": "Posteriors",
    "survey": "Surveys",
    "validation": "Validation",
    "plots": "Figures",
    "views": "In words",
    "explorer": "In a browser",
    "reports": "Reports",
    "datasets": "Data that ship with the package",
    "flags": "Flags",
    "errors": "Errors",
    "_util": "Compiled programs",
}


def is_module(value: Any) -> bool:
    return isinstance(value, ModuleType)


def root_names() -> list[str]:
    """Public names of ``slamjax`` itself that are no modules."""
    return [name for name in slamjax.__all__ if not is_module(getattr(slamjax, name)) and not name.startswith("__")]


def module_names(module: ModuleType) -> list[str]:
    """Public names of a public module: what its face hands on."""
    listed = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return [name for name in listed if not is_module(getattr(module, name)) and _is_ours(getattr(module, name))]


def _is_ours(value: Any) -> bool:
    home = getattr(value, "__module__", None)
    return home is None or str(home).startswith("slamjax")


def room_of(value: Any) -> str:
    """The room that a public object lives in."""
    return str(value.__module__).split(".")[1]


def reference() -> dict[str, list[str]]:
    """Every public object by its room, under the shortest name: ``slamjax.train``, ``slamjax.sampling.known``.

    Raises ValueError for a public name whose room has no group.
    """
    groups: dict[str, list[str]] = {room: [] for room in ROOMS}
    seen: set[int] = set()
    for name in root_names():
        value = getattr(slamjax, name)
        room = room_of(value)
        if room not in groups:
            raise ValueError(f"slamjax.{name} lives in {room}, which has no group in docs/_ext/generated_pages.py")
        groups[room].append(f"slamjax.{name}")
        seen.add(id(value))
    for module_name in slamjax.__all__:
        module = getattr(slamjax, module_name)
        if not is_module(module):
            continue
        if module_name not in groups:
            raise ValueError(f"slamjax.{module_name} has no group in docs/_ext/generated_pages.py")
        for name in module_names(module):
            value = getattr(module, name)
            if id(value) not in seen:
                groups[module_name].append(f"slamjax.{module_name}.{name}")
                seen.add(id(value))
    return {room: names for room, names in groups.items() if names}


def resolve(full_name: str) -> Any:
    value: Any = slamjax
    for part in full_name.split(".")[1:]:
        value = getattr(value, part)
    return value


def _write(path: Path, text: str) -> None:
    """Only what changed, so that Sphinx reads only that again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _heading(text: str, mark: str = "=") -> str:
    return f"{text}\n{mark * len(text)}\n\n"


def _short(full_name: str) -> str:
    return full_name.removeprefix("slamjax.")


def _object_page(full_name: str) -> str:
    value = resolve(full_name)
    lines = [_heading(full_name), ".. currentmodule:: slamjax\n\n"]
    if inspect.isclass(value):
        lines += [f".. autoclass:: {full_name}\n   :members:\n"]
        # members that other packages' base classes bring are documented there
        if all(_is_ours(base) or base.__module__ in ("builtins", "abc", "typing") for base in value.__mro__):
            lines.append("   :inherited-members: int, object, QTable, Exception, Warning, Protocol\n")
        special = [
            name for name in ("__call__", "__getitem__", "__len__") if getattr(vars(value).get(name), "__doc__", None)
        ]
        if special:
            lines.append(f"   :special-members: {', '.join(special)}\n")
    elif callable(value):
        lines.append(f".. autofunction:: {full_name}\n")
    else:
        lines.append(f".. autodata:: {full_name}\n")
    return "".join(lines)


def write_reference() -> None:
    """An overview, a page per room, a page per public object."""
    folder = DOCS / "api"
    modules = ", ".join(f"``slamjax.{name}``" for name in slamjax.__all__ if is_module(getattr(slamjax, name)))
    overview = [
        _heading("API reference"),
        "Every public name, grouped in the order in which spectra pass through the package. Names are relative to "
        f"``slamjax``: ``train`` is ``slamjax.train``. The public modules are {modules}. Everything else is private "
        "and may change.\n\n",
        ".. currentmodule:: slamjax\n\n",
    ]
    pages = {"index": overview}
    for room, names in reference().items():
        described = (inspect.getdoc(importlib.import_module(f"slamjax.{room}")) or "").split("\n\n")[0]
        table = [".. autosummary::\n   :nosignatures:\n\n", *(f"   {_short(name)}\n" for name in names), "\n"]
        overview += [_heading(ROOMS[room], "-"), f"{described}\n\n", *table]
        entries = [f"   {_short(name)} <{name}>\n" for name in names]
        toctree = [".. toctree::\n   :hidden:\n\n", *entries]
        module = f".. py:module:: slamjax.{room}\n\n" if room in slamjax.__all__ else ""
        head = [_heading(ROOMS[room]), module, f"{described}\n\n", ".. currentmodule:: slamjax\n\n"]
        pages[room] = [*head, *table, *toctree]
        pages |= {name: [_object_page(name)] for name in names}
    overview += [".. toctree::\n   :hidden:\n\n", *(f"   {room}\n" for room in reference())]
    for name, parts in pages.items():
        _write(folder / f"{name}.rst", "".join(parts))
    for path in folder.glob("*.rst"):
        if path.stem not in pages:
            path.unlink()


def write_flags() -> None:
    rows = ["| flag | value | meaning |", "| --- | --- | --- |"]
    rows += [f"| `{flag.name}` | {int(flag)} | {meaning} |" for flag, meaning in FLAG_MEANINGS.items()]
    _write(DOCS / "_generated" / "flags.md", "\n".join(rows) + "\n")
    rows = ["| flag | what to do |", "| --- | --- |"]
    rows += [f"| `{flag.name}` | {advice} |" for flag, advice in FLAG_ADVICE.items()]
    _write(DOCS / "_generated" / "flag_advice.md", "\n".join(rows) + "\n")


def write_commands() -> None:
    """What ``slamjax COMMAND --help`` prints in a terminal of 96 columns."""
    from slamjax.cli.app import COMMANDS, app

    plain = {"COLUMNS": "96", "TERMINAL_WIDTH": "96", "NO_COLOR": "1", "TERM": "dumb"}
    run = CliRunner(env=plain)
    parts = []
    for name in COMMANDS:
        shown = run.invoke(app, [name, "--help"], prog_name="slamjax").output
        parts.append(f"## slamjax {name}\n\n```text\n{shown.strip()}\n```")
    _write(DOCS / "_generated" / "commands.md", "\n\n".join(parts) + "\n")


def copy_notebooks() -> None:
    """Sphinx reads only what lies below docs/."""
    target = DOCS / "notebooks"
    target.mkdir(exist_ok=True)
    sources = {path.name: path for path in (DOCS.parent / "notebooks").glob("*.ipynb")}
    for name, source in sources.items():
        if not (target / name).exists() or (target / name).read_bytes() != source.read_bytes():
            shutil.copyfile(source, target / name)
    for path in target.glob("*.ipynb"):
        if path.name not in sources:
            path.unlink()


def write_all(*_: Any) -> None:
    write_reference()
    write_flags()
    write_commands()
    copy_notebooks()


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
