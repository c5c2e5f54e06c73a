"""The demonstration runs and gives what it says."""

import numpy as np
from commands import invoke

from slamjax.io.labels import read_labels


def test_everything_is_written_and_printed(tmp_path):
    folder = tmp_path / "new" / "folder"
    result = invoke("demo", "-o", folder, "--n-train", 120)
    printed = result.stdout
    files = ["labels.fits", "labels.png", "model.h5", "report.md", "spectra.png", "training.png"]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert printed.endswith(f"written to {folder}: {', '.join(files)}\n")
    bars = [
        line.split() for line in result.stderr.splitlines() if line.startswith(("training pixels", "fitting stars"))
    ]
    assert [next(word for word in bar if "/" in word) for bar in bars] == ["318/318", "1000/1000"]
    labels = read_labels(folder / "labels.fits")
    assert len(labels) == 1000
    assert (folder / "report.md").read_text().strip() in printed
    # the demonstration works if it beats the mean of the stars: 120 of 1,000 training stars halve the spread
    teff, known = labels["teff"].value, labels["teff_ref"].value
    assert np.nanmedian(np.abs(teff - known)) < 0.5 * np.median(np.abs(known - np.median(known)))


def test_a_folder_that_cannot_be_made_is_explained(refused, tmp_path):
    (tmp_path / "file").write_text("x")
    message = refused("demo", "-o", tmp_path / "file" / "below")
    assert message == f"cannot make the folder {tmp_path / 'file' / 'below'}: Not a directory; choose another with -o"
