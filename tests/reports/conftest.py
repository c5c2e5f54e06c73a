"""What tests of reports share."""

import html
import re
from functools import cache

import pytest
from models import giants_model, held_out
from pages import browser as browser
from pages import opened as opened

import slamjax


@cache
def _validated():
    stars = held_out()
    return slamjax.validate(giants_model(), stars, by="apogee_snr", n_starts=1, on_progress=False)


@cache
def _page():
    return slamjax.report(giants_model(), held_out(), validation=_validated(), name="giants")


@pytest.fixture
def validated():
    """The 40 giants that the model has not seen."""
    return _validated()


@pytest.fixture
def page():
    """A report of the model and of these stars."""
    return _page()


@pytest.fixture
def sheet():
    """Rows of a table of a page, as dictionaries of texts by heading."""

    def rows(page, name):
        (table,) = re.findall(rf'<table class="sheet" data-name="{name}">(.*?)</table>', page.html, re.DOTALL)
        heads = [html.unescape(head) for head in re.findall(r"<button[^>]*>(.*?)</button>", table)]
        found = re.findall(r"<tr>(.*?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
        cells = [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in found]
        return [dict(zip(heads, row, strict=True)) for row in cells]

    return rows


@pytest.fixture
def words():
    """The text of a page without its scripts, style and tags."""

    def text(page):
        body = page.html.partition("<body")[2].partition("<script")[0]
        return html.unescape(re.sub(r"<[^>]*>", " ", body))

    return text
