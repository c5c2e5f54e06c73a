"""Best-fit spectra in a file: what the model predicts at the fitted labels, beside what was fitted."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from commands import run
from helpers import DATA
from models import giants_model, held_out, miles_model

import slamjax
from slamjax.errors import SlamError
from slamjax.io.fits_files import open_fits
from slamjax.preprocessing import GaussianContinuum, WaveRange

N = 6


@pytest.fixture(scope="module")
def stars():
    """Giants of which one has no good pixel, and another some bad ones."""
    spectra = held_out()[:N]
    ivar = np.array(spectra.ivar)
    ivar[2] = 0
    ivar[4, :100] = 0
    return dataclasses.replace(spectra, ivar=ivar)


@pytest.fixture(scope="module")
def written(stars, tmp_path_factory):
    path = tmp_path_factory.mktemp("best") / "best.fits"
    labels = slamjax.fit(giants_model(), stars, spectra_out=path)
    return path, labels


def read(path):
    return tuple(Table.read(path, hdu=name, mask_invalid=False) for name in ("BEST_FITS", "WAVELENGTH"))


def test_the_model_flux_is_that_of_the_model_at_the_fitted_labels(written, stars):
    (path, labels), model = written, giants_model()
    table, wave = read(path)
    fitted = np.delete(np.arange(N), 2)
    np.testing.assert_allclose(table["model_flux"][fitted], model(labels[fitted]), rtol=1e-6)
    np.testing.assert_allclose(wave["wavelength"], model.wave)
    assert str(wave["wavelength"].unit) == model.info.wave_unit
    prepared = model.prepare(stars)
    good = prepared.good[fitted]
    np.testing.assert_array_equal(np.asarray(table["flux"])[fitted][good], prepared.flux[fitted][good].astype("f4"))
    assert np.all(np.isnan(np.asarray(table["flux"])[fitted][~good]))
    np.testing.assert_array_equal(np.asarray(table["ivar"])[fitted] > 0, good)
    difference = np.asarray(table["flux"], float) - table["model_flux"]
    np.testing.assert_allclose(table["residual"][fitted], difference[fitted], atol=1e-6)


def test_flux_times_continuum_is_what_was_read(written, stars):
    """The continuum is that of the recipe, which divided the cropped spectra by it."""
    table, _ = read(written[0])
    cropped = WaveRange(500, 620, "nm")(stars)
    continuum = GaussianContinuum(50.0, "nm").continuum(cropped)
    np.testing.assert_allclose(table["continuum"][0], continuum[0], rtol=1e-5)
    np.testing.assert_allclose(table["flux"][0] * table["continuum"][0], cropped.flux[0], rtol=1e-5)


def test_a_star_without_a_fit_has_nan_and_its_flags(written):
    path, labels = written
    table, _ = read(path)
    assert table["flags"][2] & slamjax.Flag.NO_DATA
    for name in ("flux", "model_flux", "continuum", "residual"):
        assert np.all(np.isnan(table[name][2])), name
    assert np.all(table["ivar"][2] == 0)
    np.testing.assert_array_equal(table["flags"], labels["flags"])
    np.testing.assert_allclose(table["teff"], labels["teff"].value)


def test_the_file_has_checksums_that_hold(written):
    with open_fits(written[0]) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["BEST_FITS", "WAVELENGTH"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(written[0], checksum=True) as hdus:
            assert all("DATASUM" in hdu.header for hdu in hdus[1:])


def test_specutils_opens_the_file(written):
    specutils = pytest.importorskip("specutils")
    slamjax.register_specutils()
    path, labels = written
    table, _ = read(path)
    observed = specutils.Spectrum.read(path)
    assert observed.flux.shape == (N, giants_model().wave.size)
    np.testing.assert_array_equal(observed.flux.value, table["flux"])
    np.testing.assert_array_equal(observed.mask, table["ivar"] <= 0)
    np.testing.assert_allclose(observed.spectral_axis.to_value("nm"), giants_model().wave)
    np.testing.assert_array_equal(observed.meta["flags"], labels["flags"])
    spectra = specutils.SpectrumList.read(path)
    assert len(spectra) == 2 * N
    np.testing.assert_array_equal(spectra[3].flux.value, table["model_flux"][1])
    assert spectra[2].meta["name"] == f"row {table['row'][1]}, observed"


def test_nuisances_are_in_the_model_flux(stars, tmp_path):
    """A polynomial of degree 0 is a factor: of spectra that are a tenth brighter, so is the prediction."""
    model = giants_model()
    plain = dataclasses.replace(model.info, recipe=slamjax.Recipe((WaveRange(500, 620, "nm"),)))
    model = dataclasses.replace(model, info=plain)
    prepared = giants_model().prepare(stars[:2])
    brighter = dataclasses.replace(prepared, flux=prepared.flux * 1.1, ivar=prepared.ivar / 1.21)
    fitter = slamjax.Fitter(model, nuisances=slamjax.Nuisances(polynomial=0))
    labels = fitter.fit(brighter)
    slamjax.write_best_fits(fitter, brighter, labels, tmp_path / "best.fits")
    table, _ = read(tmp_path / "best.fits")
    factor = np.asarray(labels["polynomial"])[:, 0]
    assert np.all(np.abs(factor - 1.1) < 0.02)
    np.testing.assert_allclose(table["model_flux"], np.asarray(model(labels)) * factor[:, None], rtol=1e-5)
    assert np.all(np.asarray(table["continuum"]) == 1)


def test_other_spectra_are_refused(written, stars, tmp_path):
    _, labels = written
    with pytest.raises(SlamError, match="6 rows of labels for 5 spectra"):
        slamjax.write_best_fits(giants_model(), stars[:5], labels, tmp_path / "best.fits")
    fitter = slamjax.Fitter(giants_model(), nuisances=slamjax.Nuisances(polynomial=1))
    with pytest.raises(SlamError, match="no column polynomial"):
        slamjax.write_best_fits(fitter, stars, labels, tmp_path / "best.fits")
    with pytest.raises(SlamError, match="does not exist"):
        slamjax.fit(giants_model(), stars, spectra_out=tmp_path / "no" / "best.fits")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_spectra_of_survey_files_and_says_which_it_could_not_read(tmp_path):
    miles_model().write(tmp_path / "miles.h5")
    damaged = tmp_path / "damaged.fits"
    damaged.write_bytes((DATA / "surveys" / "3703110.fits").read_bytes()[:5000])
    files = [DATA / "surveys" / "3709013.fits", damaged, DATA / "surveys" / "3703110.fits"]
    shown = run(
        "fit", tmp_path / "miles.h5", *files, "-o", tmp_path / "labels.fits", "--spectra-out", tmp_path / "best.fits"
    )
    assert f"written: {tmp_path / 'best.fits'}" in shown
    table, wave = read(tmp_path / "best.fits")
    model, labels = miles_model(), slamjax.read_labels(tmp_path / "labels.fits")
    assert np.all(np.isnan(table["model_flux"][1]))
    for row in (0, 2):
        np.testing.assert_allclose(table["model_flux"][row], model(labels[[row]])[0], rtol=1e-5)
        seen = np.isfinite(table["residual"][row])
        assert seen.sum() == labels["n_pix"][row]
    assert len(wave) == model.wave.size


def test_a_table_in_pieces_gives_the_same_spectra(stars, written, tmp_path):
    slamjax.write_table(stars, tmp_path / "stars.fits")
    slamjax.fit_survey(
        giants_model(), tmp_path / "stars.fits", tmp_path / "labels.fits", piece_size=4,
        reading=slamjax.survey.Reading(select="teff > 0"), spectra_out=tmp_path / "best.fits",
    )  # fmt: skip
    once, pieces = read(written[0])[0], read(tmp_path / "best.fits")[0]
    for name in ("flux", "ivar", "continuum"):
        np.testing.assert_allclose(pieces[name], once[name], rtol=1e-6)
    np.testing.assert_allclose(pieces["model_flux"], once["model_flux"], rtol=1e-4)
    with pytest.raises(SlamError, match="leave spectra_out out"):
        slamjax.fit_survey(
            giants_model(), tmp_path / "stars.fits", tmp_path / "labels.fits", shard=(1, 2), spectra_out="best.fits"
        )
