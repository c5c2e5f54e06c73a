"""Pages that need no server: how one is put together, written, and shown in a notebook."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from slamjax._util.files import atomic_path, check_writable

#: Height of a page in a notebook, in pixels.
_HEIGHT = 900


@dataclass(frozen=True, eq=False, repr=False)
class Page:
    """One self-contained page; a notebook shows it where it is the last value of a cell.

    Attributes
    ----------
    html : str
        The whole page: it needs no server, no other file and no network.
    """

    html: str
    #: Of the frame in a notebook.
    frame_title: ClassVar[str] = "slamjax"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file; it appears whole or not at all.

        Parameters
        ----------
        path : path
            An existing file is replaced.

        Raises
        ------
        SlamError
            If the file cannot be written.
        """
        check_writable(path)
        with atomic_path(path) as temporary:
            temporary.write_text(self.html, encoding="utf-8")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.html) / 1e6:.1f} MB; write it to a file with .write)"

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" style="width:100%;height:{_HEIGHT}px;border:0" '
            f'title="{self.frame_title}"></iframe>'
        )


def filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with each ``<!--name-->`` replaced; what is put in is not looked at again."""
    first, *rest = template.split("<!--")
    return first + "".join(parts[piece.partition("-->")[0]] + piece.partition("-->")[2] for piece in rest)
