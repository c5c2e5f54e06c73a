"""Simulated survey files: real spectra written in layouts of which no real file is at hand.

The data models are cited in `slamjax.io.surveys.apogee`, ``mwm``, ``lamost`` and ``gaia``.
"""

from pathlib import Path

import numpy as np
from astropy.io import fits
from helpers import xp_giants

SURVEYS = Path(__file__).parent / "data" / "surveys"
LAMOST = [SURVEYS / name for name in ("3703110.fits", "3709013.fits")]
SDSS, BOSS = SURVEYS / "spec-0266-51602-0031.fits", SURVEYS / "spec-3586-55181-0500.fits"
BOSS_EXPOSURES = SURVEYS / "exposures-3586-55181-0500.fits"
APSTAR = SURVEYS / "apStar-dr17-2M17335483-2753043.fits"
APVISIT = SURVEYS / "apVisit-r13-9518-57729-104.fits"
DESI = SURVEYS / "coadd-sv3-dark-26065.fits"

#: Pixels of apStar's grid that the cropped apStar has.
CROP = slice(1000, 1300)


def opened(path):
    """(header, data) of each HDU."""
    with fits.open(path, memmap=False) as hdus:
        return [(hdu.header, None if hdu.data is None else np.array(hdu.data)) for hdu in hdus]


def altered(path, target, change):
    """A copy of a file with its HDUs changed."""
    with fits.open(path, memmap=False) as hdus:
        change(hdus)
        hdus.writeto(target, overwrite=True, output_verify="silentfix", checksum=True)
    return target


def aspcap(target):
    """aspcapStar: the cropped apStar divided by its median, on the whole grid; 0 with huge errors elsewhere."""
    files = opened(APSTAR)
    flux, error, fit = np.zeros(8575), np.full(8575, 1e10), np.zeros(8575)
    level = np.median(files[1][1][0])
    flux[CROP], error[CROP], fit[CROP] = files[1][1][0] / level, files[2][1][0] / level, 1.0
    images = []
    for data in (flux, error, fit):
        image = fits.ImageHDU(data.astype(np.float32))
        image.header.update(CRVAL1=4.179, CDELT1=6e-6, CRPIX1=1, CTYPE1="LOG-LINEAR")
        image.header["DC-FLAG"] = 1
        images.append(image)
    header = files[0][0]
    values = {
        "APOGEE_ID": ("18A", header["OBJID"]), "RA": ("D", header["RA"]), "DEC": ("D", header["DEC"]),
        "SNR": ("E", header["SNR"]), "VHELIO_AVG": ("E", header["VHELIO"]), "VERR": ("E", header["VERR"]),
        "TEFF": ("E", 3700.0), "TEFF_ERR": ("E", 60.0), "LOGG": ("E", -9999.0), "FPARAM": ("3E", [[3700, 0.5, 0]]),
        "ASPCAPFLAG": ("K", 0),
    }  # fmt: skip
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=np.atleast_1d(value)) for name, (form, value) in values.items()]
    )
    fits.HDUList([fits.PrimaryHDU(), *images, table]).writeto(target, overwrite=True)
    return target


def mwm(target, boss=True, apogee=True, visits=False):
    """mwmStar, or mwmVisit: APOGEE/APO with the cropped apStar (or its visits), BOSS/LCO with the cropped BOSS spec."""
    star, spec = opened(APSTAR), opened(BOSS)
    rows = slice(2, 5) if visits else slice(0, 1)
    with np.errstate(divide="ignore"):
        near = [star[1][1][rows], star[2][1][rows] ** -2.0, star[3][1][rows]]
    far = [spec[1][1][name][None, :] for name in ("flux", "ivar", "or_mask")]
    start = float(spec[1][1]["loglam"][0])
    primary = fits.PrimaryHDU()
    primary.header.update(V_ASTRA="0.6.0", SDSS_ID=103020000, APOGEEID=star[0][0]["OBJID"], GAIA3_ID=4060525853)
    primary.header.update(RA=star[0][0]["RA"], DEC=star[0][0]["DEC"], V_RAD="NaN")
    tables = [
        mwm_table("BOSS", "APO", round(start, 4), 1e-4, [part[:0] for part in far], visits),
        mwm_table("BOSS", "LCO", round(start, 4), 1e-4, far if boss else [part[:0] for part in far], visits),
        mwm_table("APOGEE", "APO", star[1][0]["CRVAL1"], 6e-6, near if apogee else [p[:0] for p in near], visits),
        mwm_table("APOGEE", "LCO", star[1][0]["CRVAL1"], 6e-6, [part[:0] for part in near], visits),
    ]
    fits.HDUList([primary, *tables]).writeto(target, overwrite=True, checksum=True)
    return target


VECTORS = ("flux", "ivar", "pixel_flags")


def mwm_table(instrument, observatory, start, step, vectors, visits):
    """An HDU of mwmStar or mwmVisit; the last visit is not in the stack.

    BOSS visits state their FWHM in Å, ``wresl``: λ/1500, λ/1600, ..., 0 where it is unknown.
    """
    n, n_pix = vectors[0].shape
    scalars = {
        "sdss_id": ("K", np.full(n, 103020000)),
        "telescope": ("6A", np.array([f"{observatory.lower()}25m"] * n)),
        "snr": ("E", np.arange(n) + 50.0),
        ("xcsao_v_rad" if visits and instrument == "BOSS" else "v_rad"): ("E", np.arange(n) - 12.5),
        ("xcsao_e_v_rad" if visits and instrument == "BOSS" else "e_v_rad"): ("E", np.full(n, 0.25)),
    }
    if visits:
        scalars |= {"mjd": ("J", 59800 + np.arange(n)), "in_stack": ("L", np.arange(n) < max(n - 1, 1))}
    else:
        wave = np.repeat(10 ** (start + step * np.arange(n_pix))[None, :], n, axis=0)
        scalars |= {"n_visits": ("J", np.full(n, 3)), "min_mjd": ("J", np.full(n, 59800))}
        scalars |= {"max_mjd": ("J", np.full(n, 59900)), "wavelength": (f"{n_pix}E", wave)}
    columns = [fits.Column(name, form, array=values) for name, (form, values) in scalars.items()]
    if visits and instrument == "BOSS":
        width = 10 ** (start + step * np.arange(n_pix)) / (1500 + 100 * np.arange(n)[:, None])
        vectors, names = [*vectors, np.where(np.arange(n_pix) < 20, 0, width)], (*VECTORS, "wresl")
    else:
        names = VECTORS
    for name, values in zip(names, vectors, strict=True):
        columns.append(fits.Column(name, f"{n_pix}E", dim=f"({n_pix})", array=values.astype(np.float32)))
    hdu = fits.BinTableHDU.from_columns(columns, name=f"{instrument}/{observatory}")
    hdu.header.update(OBSRVTRY=observatory, INSTRMNT=instrument, CRVAL=start, CDELT=step, CRPIX=1, NPIXELS=n_pix)
    hdu.header.update(CTYPE="LOG-LINEAR", CUNIT="Angstrom (Vacuum)")
    return hdu


def mrs(target, vectors=True, arms="BR", start=(369460, 379940)):
    """LAMOST MRS: the two low-resolution crops as its arms, in steps of 1e-5 dex, and single exposures.

    One row of vectors (DR8 and later) or one row per pixel with LOGLAM (up to DR7).
    """
    out = [fits.PrimaryHDU(header=opened(LAMOST[0])[0][0])]
    for k, arm in enumerate("BR"):
        if arm not in arms:
            continue
        row = opened(LAMOST[k])[1][1][0]
        logs = 1e-5 * (start[k] + np.arange(len(row["FLUX"])))
        values = {"FLUX": row["FLUX"], "IVAR": row["IVAR"], "ANDMASK": row["ANDMASK"], "ORMASK": row["ORMASK"]}
        values |= {"WAVELENGTH": 10**logs} if vectors else {"LOGLAM": logs}
        columns = [
            fits.Column(name, f"{len(logs)}E" if vectors else "E", array=value[None, :] if vectors else value)
            for name, value in values.items()
        ]
        hdu = fits.BinTableHDU.from_columns(columns, name=f"COADD_{arm}")
        hdu.header["SNR"] = 30.0 + k
        exposure = fits.BinTableHDU.from_columns(columns, name=f"{arm}-84420148")
        out += [hdu, exposure]
    fits.HDUList(out).writeto(target, overwrite=True, output_verify="silentfix")
    return target


#: W nm⁻¹ m⁻²: flux of a star of 15th magnitude per unit of the giants' relative flux.
XP_SCALE = 1e-17


def xp_arrays(n=4):
    """source_id, wavelengths in nm, flux and flux error of giants, in W nm⁻¹ m⁻²."""
    stars = xp_giants()[110 : 110 + n]
    flux = stars.flux.astype(float) * XP_SCALE
    return np.asarray(stars.table["source_id"]), stars.wave, flux, stars.ivar.astype(float) ** -0.5 * XP_SCALE


def xp_csv(target, written=lambda values: str(tuple(values.tolist())), sampling=True, n=4):
    """CSV as gaiaxpy.calibrate writes it, with the wavelengths in a separate file."""
    source_id, wave, flux, error = xp_arrays(n)
    lines = ["source_id,flux,flux_error"]
    lines += [f'{one},"{written(a)}","{written(b)}"' for one, a, b in zip(source_id, flux, error, strict=True)]
    target.write_text("\n".join(lines) + "\n")
    if sampling:
        target.with_name(f"{target.stem}_sampling.csv").write_text(f'pos\n"{written(wave)}"\n')
    return target


def xp_ecsv(target):
    """ECSV as gaiaxpy.calibrate writes it."""
    source_id, wave, flux, error = xp_arrays()
    head = ["%ECSV 1.0", "---", "delimiter: ','", "datatype:"]
    for name, kind, extra in (
        ("source_id", "int64", []),
        ("flux", "string", [f"  subtype: float64[{len(wave)}]", "  unit: W.nm**-1.m**-2"]),
        ("flux_error", "string", [f"  subtype: float32[{len(wave)}]", "  unit: W.nm**-1.m**-2"]),
    ):
        head += ["-", f"  name: {name}", f"  datatype: {kind}", *extra, f"  description: {name}"]
    head += ["meta:", f"  sampling: {wave.tolist()}"]
    lines = [f"# {line}" for line in head] + ["source_id,flux,flux_error"]
    lines += [f'{i},"{a.tolist()}","{b.tolist()}"' for i, a, b in zip(source_id, flux, error, strict=True)]
    target.write_text("\n".join(lines) + "\n")
    return target


def xp_fits(target, missing=False):
    """FITS as gaiaxpy.calibrate writes it; variable-length vectors if a source has no spectrum."""
    source_id, wave, flux, error = xp_arrays()
    forms = ("PD()", "PE()") if missing else (f"{len(wave)}D", f"{len(wave)}E")
    arrays = [list(values) for values in (flux, error)]
    if missing:
        arrays = [[*values[:1], [], *values[2:]] for values in arrays]
    columns = [fits.Column("source_id", "K", array=source_id)]
    for name, form, values in zip(("flux", "flux_error"), forms, arrays, strict=True):
        columns.append(fits.Column(name, form, unit="W.nm**-1.m**-2", array=values))
    hdu = fits.BinTableHDU.from_columns(columns)
    hdu.header["SAMPLING"] = str(tuple(wave.tolist()))
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(target, overwrite=True, output_verify="silentfix")
    return target
