"""Training stars whose labels or pixels cannot be true, and labels that contradict each other."""

import dataclasses
import re

import numpy as np
import pytest
from helpers import xp_giants
from models import LABELS, TWO_FOLDS, recipe

from slamjax.errors import SlamWarning
from slamjax.spectra.spectra import Spectra
from slamjax.training import DataSpec, Polynomial, train
from slamjax.training.plausibility import absurd_labels, absurd_pixels


def with_labels(spectra, **columns):
    table = spectra.table.copy()
    for name, values in columns.items():
        table[name] = values
    return dataclasses.replace(spectra, table=table)


def trained(spectra, labels=LABELS, **options):
    return train(spectra, labels, emulator=Polynomial(), recipe=recipe(), search=TWO_FOLDS, noise="diagonal", **options)


@pytest.mark.parametrize(
    ("value", "rows", "words"),
    [(1e10, [7], "1e\\+10"), (-9999, [3, 20, 21, 60, 90], "-9999"), (58_000, [7], "58000, far from")],
)
def test_an_absurd_label_is_named_and_does_not_train(value, rows, words):
    """Trained on such stars without a word, Teff was off by 51,011 K and 399 K in the median."""
    stars = xp_giants()[:110]
    teff = stars.values("teff").copy()
    teff[rows] = value
    with pytest.warns(SlamWarning, match=f"{len(rows)} of 110 stars are left out.*teff is {words}") as caught:
        model = trained(with_labels(stars, teff=teff))
    assert len([w for w in caught if "left out" in str(w.message)]) == 1
    assert str(stars.table["apogee_id"][rows[0]]).strip() in str(caught[0].message)
    assert sorted(model.info.screened["row"]) == [stars.rows[row] for row in rows]
    clean = trained(stars[~np.isin(np.arange(110), rows)])
    np.testing.assert_allclose(model.label_range, clean.label_range)


def test_long_tails_and_labels_in_a_few_values_are_no_outliers():
    rng = np.random.default_rng(1)
    tail = rng.exponential(20, 300)  # rotation: most slow, some fast
    two = np.where(rng.random(300) < 0.05, 0.3, 0.0)
    hot = np.concatenate([rng.uniform(4000, 7000, 290), np.linspace(7500, 30_000, 10)])
    values = np.stack([tail, two, hot], axis=1)
    assert absurd_labels(values, ["vsini", "alpha", "teff"]) == {}
    assert absurd_labels(np.full((50, 1), 1.0), ["same"]) == {}


def test_a_sentinel_inside_the_range_is_a_value():
    teff = np.append(np.linspace(6000, 14_000, 50), 9999)
    assert absurd_labels(teff[:, None], ["teff"]) == {}


def test_pixels_that_tell_nothing_are_found_and_others_are_not():
    prepared = recipe()(xp_giants()[:110])
    assert not absurd_pixels(prepared).any()
    flux, ivar = prepared.flux.copy(), prepared.ivar.copy()
    flux[5, 3], ivar[9, 30:33] = 1037.0, 1e-6
    found = absurd_pixels(prepared.with_arrays(flux, ivar))
    assert sorted(zip(*map(np.ndarray.tolist, np.nonzero(found)), strict=True)) == [(5, 3), (9, 30), (9, 31), (9, 32)]


def test_one_absurd_pixel_does_not_change_the_scale_of_the_others():
    stars = recipe()(xp_giants()[:110])
    flux = stars.flux.copy()
    flux[5, 3] = 1037.0
    models = [
        train(given, LABELS, emulator=Polynomial(), search=TWO_FOLDS, noise="diagonal")
        for given in (stars, stars.with_arrays(flux, stars.ivar))
    ]
    scales = [model.host_emulator.flux_scale[3] for model in models]
    np.testing.assert_allclose(scales[1], scales[0], rtol=0.1)


def test_contradicting_rows_of_a_star_are_named():
    stars = xp_giants()[:100]
    rows = np.append(np.arange(100), 4)
    teff = stars.values("teff")[rows].copy()
    teff[-1] += 500
    doubled = with_labels(stars[rows], teff=teff)
    name = re.escape(str(stars.table["apogee_id"][4]).strip())
    with pytest.warns(SlamWarning, match=f"1 star is listed more than once.*{name}, teff"):
        trained(doubled)


def test_equal_label_columns_are_named():
    stars = xp_giants()[:100]
    with pytest.warns(SlamWarning, match="'fe_h' and 'm_h' are the same"):
        trained(with_labels(stars, m_h=2 * stars.values("fe_h")), ("teff", "fe_h", "m_h"))


def test_screening_can_be_switched_off(recwarn):
    stars = xp_giants()[:110]
    teff = stars.values("teff").copy()
    teff[7] = 1e10
    model = trained(with_labels(stars, teff=teff), data=DataSpec(screen=False))
    assert not any("left out" in str(w.message) for w in recwarn)
    assert len(model.info.record.rows) == 110
    assert len(model.info.screened) == 0


def test_few_stars_have_no_bulk():
    assert absurd_labels(np.array([[1.0], [2.0], [1e10]]), ["teff"]) == {}
    assert isinstance(xp_giants(), Spectra)
