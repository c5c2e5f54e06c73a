"""Objects of specutils in memory."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.nddata import InverseVariance, StdDevUncertainty, UnknownUncertainty, VarianceUncertainty
from specutils import Spectrum, SpectrumCollection, SpectrumList
from survey_files import APSTAR, BOSS, LAMOST, mrs, opened

import slamjax
from slamjax.errors import SlamError, SlamWarning
from slamjax.io import read
from slamjax.spectra.wavelengths import to_vacuum

FLUX = u.Unit("1e-17 erg / (Angstrom cm2 s)")


def arrays():
    """Wavelengths, flux and σ of a real spectrum, all good."""
    spectra = read(LAMOST[0])
    good = spectra.good[0]
    return spectra.wave[good], spectra.flux[0, good].astype(float), spectra.ivar[0, good].astype(float) ** -0.5


def spectrum(**options):
    wave, flux, sigma = arrays()
    given = {"spectral_axis": wave * u.AA, "flux": flux * FLUX, "uncertainty": StdDevUncertainty(sigma * FLUX)}
    return Spectrum(**(given | options))


def test_a_spectrum_is_read_unchanged():
    spectra = slamjax.read(spectrum(meta={"header": {"OBJID": "a star", "RA": 12.5}, "snr": 40.0, "medium": "vacuum"}))
    wave, flux, sigma = arrays()
    np.testing.assert_array_equal(spectra.wave, wave)
    np.testing.assert_allclose(spectra.flux[0], flux, rtol=1e-7)
    np.testing.assert_allclose(spectra.ivar[0], sigma**-2, rtol=1e-6)
    row = spectra.table[0]
    assert (row["file"], row["id"], row["ra"], row["snr"], row["problem"]) == ("spectrum 0", "a star", 12.5, 40, "")
    assert (spectra.medium, spectra.frame, str(spectra.wave_unit)) == ("vacuum", "unknown", "Angstrom")
    assert spectra.flux_unit == FLUX
    assert slamjax.read(Spectrum(spectral_axis=wave * u.AA, flux=u.Quantity(flux))).flux_unit is None


def test_missing_metadata_is_unknown_and_air_is_converted_to_vacuum():
    wave = arrays()[0]
    assert slamjax.read(spectrum()).medium == "unknown"
    air = slamjax.read(spectrum(meta={"medium": "air", "frame": "rest"}))
    assert (air.medium, air.frame) == ("vacuum", "rest")
    np.testing.assert_allclose(air.wave, to_vacuum(wave), rtol=1e-12)


@pytest.mark.parametrize(
    "uncertainty",
    [
        lambda sigma: StdDevUncertainty(sigma * FLUX),
        lambda sigma: StdDevUncertainty(sigma / 1000 * (1000 * FLUX)),
        lambda sigma: VarianceUncertainty(sigma**2 * FLUX**2),
        lambda sigma: InverseVariance(sigma**-2 / FLUX**2),
    ],
)
def test_every_type_of_uncertainty_gives_the_same_ivar(uncertainty):
    sigma = arrays()[2]
    np.testing.assert_allclose(read(spectrum(uncertainty=uncertainty(sigma))).ivar[0], sigma**-2, rtol=1e-6)


def test_missing_errors_are_unknown_and_unknown_types_are_an_error():
    wave = arrays()[0]
    mask = np.arange(len(wave)) < 5
    spectra = read(spectrum(uncertainty=None, mask=mask))
    assert not spectra.has_errors
    np.testing.assert_array_equal(spectra.good[0], ~mask)
    with pytest.raises(SlamError, match="uncertainty of unknown type"):
        read(spectrum(uncertainty=UnknownUncertainty(arrays()[2])))


def test_axes_of_any_spectral_unit_and_order():
    wave, flux, _ = arrays()
    nm = read(spectrum(spectral_axis=(wave / 10) * u.nm))
    assert str(nm.wave_unit) == "nm"
    np.testing.assert_allclose(nm.wave, wave / 10, rtol=1e-14)
    hertz = read(spectrum(spectral_axis=(wave * u.AA).to(u.THz, u.spectral())))
    np.testing.assert_allclose(hertz.wave, wave, rtol=1e-12)
    np.testing.assert_allclose(hertz.flux[0], flux, rtol=1e-7)


def test_masked_and_nan_pixels_are_bad_and_a_mask_of_everything_is_ignored():
    wave, flux, _ = arrays()
    mask = np.arange(len(wave)) < 10
    flux[20] = np.nan
    spectra = read(spectrum(flux=flux * FLUX, mask=mask))
    assert list(np.flatnonzero(~spectra.good[0])) == [*range(10), 20]
    with pytest.warns(SlamWarning, match="column mask_ignored"):
        ignored = read(spectrum(mask=np.ones(len(wave), bool)))
    assert ignored.good.all()
    assert ignored.table["mask_ignored"][0]


def test_spectra_of_one_array_are_rows():
    _, flux, sigma = arrays()
    many = spectrum(
        flux=np.stack([flux, 2 * flux, 3 * flux]) * FLUX,
        uncertainty=StdDevUncertainty(np.stack([sigma] * 3) * FLUX),
        meta={"header": {"RA": 10.0}},
    )
    spectra = read(many)
    assert len(spectra) == 3
    np.testing.assert_allclose(spectra.flux[2], 3 * flux, rtol=1e-7)
    assert list(spectra.table["ra"]) == [10] * 3


def test_lists_and_collections_are_rows():
    wave, flux, sigma = arrays()
    one, two = spectrum(meta={"name": "first"}), spectrum(flux=2 * flux * FLUX)
    spectra = read(SpectrumList([one, two]))
    assert list(spectra.table["file"]) == ["first", "spectrum 1"]
    np.testing.assert_allclose(spectra.flux[1], 2 * flux, rtol=1e-7)
    np.testing.assert_array_equal(read([one, two]).flux, spectra.flux)

    same = SpectrumCollection(
        flux=np.stack([flux, 2 * flux]) * FLUX,
        spectral_axis=np.stack([wave, wave]) * u.AA,
        uncertainty=StdDevUncertainty(np.stack([sigma, sigma]) * FLUX),
    )
    np.testing.assert_array_equal(read(same).flux, spectra.flux)

    shifted = np.stack([wave, wave + 0.3])
    collection = SpectrumCollection(
        flux=np.stack([flux, flux]) * FLUX,
        spectral_axis=shifted * u.AA,
        uncertainty=StdDevUncertainty(np.stack([sigma, sigma]) * FLUX),
    )
    with pytest.raises(SlamError, match="no grid in common; give the wavelengths"):
        read(collection)
    at = read(collection, wave=wave)
    np.testing.assert_allclose(at.flux[0], flux, rtol=1e-6)
    assert not np.allclose(at.flux[1, 10:-10], flux[10:-10], rtol=1e-6)


def test_slamjax_and_specutils_load_the_same_spectrum():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        star, spec = Spectrum.read(APSTAR, format="APOGEE apStar"), Spectrum.read(BOSS, format="SDSS-III/IV spec")
    direct = read(BOSS)
    from_memory = read(spec)
    np.testing.assert_allclose(from_memory.wave, direct.wave, rtol=1e-6)
    good = direct.good[0] & from_memory.good[0]
    assert good.mean() > 0.5
    np.testing.assert_allclose(from_memory.flux[0, good], direct.flux[0, good], rtol=1e-6)
    np.testing.assert_allclose(from_memory.ivar[0, good], direct.ivar[0, good], rtol=1e-6)
    assert read(star).table["id"][0] == opened(APSTAR)[0][0]["OBJID"]


def test_specutils_reads_lamost_files_after_registration(tmp_path):
    slamjax.register_specutils()
    slamjax.register_specutils()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = [(LAMOST[0], Spectrum.read(LAMOST[0])), (path := mrs(tmp_path / "med.fits"), Spectrum.read(path))]
        assert len(SpectrumList.read(LAMOST[1])) == 1
    for path, loaded in known:
        direct, through = read(path), read(loaded)
        assert (through.medium, through.frame) == ("vacuum", "observed")
        assert (loaded.meta["obsid"], through.table["id"][0]) == (direct.table["obsid"][0], direct.table["id"][0])
        # what slamjax reads of two arms is on one grid, with the gap between them
        pixels = np.abs(direct.wave[:, None] - through.wave).argmin(axis=0)
        np.testing.assert_allclose(direct.wave[pixels], through.wave, rtol=1e-6)
        np.testing.assert_array_equal(direct.flux[0, pixels], through.flux[0])
        np.testing.assert_array_equal(direct.ivar[0, pixels], through.ivar[0])


def test_broken_objects_among_others_are_flagged_rows():
    broken = spectrum(uncertainty=UnknownUncertainty(arrays()[2]))
    with pytest.warns(SlamWarning, match="1 of 2 files give no spectrum; the first is spectrum 1"):
        spectra = read([spectrum(), broken])
    assert "uncertainty" in spectra.table["problem"][1]
    for wrong in (3, [3], [LAMOST[0], None]):
        with pytest.raises(SlamError, match=r"(int 3|NoneType None) cannot be read; give paths"):
            read(wrong)
    with pytest.raises(SlamError, match="read them separately"):
        read([spectrum(), LAMOST[0]])
