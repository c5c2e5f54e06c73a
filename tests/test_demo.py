"""The demonstration runs and gives what it says."""

import sys
from contextlib import contextmanager

import numpy as np
import pytest

from slamjax import demo
from slamjax.errors import SlamError
from slamjax.modelfile import load
from slamjax.results import read_labels

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

    model = load(folder / "model.h5")
    assert len(model.domain.stars) == 120
    assert bars == [("training pixels", (len(model.wave),) * 2), ("fitting stars", (1000, 1000))]
    labels = read_labels(folder / "labels.fits")
    assert len(labels) == 1000
    report = (folder / "report.md").read_text().strip()
    assert report in "\n".join(said)
    # a demonstration on real stars is one only if it works: APOGEE's spread in this sample is 250 K
    scatter = np.nanmedian(np.abs(labels["teff"] - labels["teff_ref"]).value)
    assert scatter < 60


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SlamError, match=r"cannot make the folder .*below: Not a directory; choose another with -o"):
        demo.run(tmp_path / "file" / "below", bar=None)


def test_a_missing_matplotlib_is_told_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(SlamError, match="plots need matplotlib"):
        demo.run(tmp_path, bar=None)
    assert list(tmp_path.iterdir()) == []
