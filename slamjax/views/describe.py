"""`describe`: an object or a file of slamjax in several lines of text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from astropy.table import Table

from slamjax._util.cards import text_card
from slamjax.errors import SlamError
from slamjax.io import LabelTable
from slamjax.model.description import describe_model
from slamjax.model.model import Model
from slamjax.preprocessing import Recipe
from slamjax.spectra.spectra import Spectra
from slamjax.views.files import open_file

if TYPE_CHECKING:
    from slamjax.sampling import Posterior

#: What can be described.
Thing: TypeAlias = "Model | Spectra | Posterior | Recipe | Table"
#: Stars of a label table or posterior that are listed.
_LISTED = 10


@runtime_checkable
class Sampled(Protocol):
    """What a `Posterior` is known by: to import it would take NumPyro, which a model's description does not need."""

    def title(self) -> str: ...
    def facts(self) -> dict[str, str]: ...
    def table(self) -> LabelTable: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any) -> Any: ...


def describe(thing: Thing | str | os.PathLike[str]) -> str:
    """A model, spectra, labels, a posterior or a recipe in several lines of text.

    Parameters
    ----------
    thing : Model, Spectra, Posterior, Recipe, label table, or path of a file of one of them

    Returns
    -------
    str

    Raises
    ------
    SlamError
        For a file that cannot be read or is of another kind, or a table without labels.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> print("\\n".join(slamjax.describe(stars).splitlines()[:3]))
    1000 spectra of 343 pixels
      from         the embedded XP giants, split == "train"
      wavelengths  336 to 1020 nm, vacuum, observed frame, line spread unknown
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> print(slamjax.describe(model).splitlines()[0])
    polynomial of the labels of degree 2 (quadratic), 31 of 31 pixels trained, 100 stars
    """
    if isinstance(thing, str | os.PathLike):
        opened = open_file(thing)
        return "\n".join([describe(opened.thing), *opened.notes])
    if isinstance(thing, Model):
        return describe_model(thing)
    if isinstance(thing, Recipe):
        return _recipe(thing)
    if isinstance(thing, Spectra):
        return text_card(thing.title(), thing.facts())
    if isinstance(thing, Sampled):
        return _with_stars(text_card(thing.title(), thing.facts()), thing[:_LISTED].table(), len(thing))
    if isinstance(thing, Table):
        labels = as_labels(thing)
        return _with_stars(text_card(labels.title(), labels.facts()), labels[:_LISTED], len(labels))
    raise TypeError(f"describe takes models, spectra, posteriors, label tables, recipes and paths, not {type(thing)}")


def as_labels(table: Table) -> LabelTable:
    """A table of `slamjax.fit`, however it was kept; raises SlamError for others."""
    labels = LabelTable(table, copy=False)
    if not labels.label_names:
        raise SlamError("this table does not name its labels (meta['labels']); give one of slamjax.fit")
    return labels


def _with_stars(text: str, table: LabelTable, n: int) -> str:
    """The text, and a list of the first stars of n."""
    listed = "\n".join(table.brief().pformat(max_lines=-1, max_width=-1, align="<"))
    more = f"\nand {n - _LISTED} more" if n > _LISTED else ""
    return f"{text}\n\n{listed}{more}" if n else text


def _recipe(recipe: Recipe) -> str:
    n = len(recipe.steps)
    title = f"Recipe of {n} step{'' if n == 1 else 's'}" if n else "Recipe without steps: spectra as they are"
    return text_card(title, {f"{number}.": str(step) for number, step in enumerate(recipe.steps, start=1)})
