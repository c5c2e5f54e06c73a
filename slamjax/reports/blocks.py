"""What a report is made of: sections of sentences, facts, tables and charts, and their HTML."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

_NUMBER = ' class="number"'
_NOTE = ' class="note"'


@dataclass(frozen=True)
class Sentence:
    """A paragraph; one that says that something is missing stands back."""

    text: str
    is_note: bool = False


@dataclass(frozen=True)
class Facts:
    """Topics, and what there is to say of each."""

    facts: Mapping[str, str]


@dataclass(frozen=True)
class Column:
    """A column of a table: what is shown, and, for numbers, what is sorted by."""

    title: str
    texts: Sequence[str]
    numbers: Sequence[float] | None = None

    @classmethod
    def of_numbers(cls, title: str, values: Any, form: Callable[[float], str]) -> Column:
        """Numbers and how they are written; "-" where they are not finite."""
        plain = [float(value) for value in values]
        return cls(title, [form(value) if np.isfinite(value) else "-" for value in plain], plain)


@dataclass(frozen=True)
class Sheet:
    """A table that a click on a heading sorts; ``name`` is what it is found by."""

    name: str
    columns: Sequence[Column]


@dataclass(frozen=True)
class Chart:
    """A figure of Bokeh, and what it shows.

    ``kind`` is "small", "double", "tall" (two by two small ones) or "wide"; ``below`` is a second figure under it.
    """

    title: str
    figure: Any
    note: str = ""
    kind: str = "small"
    below: Any = None


@dataclass(frozen=True)
class Charts:
    """Charts side by side, as many as there is room for."""

    charts: Sequence[Chart]


@dataclass(frozen=True)
class Folded:
    """A long text as it is, which is seen when it is asked for."""

    title: str
    text: str


Block: TypeAlias = Sentence | Facts | Sheet | Charts | Folded


@dataclass(frozen=True)
class Section:
    """A part of a report under a heading; ``name`` is where links lead to."""

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass
class Body:
    """HTML of sections, and the figures that belong into it, by the elements that they go to."""

    parts: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def html(self) -> str:
        return "\n".join(self.parts)

    def add(self, section: Section) -> None:
        self.parts.append(f'<section class="panel" id="{section.name}">\n<h2>{_safe(section.title)}</h2>')
        for block in section.blocks:
            self.parts.append(self._block(block))
        self.parts.append("</section>")

    def _block(self, block: Block) -> str:
        match block:
            case Sentence(text, is_note):
                return f"<p{_NOTE if is_note else ''}>{_safe(text)}</p>"
            case Facts(facts):
                rows = "".join(f"<dt>{_safe(topic)}</dt><dd>{_safe(fact)}</dd>" for topic, fact in facts.items())
                return f"<dl>{rows}</dl>"
            case Sheet():
                return _sheet(block)
            case Charts(charts):
                return f'<div class="charts">{"".join(self._chart(chart) for chart in charts)}</div>'
            case Folded(title, text):
                return f"<details><summary>{_safe(title)}</summary><pre>{_safe(text)}</pre></details>"

    def _chart(self, chart: Chart) -> str:
        note = f"<p>{_safe(chart.note)}</p>" if chart.note else ""
        parts = [f'<figure class="chart {chart.kind}"><figcaption><b>{_safe(chart.title)}</b>{note}</figcaption>']
        for figure in filter(None, (chart.figure, chart.below)):
            name = f"chart-{len(self.figures)}"
            self.figures[name] = figure
            parts.append(f'<div class="figure" id="{name}" role="img" aria-label="{_safe(chart.title)}"></div>')
        return "".join([*parts, "</figure>"])


def contents(sections: Iterable[Section]) -> str:
    """Links to sections."""
    return "".join(f'<a href="#{section.name}">{_safe(section.title)}</a>' for section in sections)


def _sheet(sheet: Sheet) -> str:
    if not sheet.columns or not sheet.columns[0].texts:
        return '<p class="note">This table has no rows.</p>'
    head = "".join(
        f'<th scope="col"{_of_number(column)}><button type="button">{_safe(column.title)}</button></th>'
        for column in sheet.columns
    )
    rows = "".join(
        f"<tr>{''.join(_cell(column, k) for column in sheet.columns)}</tr>" for k in range(len(sheet.columns[0].texts))
    )
    return (
        f'<div class="scroll"><table class="sheet" data-name="{_safe(sheet.name)}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(column: Column, row: int) -> str:
    key = ""
    if column.numbers is not None and np.isfinite(column.numbers[row]):
        key = f' data-value="{column.numbers[row]!r}"'
    return f"<td{_of_number(column)}{key}>{_safe(column.texts[row])}</td>"


def _of_number(column: Column) -> str:
    return "" if column.numbers is None else _NUMBER


def _safe(text: object) -> str:
    return html.escape(str(text))
