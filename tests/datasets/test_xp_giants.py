"""The sample that comes with the package."""

from importlib.resources import files

import numpy as np

from slamjax.datasets import load_xp_giants
from slamjax.datasets.xp_giants import LABELS, SAMPLE, WAVE_RANGE


def test_halves_share_no_star():
    train_half, test_half = load_xp_giants()
    assert len(train_half) == len(test_half) == 1000
    for name in ("apogee_id", "source_id"):
        assert not np.intersect1d(train_half.table[name], test_half.table[name]).size, name
    assert not np.intersect1d(train_half.digests(), test_half.digests()).size


def test_every_star_has_labels_and_every_pixel_an_error():
    for half in load_xp_giants():
        assert np.all(np.isfinite(half.values(LABELS)))
        assert np.all(half.values([f"{name}_err" for name in LABELS]) > 0)
        assert str(half.table["teff"].unit) == "K"
        assert np.mean(half.good & np.isfinite(half.ivar)) > 0.99
        assert half.wave[0] <= WAVE_RANGE[0] < WAVE_RANGE[1] <= half.wave[-1]
        assert half.medium == "vacuum"
        assert np.all(half.values(["ak_targ"]) > -1)  # no sentinels


def test_the_package_stays_small():
    assert len((files("slamjax.datasets") / SAMPLE).read_bytes()) <= 8e6
