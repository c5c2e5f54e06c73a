"""The notebooks run from top to bottom, on fewer stars, pixels and draws than in the documentation."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))

#: What is replaced in a notebook's cells; each of these must be there.
SMALLER = {
    "cannon_vs_slam": {
        "(376, 1010)": "(500, 620)",
        "n_train=400": "n_train=150",
        "test_stars[:500]": "test_stars[:100]",
    },
    "explorer": {
        "(376, 1010)": "(500, 620)",
        "n_train=300": "n_train=150",
        "[:60]": "[:12]",
    },
    "giant_branch": {
        "(376, 1010)": "(500, 620)",
        "n_train=400": "n_train=150",
        "length=150": "length=20",
        "values[75]": "values[10]",
    },
    "lamost": {
        "SamplerSpec(draws=500)": "SamplerSpec(draws=60, warmup=40)",
    },
    "posteriors": {
        "(376, 660)": "(500, 620)",
        'SamplerSpec(method="nuts", chains=4)': 'SamplerSpec(method="nuts", chains=4, draws=60, warmup=40)',
        "slamjax.sample(model, test_stars[:100])": (
            "slamjax.sample(model, test_stars[:16], sampler=slamjax.SamplerSpec(draws=60, warmup=40))"
        ),
        "[:30]]": "[:8]]",
        "num_warmup=300, num_samples=1000": "num_warmup=40, num_samples=60",
    },
    "quickstart": {
        "(376, 1010)": "(500, 620)",
        "n_train=400": "n_train=300",
        "= load_xp_giants()": "= (stars[:400] for stars in load_xp_giants())",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    for old, new in SMALLER[path.stem].items():
        assert any(old in cell.source for cell in book.cells if cell.cell_type == "code"), old
        for cell in book.cells:
            cell.source = cell.source.replace(old, new)
    NotebookClient(book, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_every_notebook_is_tested():
    assert {path.stem for path in NOTEBOOKS} == set(SMALLER)
