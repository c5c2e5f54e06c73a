"""Columns that are known before a fit are those that a fit gives."""

import numpy as np
import pytest
from helpers import xp_giants
from models import quadratic_model

import slamjax
from slamjax.io.label_arrow import from_arrow, to_arrow
from slamjax.survey import label_schema

pytest.importorskip("pyarrow")
CARRIED = {"apogee_id": "str"}


def fitted(n=3, **options):
    fitter = slamjax.Fitter(quadratic_model(), n_starts=1, **options)
    return fitter, fitter.fit(xp_giants()[110 : 110 + n])


@pytest.mark.parametrize(
    "options", [{}, {"posterior_mean": True}, {"nuisances": slamjax.Nuisances(sigma_v="free", polynomial=2)}]
)
def test_a_fit_gives_the_columns_that_were_stated(options):
    fitter, labels = fitted(**options)
    carried = {
        name: "str" if column.dtype.kind == "U" else column.dtype.str
        for name, column in xp_giants().table.columns.items()
        if column.dtype.kind in "iUb" or name in ("ra", "dec")
    }
    assert "apogee_id" in carried
    schema = label_schema(fitter, carried, velocity="rv" in labels.colnames, references=fitter.model.label_names)
    assert [name for name in schema.names if name != "problem"] == labels.colnames
    for column in schema.columns:
        if column.name == "problem":
            continue
        given = labels[column.name]
        assert given.shape[1:] == column.shape
        assert np.dtype(column.dtype).kind == given.dtype.kind
        if column.dtype != "str":
            assert np.dtype(column.dtype) == given.dtype, column.name
        empty = schema.empty()[column.name]
        assert getattr(given, "unit", None) == getattr(empty, "unit", None), column.name


def test_every_table_gets_the_same_columns_and_types():
    fitter, labels = fitted()
    schema = label_schema(fitter, {**CARRIED, "gaia": "int64"}, velocity=True)
    fixed = schema.conform(labels)
    assert tuple(fixed.colnames) == schema.names
    np.testing.assert_array_equal(fixed["teff"], labels["teff"])
    np.testing.assert_array_equal(fixed["apogee_id"], labels["apogee_id"])
    assert np.all(np.isnan(fixed["rv_err"]))
    assert fixed["gaia"].tolist() == [0, 0, 0]
    assert list(fixed["problem"]) == ["", "", ""]
    assert fixed.label_names == labels.label_names


def test_nothing_is_lost_in_arrow():
    labels = fitted()[1]
    labels["problem"] = ["", "Ångström is no file", "b"]
    labels["cov"][1] = np.nan
    back = from_arrow(to_arrow(labels))
    assert back.colnames == labels.colnames
    assert back.meta == labels.meta
    for name in labels.colnames:
        np.testing.assert_array_equal(back[name], labels[name])
        assert back[name].dtype.kind == labels[name].dtype.kind
        assert getattr(back[name], "unit", None) == getattr(labels[name], "unit", None)


def test_an_empty_partition_has_the_types_of_a_full_one():
    fitter, labels = fitted()
    schema = label_schema(fitter, CARRIED)
    frame, meta = schema.frame(labels), schema.meta()
    assert len(meta) == 0
    assert frame.dtypes.equals(meta.dtypes)
    assert frame["cov_teff_logg"].tolist() == labels["cov"][:, 0, 1].tolist()
    assert to_arrow(schema.conform(labels)).schema.equals(schema.arrow(), check_metadata=True)
