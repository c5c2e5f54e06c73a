"""The demonstration runs and gives what it says."""

import numpy as np
import pytest
from commands import invoke
from models import giants_model, held_out

import slamjax
from slamjax.cli import demo
from slamjax.datasets import load_xp_giants
from slamjax.io.labels import read_labels


@pytest.mark.slow
def test_everything_is_written_and_printed(tmp_path, monkeypatch):
    """On every fourth pixel of 120 + 200 stars, which takes a quarter of the time."""
    stars, others = (sample.on_pixels(slice(None, None, 4)) for sample in load_xp_giants())
    monkeypatch.setattr(slamjax.datasets, "load_xp_giants", lambda: (stars, others[:200]))
    folder = tmp_path / "new" / "folder"
    result = invoke("demo", "-o", folder, "--n-train", 120)
    printed = result.stdout
    files = ["labels.fits", "labels.png", "model.h5", "report.html", "report.md", "spectra.png", "training.png"]
    assert sorted(path.name for path in folder.iterdir()) == files
    page = folder / "report.html"
    assert printed.endswith(f"written to {folder}: {', '.join(files)}\nopen this in a browser: {page}\n")
    model = slamjax.Model.read(folder / "model.h5")
    assert len(model.training_labels.stars) == 120
    words = result.stderr.split()
    assert f"{len(model.wave)}/{len(model.wave)}" in words
    assert f"0/{len(model.wave)}" not in words
    assert "200/200" in words
    labels = read_labels(folder / "labels.fits")
    assert len(labels) == 200
    assert (folder / "report.md").read_text().strip() in printed
    # the demonstration works if it beats the mean of the stars: 120 training stars halve the spread
    teff, known = labels["teff"].value, labels["teff_ref"].value
    assert np.nanmedian(np.abs(teff - known)) < 0.5 * np.median(np.abs(known - np.median(known)))


def test_without_bokeh_it_is_said_how_to_get_the_page(tmp_path, monkeypatch, capsys):
    model, stars = giants_model(), held_out()[:8]
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    demo._write(model, stars, slamjax.validate(model, stars, by="apogee_snr", on_progress=False), tmp_path)
    written, last = capsys.readouterr().out.splitlines()
    assert "report.html" not in written
    assert last == "for a page with all of this, pip install 'slamjax[explore]' and run slamjax demo again"
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_cannot_be_made_is_explained(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    message = refused("demo", "-o", tmp_path / "file" / "below")
    assert message == f"cannot make the folder {tmp_path / 'file' / 'below'}: Not a directory; choose another with -o"
