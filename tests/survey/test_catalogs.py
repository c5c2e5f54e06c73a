"""Spectra of an LSDB catalogue to a catalogue of labels."""

from functools import cache

import dask
import lsdb
import numpy as np
import pandas
import pyarrow as pa
import pytest
from astropy import units as u
from models import giants_model, held_out

import slamjax
from slamjax.errors import SlamError
from slamjax.flags import Flag
from slamjax.survey import catalogs, fit_catalog
from slamjax.survey.catalogs import labels_of_partition

IDENTIFIERS = ["ra", "dec", "apogee_id", "source_id"]


def stars():
    """40 giants; 2MASS names are positions."""
    spectra = held_out()
    names = np.asarray(spectra.table["apogee_id"])
    spectra.table["ra"] = [15 * (int(n[2:4]) + int(n[4:6]) / 60 + int(n[6:10]) / 360_000) for n in names]
    north = [-1 if name[10] == "-" else 1 for name in names]
    spectra.table["dec"] = (
        np.array([int(n[11:13]) + int(n[13:15]) / 60 + int(n[15:18]) / 36_000 for n in names]) * north
    )
    return spectra


def position(name):
    """Of a name such as 2M05292000+6657428, in degrees."""
    numbers = [int(name[k : k + 2]) for k in (2, 4, 11, 13)]
    ra = 15 * (numbers[0] + numbers[1] / 60 + int(name[6:10]) / 360_000)
    dec = numbers[2] + numbers[3] / 60 + int(name[15:18]) / 36_000
    return ra, -dec if name[10] == "-" else dec


def frame(spectra, errors="ivar"):
    """A data frame with columns of lists."""
    columns = {name: np.asarray(spectra.table[name]) for name in spectra.table.colnames}
    data = pandas.DataFrame(columns)
    data["flux"] = pandas.Series(pandas.arrays.ArrowExtensionArray(lists(spectra.flux)))
    values = spectra.ivar if errors == "ivar" else spectra.ivar**-0.5
    data[errors] = pandas.Series(pandas.arrays.ArrowExtensionArray(lists(values)))
    return data


def lists(rows):
    return pa.array([list(row) for row in rows], pa.list_(pa.float32()))


def catalog_of(data):
    return lsdb.from_dataframe(data, ra_column="ra", dec_column="dec", partition_rows=20, margin_threshold=None)


@cache
def expected():
    return slamjax.fit(giants_model(), held_out())


def computed(catalog):
    with dask.config.set(scheduler="synchronous"):
        return catalog.compute(progress_bar=False)


def spectra_wave():
    return held_out().wave * u.nm


#: Errors by which labels of different batches may differ: in float32 a fit ends where less than 0.002 of one is left.
TOLERANCE = 0.005


def assert_labels(table):
    """Labels of the 40 giants in any order."""
    rows = {name: row for row, name in enumerate(np.asarray(held_out().table["source_id"]))}
    order = [rows[name] for name in table["source_id"].to_numpy()]
    assert sorted(order) == list(range(40))
    for name in giants_model().label_names:
        error = expected()[f"{name}_err"].value[order]
        np.testing.assert_array_less(np.abs(table[name].to_numpy() - expected()[name].value[order]), TOLERANCE * error)
        np.testing.assert_allclose(table[f"{name}_err"].to_numpy(), error, rtol=0.01)
        np.testing.assert_allclose(table[f"{name}_ref"].to_numpy(), held_out().values(name)[order], rtol=1e-6)
    np.testing.assert_array_equal(table["flags"].to_numpy(), np.asarray(expected()["flags"])[order])
    cov = np.asarray(expected()["cov"])[order]
    np.testing.assert_allclose(table["cov_teff_logg"].to_numpy(), cov[:, 0, 1], rtol=0.02, atol=1e-3)


def test_a_catalogue_has_the_labels_of_fit_beside_what_it_carries():
    catalog = catalog_of(frame(stars()))
    assert catalog.npartitions > 2
    labels = fit_catalog(giants_model(), catalog, wave=spectra_wave(), medium="vacuum", frame="observed")
    table = computed(labels)
    assert_labels(table)
    assert list(table.columns) == list(labels.meta.columns)
    assert (table.dtypes == labels.meta.dtypes).all()
    before = computed(catalog)
    assert table.index.name == "_healpix_29"
    pandas.testing.assert_frame_equal(table[IDENTIFIERS], before[IDENTIFIERS])
    assert set(table["problem"]) == {""}


def test_an_empty_partition_is_exactly_the_meta():
    catalog = catalog_of(frame(stars()))
    labels = fit_catalog(giants_model(), catalog, wave=spectra_wave(), carry=["ak_targ"])
    task = labels._operation.args[0]
    empty = labels_of_partition(computed(catalog).iloc[:0], task)
    pandas.testing.assert_frame_equal(empty, labels.meta)
    assert type(empty) is type(labels.meta)
    assert list(empty.columns[:4]) == ["ra", "dec", "ak_targ", "problem"]


def test_nested_spectra_with_errors_are_fitted():
    data = frame(stars(), errors="sigma")
    others = [name for name in data.columns if name not in ("flux", "sigma")]
    catalog = catalog_of(data).nest_lists(list_columns=["flux", "sigma"], base_columns=others, name="xp")
    columns = {"flux": "xp.flux", "error": "xp.sigma"}
    assert_labels(computed(fit_catalog(giants_model(), catalog, columns, wave=spectra_wave())))


def test_a_row_that_is_no_spectrum_is_flagged_and_the_others_are_as_before():
    data = frame(stars())
    flux = [list(row) for row in stars().flux]
    flux[7] = flux[7][:100]
    flux[20] = None
    data["flux"] = pandas.Series(pandas.arrays.ArrowExtensionArray(pa.array(flux, pa.list_(pa.float32()))))
    table = computed(fit_catalog(giants_model(), catalog_of(data), wave=spectra_wave())).set_index("source_id")
    ids = np.asarray(held_out().table["source_id"])
    assert table.loc[ids[7], "problem"] == "flux has 100 pixels instead of 343"
    assert table.loc[ids[20], "flags"] & Flag.NO_DATA
    whole = np.delete(np.arange(40), [7, 20])
    difference = table.loc[ids[whole], "teff"].to_numpy() - expected()["teff"].value[whole]
    np.testing.assert_array_less(np.abs(difference), TOLERANCE * expected()["teff_err"].value[whole])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_stopped_catalogue_is_resumed_and_says_which_model_it_is_of(tmp_path, monkeypatch):
    giants_model().write(tmp_path / "giants.h5")
    labels = fit_catalog(str(tmp_path / "giants.h5"), catalog_of(frame(stars())), wave=spectra_wave())
    fitted, n = catalogs._fitted, labels.npartitions
    calls = []

    def stopped(*given):
        calls.append(0)
        if len(calls) == 3:
            raise RuntimeError("stopped")
        return fitted(*given)

    monkeypatch.setattr(catalogs, "_fitted", stopped)
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(Exception, match="stopped"):
            labels.write_catalog(tmp_path / "labels", as_collection=False, progress_bar=False)
        labels.write_catalog(tmp_path / "labels", as_collection=False, progress_bar=False, resume=True)
    assert len(calls) == n + 1
    again = lsdb.open_catalog(tmp_path / "labels")
    assert_labels(computed(again))
    properties = again.hc_structure.catalog_info.extra_dict()
    assert properties["slamjax_version"] == slamjax.__version__
    assert properties["slamjax_model"] == labels._operation.args[0].job.digest
    assert properties["slamjax_labels"].startswith("teff [K], logg [")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "catalogue .* states no wavelengths; .*; or give wave, a Quantity"),
        ({"wave": np.linspace(336, 1020, 343)}, "wave has no unit; give a Quantity"),
        ({"wave": np.linspace(700, 800, 343) * u.nm}, "cover"),
        ({"wave": spectra_wave(), "carry": ["colour"]}, "has no column 'colour' to carry; it has: apogee_id"),
        ({"wave": spectra_wave(), "carry": ["teff"]}, "column 'teff' of .* is called as one of the labels' columns"),
        ({"wave": spectra_wave(), "columns": {"flux": "spectrum.flux"}}, "has no column 'spectrum.flux'"),
        ({"wave": spectra_wave(), "columns": {"flx": "flux"}}, "columns has no 'flx'"),
    ],
)
def test_what_cannot_be_fitted_is_told_before_anything_is_computed(given, message):
    with pytest.raises(SlamError, match=message):
        fit_catalog(giants_model(), catalog_of(frame(stars())), **given)
