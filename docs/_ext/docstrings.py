"""How docstrings and names are shown: signatures, absolute values, links."""

from __future__ import annotations

import contextlib
import importlib
import re
from functools import cached_property
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref


def hide_private_parameters(
    _app: Any, _what: str, _name: str, _obj: Any, _options: Any, signature: str | None, returned: Any
) -> Any:
    """Parameters that begin with an underscore are not for callers."""
    return (re.sub(r", _\w+=[^,)]*", "", signature) if signature else signature), returned


def skip_plain_values(_app: Any, what: str, _name: str, value: Any, skip: bool, _options: Any) -> bool | None:
    """Defaults of a dataclass are described among its parameters, not as attributes once more."""
    described = callable(value) or isinstance(value, property | classmethod | staticmethod | cached_property)
    return True if what == "class" and not described else None


def escape_bars(_app: Any, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    """|x| is an absolute value in a docstring, not one of reStructuredText's substitutions."""
    example = literal = False
    for k, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        literal = (literal and (not line.strip() or line.startswith(" "))) or line.endswith("::")
        if not (example or literal):
            parts = line.split("``")
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            lines[k] = "``".join(parts)


def link_names(_app: Any, doctree: Any) -> None:
    """``slamjax.fit`` in a page links to the reference, and is a warning if there is no such name."""
    for literal in list(doctree.findall(nodes.literal)):
        text = literal.astext()
        if re.fullmatch(r"slamjax(\.\w+)+", text) and not isinstance(literal.parent, nodes.reference | pending_xref):
            link = pending_xref("", refdomain="py", reftype="obj", reftarget=text, refexplicit=True)
            literal.replace_self(link)
            link += literal


def leave_private_names(_app: Any, _env: Any, node: Any, shown: Any) -> Any:
    """A private name of slamjax that exists is shown without a link; one that does not is a warning."""
    target = str(node.get("reftarget", ""))
    parts = target.split(".")
    if parts[0] != "slamjax":
        return None
    for n in range(len(parts), 0, -1):
        with contextlib.suppress(ImportError, AttributeError):
            value = importlib.import_module(".".join(parts[:n]))
            for name in parts[n:]:
                value = getattr(value, name)
            return shown
    return None


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-signature", hide_private_parameters)
    app.connect("autodoc-process-docstring", escape_bars, priority=100)
    app.connect("autodoc-skip-member", skip_plain_values)
    app.connect("doctree-read", link_names)
    app.connect("missing-reference", leave_private_names)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
