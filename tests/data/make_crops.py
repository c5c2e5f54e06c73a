"""Cut the small real files that the tests read out of the full surveys.

    python tests/data/make_crops.py FOLDER     # the folder with gaia_xp_apogee.fits and miles.fits

- xp_giants.fits: Gaia DR3 XP spectra of 150 giants drawn at random, with errors, on all their 343 pixels;
  labels from APOGEE DR17 (Gaia: ESA/Gaia/DPAC; APOGEE: SDSS).
- miles.fits: 120 stars of the MILES library drawn at random, 300 pixels from 5000 Angstrom on, no errors given
  (Sanchez-Blazquez et al. 2006; labels Cenarro et al. 2007).
- surveys/: survey files (folder survey_files) cut to some hundred pixels, headers and layout as they were: two LAMOST
  DR10 low-resolution spectra (NAOC), one SDSS-I and one BOSS spec, four exposures of the latter, one apStar, one
  apVisit (SDSS); and five targets of a DESI coadd, without resolution matrices and exposures (DESI Early Data Release,
  CC BY 4.0; from specutils' tests).
"""

import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from astropy.io import fits

from slamjax.io import read_table, write_table

SEED = 20
GIANTS = "logg < 3.6 & teff > 3600 & teff < 5600 & fe_h > -1.5 & apogee_snr > 80 & isfinite(alpha_m)"
HERE = Path(__file__).parent


def draw(n_stars, total):
    return np.sort(np.random.default_rng(SEED).choice(total, n_stars, replace=False))


def main(folder):
    giants = read_table(folder / "gaia_xp_apogee.fits").select(GIANTS)
    write_table(giants[draw(150, len(giants))], HERE / "xp_giants.fits")

    miles = read_table(folder / "miles.fits")
    first = int(np.searchsorted(miles.wave, 5000.0))
    write_table(miles[draw(120, len(miles))].on_pixels(slice(first, first + 300)), HERE / "miles.fits")
    (HERE / "surveys").mkdir(exist_ok=True)
    for name, crop in (
        ("lamost/3703110.fits", crop_vectors),
        ("lamost/3709013.fits", crop_vectors),
        ("sdss/spec-0266-51602-0031.fits", crop_rows),
        ("sdss/spec-3586-55181-0500.fits", crop_rows),
        ("apogee/apStar-dr17-2M17335483-2753043.fits", crop_images),
        ("apogee/apVisit-r13-9518-57729-104.fits", crop_images),
    ):
        with fits.open(folder / "survey_files" / name) as hdus:
            crop(hdus).writeto(HERE / "surveys" / Path(name).name, output_verify="silentfix", overwrite=True)
    with fits.open(folder / "survey_files" / "sdss" / "spec-3586-55181-0500.fits") as hdus:
        crop_exposures(hdus).writeto(HERE / "surveys" / "exposures-3586-55181-0500.fits", overwrite=True)
    lines = (folder / "survey_files" / "lamost" / "lasp.csv").read_text().splitlines()
    kept = [line for line in lines if line.startswith(("#", "file", "3703110", "3709013"))]
    (HERE / "surveys" / "lasp.csv").write_text("\n".join(kept) + "\n")
    coadd = files("specutils") / "io/default_loaders/tests/desi_test_data/coadd-sv3-dark-26065.fits"
    with fits.open(coadd) as hdus:
        crop_arms(hdus).writeto(HERE / "surveys" / "coadd-sv3-dark-26065.fits", overwrite=True)


def crop_vectors(hdus):
    """LAMOST: 400 elements of each of the table's vectors."""
    columns = [
        fits.Column(column.name, f"400{column.format[-1]}", array=hdus[1].data[column.name][:, 1200:1600])
        for column in hdus[1].columns
    ]
    return fits.HDUList([hdus[0], fits.BinTableHDU.from_columns(columns, name=hdus[1].name)])


def crop_rows(hdus):
    """SDSS: 500 rows of the spectrum, some columns of the table of redshifts."""
    kept = [c for c in hdus[2].columns if c.name.lower() in ("z", "subclass", "sn_median_all", "class")]
    return fits.HDUList(
        [
            hdus[0],
            fits.BinTableHDU(hdus[1].data[1000:1500], hdus[1].header),
            fits.BinTableHDU.from_columns(kept, name=hdus[2].name),
        ]
    )


def crop_exposures(hdus):
    """BOSS: 300 rows of two exposures of each camera, and of the coadd."""
    exposures = [hdu for hdu in hdus[4:] if hdu.name[:2] in ("B1", "R1")]
    kept = [hdu for camera in ("B1", "R1") for hdu in [each for each in exposures if each.name.startswith(camera)][:2]]
    few = [fits.BinTableHDU(np.array(hdu.data[1000:1300]), name=hdu.name) for hdu in kept]
    return fits.HDUList([hdus[0], fits.BinTableHDU(hdus[1].data[1000:1300], hdus[1].header), *few])


def crop_images(hdus):
    """APOGEE: 300 pixels of each row of the images that are read; apStar's rows start later then."""
    out = [hdus[0]]
    for hdu in hdus[1:5]:
        header = hdu.header.copy()
        if "CRVAL1" in header and "CDELT1" in header and header["NAXIS1"] == 8575:
            header["CRVAL1"] += 1000 * header["CDELT1"]
        out.append(fits.ImageHDU(hdu.data[..., 1000:1300].astype(hdu.data.dtype), header))
    return fits.HDUList(out)


def crop_arms(hdus):
    """DESI: some hundred pixels of each arm; B and R overlap, Z lies apart."""
    pixels = {"B": slice(-150, None), "R": slice(None, 150), "Z": slice(None, 100)}
    out = [hdus[0], hdus["FIBERMAP"]]
    for arm, some in pixels.items():
        for name in ("WAVELENGTH", "FLUX", "IVAR", "MASK"):
            hdu = hdus[f"{arm}_{name}"]
            image = fits.ImageHDU(hdu.data[..., some].copy(), name=hdu.name)
            if "BUNIT" in hdu.header:
                image.header["BUNIT"] = hdu.header["BUNIT"]
            out.append(image)
    return fits.HDUList([*out, hdus["SCORES"]])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
