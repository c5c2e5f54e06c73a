"""Small files of XP coefficients, in the layouts of the archive and of GaiaXPy, and stars whose labels they follow."""

from functools import cache

import numpy as np
from astropy.io import fits
from astropy.table import Table

import slamjax
from slamjax import NoiseSpec

N = 5
#: Of `labelled`: coefficients of a photometer.
N_LABELLED = 8
LABELS = ("teff", "logg")


def stars(n_stars=3, seed=0):
    """Columns of the archive, and the correlation matrices of each band."""
    rng = np.random.default_rng(seed)
    columns = {"source_id": np.arange(n_stars) + 10**18, "phot_g_mean_flux": np.full(n_stars, 50.0)}
    matrices = {}
    for band in ("bp", "rp"):
        root = rng.normal(size=(n_stars, N, N)) + 2 * np.eye(N)
        covariance = root @ np.swapaxes(root, 1, 2)
        error = np.sqrt(np.einsum("npp->np", covariance))
        correlation = covariance / error[:, :, None] / error[:, None, :]
        triangle = []
        for star in range(n_stars):  # the upper triangle, column by column
            triangle.append([correlation[star, i, j] for j in range(N) for i in range(j)])
        columns[f"{band}_coefficients"] = 100 * rng.normal(size=(n_stars, N))
        columns[f"{band}_coefficient_errors"] = error
        columns[f"{band}_coefficient_correlations"] = np.array(triangle)
        columns[f"{band}_n_relevant_bases"] = np.array([2, 3, N])[:n_stars]
        columns[f"{band}_standard_deviation"] = np.full(n_stars, 1.3)
        matrices[band] = correlation
    return columns, matrices


def as_text(columns, path):
    """As GaiaXPy's and the archive's CSV: vectors in brackets."""
    rows = [",".join(columns)]
    for star in range(len(columns["source_id"])):
        cells = [value[star] for value in columns.values()]
        rows.append(",".join(f'"({", ".join(map(repr, map(float, c)))})"' if np.ndim(c) else str(c) for c in cells))
    path.write_text("\n".join(rows) + "\n")
    return path


def as_fits(columns, path):
    """With vectors of variable length, as the archive writes them."""
    made = []
    for name, values in columns.items():
        if values.ndim == 1:
            form = {"i": "K", "f": "D"}.get(values.dtype.kind, "20A")
            made.append(fits.Column(name, form, array=values))
        else:
            rows = np.empty(len(values), object)
            rows[:] = [row for row in values]
            made.append(fits.Column(name, "PD()", array=rows))
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(path)
    return path


def as_plain_fits(columns, path):
    """With vectors of one length."""
    Table(columns).write(path)
    return path


def labelled(n_stars, error, seed=0):
    """Columns of stars whose coefficients are a quadratic of ``teff`` and ``logg``, with relative errors.

    Noise is drawn from covariances of each star's own: neighbours are strongly correlated, and differently in each.
    """
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(42)
    x = rng.uniform(-1, 1, (n_stars, 2))
    terms = np.stack([np.ones(n_stars), *x.T, x[:, 0] ** 2, x[:, 0] * x[:, 1], x[:, 1] ** 2], axis=1)
    shape = np.array([0.15, 0.03, 0.015, 0.01, 0.005, 0.005])[:, None]
    truth = terms @ (shape * fixed.normal(size=(6, 2 * N_LABELLED)))
    truth[:, 0] += 1
    columns = {"source_id": np.arange(n_stars) + 10**18 + seed * 10**6}
    columns |= {"teff": 5000 + 1000 * x[:, 0], "logg": 2.5 + 1.5 * x[:, 1]}
    error = np.broadcast_to(error, n_stars) * rng.uniform(0.7, 1.4, n_stars) * np.linalg.norm(truth, axis=1)
    apart = np.abs(np.subtract.outer(np.arange(N_LABELLED), np.arange(N_LABELLED)))
    row, column = np.tril_indices(N_LABELLED, -1)
    for band, part in zip(("bp", "rp"), np.split(truth, 2, axis=1), strict=True):
        falling = np.exp(-0.15 * np.arange(N_LABELLED)) * rng.uniform(0.8, 1.25, (n_stars, N_LABELLED))
        strength = rng.uniform(-0.95, -0.6, n_stars)
        correlation = strength[:, None, None] ** apart
        sigma = error[:, None] * falling
        covariance = sigma[:, :, None] * correlation * sigma[:, None, :]
        noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.normal(size=part.shape))
        columns[f"{band}_coefficients"] = 1000 * (part + noise)
        columns[f"{band}_coefficient_errors"] = 1000 * sigma
        columns[f"{band}_coefficient_correlations"] = correlation[:, row, column]
    return columns


def three_files(folder):
    """Five stars in each of the three layouts."""
    written = zip((as_text, as_fits, as_plain_fits), ("a.csv", "b.fits", "c.fits"), strict=True)
    return [write(labelled(5, 0.02, 1 + k), folder / name) for k, (write, name) in enumerate(written)]


@cache
def coefficient_model():
    """Trained on bright stars of `labelled`."""
    stars = slamjax.read_xp_coefficients(Table(labelled(150, 0.003)))
    options = {"emulator": slamjax.Polynomial(), "noise": NoiseSpec(photons="stated", ranks=(4,))}
    return slamjax.train(stars.with_independent_pixels(), LABELS, **options)
