"""``slamjax visits``: several spectra of a star, one row of labels."""

import numpy as np
from commands import run
from helpers import xp_giants

import slamjax


def test_rows_of_one_star_become_one(tmp_path, trained, refused):
    stars = xp_giants().select("logg < 1.1 & teff > 3600")[[0, 0, 1]]
    table, labels, single = tmp_path / "visits.fits", tmp_path / "labels.fits", tmp_path / "single.fits"
    slamjax.write_table(stars, table)
    printed = run(
        "visits", trained[0], table, "-o", labels, "--star", "source_id", "--spectra-table", single, "--n-starts", 1
    )
    assert "3 spectra of 2 stars" in printed
    found, spectra = slamjax.read_labels(labels), slamjax.read_labels(single)
    assert found["n_visits"].tolist() in ([2, 1], [1, 2])
    assert len(spectra) == 3
    assert np.isfinite(np.asarray(found["teff"])).all()
    assert np.isfinite(np.asarray(found["teff_stack"])).all()
    message = refused("visits", trained[0], table, "-o", labels)
    assert "has no column 'id' that says whose its spectra are" in message
    again = refused("visits", trained[0], table, "-o", labels, "--star", "source_id", "--spectra-table", labels)
    assert "is also the output" in again
    shared = refused("visits", trained[0], table, "-o", labels, "--star", "source_id", "--shared", "rv, extinction")
    assert "rv is shared, but is no free nuisance of any model" in shared
