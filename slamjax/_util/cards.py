"""Facts of an object as text, and as a card in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

#: No colour is fixed: text has the notebook's own, lines are grey on light and on dark ground.
_LINE = "rgba(128,128,128,0.45)"
_CARD = (
    f"display:inline-block;max-width:60em;border:1px solid {_LINE};border-radius:6px;padding:0.6em 1em;"
    "margin:0.2em 0;line-height:1.45;text-align:left;overflow-x:auto"
)
_GRID = "display:grid;grid-template-columns:max-content auto;column-gap:1.2em"
_CELL = f"padding:0.15em 1.1em 0.15em 0;border-bottom:1px solid {_LINE};white-space:nowrap"


def text_card(title: str, facts: Mapping[str, str]) -> str:
    """A title, and one line for each topic and what there is to say of it."""
    return "\n".join([title, *(f"  {topic:12s} {fact}" for topic, fact in facts.items())])


def html_card(title: str, facts: Mapping[str, str], table: Iterable[Sequence[str]] = (), note: str = "") -> str:
    """The same as HTML, with rows of text below the facts (the first row is a header) and a last line."""
    parts = [f'<div style="{_CARD}">', f'<div style="font-weight:600;margin-bottom:0.3em">{_escape(title)}</div>']
    parts.append(f'<div style="{_GRID}">')
    for topic, fact in facts.items():
        parts.append(f'<div style="opacity:0.7">{_escape(topic)}</div><div>{_escape(fact)}</div>')
    parts.append("</div>")
    rows = [list(row) for row in table]
    if rows:
        columns = f"display:grid;grid-template-columns:repeat({len(rows[0])},max-content);margin-top:0.6em"
        parts.append(f'<div style="{columns}">')
        for number, row in enumerate(rows):
            style = f"{_CELL};font-weight:600" if number == 0 else _CELL
            parts += [f'<div style="{style}">{_escape(cell)}</div>' for cell in row]
        parts.append("</div>")
    if note:
        parts.append(f'<div style="opacity:0.7;margin-top:0.4em">{_escape(note)}</div>')
    return "\n".join([*parts, "</div>"])


def shortened(names: Sequence[str], most: int = 12) -> str:
    """Names in a row, the first ones only if there are many."""
    shown = ", ".join(names[:most])
    return f"{shown}, and {len(names) - most} more" if len(names) > most else shown


def _escape(text: str) -> str:
    return html.escape(str(text))
