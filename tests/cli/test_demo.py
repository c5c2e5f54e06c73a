"""The demonstration runs and gives what it says."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest

from slamjax.cli import demo
from slamjax.errors import SlamError
from slamjax.io.labels import read_labels
from slamjax.model.model import Model

pytest.importorskip("matplotlib")


def test_everything_is_written_and_the_table_printed(tmp_path):
    said, bars = [], []

    @contextmanager
    def bar(title):
        told = []
        yield lambda done, total: told.append((done, total))
        bars.append((title, told[-1]))

    demo.run(tmp_path / "new" / "folder", n_train=120, say=said.append, bar=bar)
    folder = tmp_path / "new" / "folder"
    files = ["labels.fits", "labels.png", "model.h5", "report.md", "spectra.png", "training.png"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert said[-1].endswith(", ".join(files))

    model = Model.read(folder / "model.h5")
    assert len(model.training_labels.stars) == 120
    assert bars == [("training pixels", (len(model.wave),) * 2), ("fitting stars", (1000, 1000))]
    labels = read_labels(folder / "labels.fits")
    assert len(labels) == 1000
    report = (folder / "report.md").read_text().strip()
    assert report in "\n".join(said)
    # a demonstration works if it knows more than the stars' mean; 120 of 1,000 training stars halve the spread
    teff, known = labels["teff"].value, labels["teff_ref"].value
    assert np.nanmedian(np.abs(teff - known)) < 0.5 * np.median(np.abs(known - np.median(known)))


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SlamError, match=r"cannot make the folder .*below: Not a directory; choose another with -o"):
        demo.run(tmp_path / "file" / "below", bar=None)


def test_a_missing_matplotlib_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SlamError, match="plots need matplotlib"):
        demo.run(tmp_path, bar=None)
    assert list(tmp_path.iterdir()) == []
