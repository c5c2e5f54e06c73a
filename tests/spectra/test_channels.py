"""Columns of a table as the pixels of a model: magnitudes beside spectra."""

import numpy as np
import pytest
from models import many_giants

import slamjax
from slamjax import SlamError

LABELS = ["teff", "logg"]


def photometry(stars, seed=0):
    """A colour and a luminosity that follow from the labels, with their noise."""
    rng = np.random.default_rng(seed)
    teff, logg = stars.values("teff"), stars.values("logg")
    table = {name: stars.values(name) for name in LABELS}
    table["colour"] = (5040 / teff - 1) + 0.01 * rng.normal(size=len(stars))
    table["luminosity"] = 4 * np.log10(teff / 5000) - logg + 0.05 * rng.normal(size=len(stars))
    return table


def test_columns_and_their_errors_become_pixels():
    table = {"g": [10.0, np.nan, 12.0], "g_err": [0.1, 0.1, -1.0], "k": np.ma.masked_equal([7.0, 8.0, 9.0], 8.0)}
    found = slamjax.channels(table, ["g", "k"], errors={"k": 0.5})
    np.testing.assert_allclose(found.ivar, [[100, 4], [0, 0], [0, 4]])
    assert list(found.wave) == [1, 2]
    assert found.table.colnames == ["g", "g_err", "k"]
    assert np.isinf(slamjax.channels({"g": [1.0, 2.0]}, ["g"]).ivar).all()


def test_a_model_of_channels_is_trained_kept_and_fitted(tmp_path):
    stars, others = many_giants()
    errors = {"colour": 0.01, "luminosity": 0.05}
    training, new = (
        slamjax.channels(photometry(each, k), list(errors), errors) for k, each in enumerate((stars, others))
    )
    model = slamjax.train(training, LABELS, emulator=slamjax.Polynomial(), noise="diagonal")
    model.write(tmp_path / "channels.h5")
    labels = slamjax.fit(slamjax.Model.read(tmp_path / "channels.h5"), new)
    pull = (np.asarray(labels["teff"], float) - others.values("teff")) / np.asarray(labels["teff_err"], float)
    good = np.asarray(labels["flags"]) == 0
    assert good.mean() > 0.7
    assert 0.7 < np.std(pull[good]) < 1.4


@pytest.mark.long
def test_channels_beside_a_spectrum_narrow_its_labels():
    stars, others = many_giants()
    errors = {"colour": 0.01, "luminosity": 0.05}
    options = {"emulator": slamjax.Polynomial(), "noise": "diagonal", "search": slamjax.SearchSpec(folds=2)}
    recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm", continuum="gaussian:50nm")
    models = {
        "spectrum": slamjax.train(stars[:200], LABELS, recipe=recipe, **options),
        "channels": slamjax.train(slamjax.channels(photometry(stars), list(errors), errors), LABELS, **options),
    }
    observed = {"spectrum": others, "channels": slamjax.channels(photometry(others, 5), list(errors), errors)}
    alone, both = slamjax.fit(models["spectrum"], others), slamjax.fit(models, observed).labels
    for name in LABELS:
        off = [np.median(np.abs(np.asarray(each[name], float) - others.values(name))) for each in (alone, both)]
        assert off[1] < 0.8 * off[0], name


@pytest.mark.parametrize(
    ("columns", "errors", "message"),
    [
        (["nothing"], None, "'nothing' is no column of the table; its columns are g, name"),
        (["g"], {"k": 0.1}, "'k', which is no channel"),
        (["name"], None, "'name' holds no numbers"),
        ([], None, "name at least one"),
    ],
)
def test_what_is_no_channel_is_told(columns, errors, message):
    with pytest.raises(SlamError, match=message):
        slamjax.channels({"g": [1.0, 2.0], "name": ["a", "b"]}, columns, errors)
