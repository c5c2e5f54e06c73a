"""A line spread for each spectrum: labels under each star's own against labels under one for all.

MILES stars (``--miles``), 4,000 to 5,600 Å, 4,000 to 7,500 K. Half of them train a model of 2.5 Å; the others are
convolved one by one to widths between 2.6 and 5 Å at the blue end, which grow by up to 1.5 Å to the red, as fibres of a
spectrograph differ. Labels are compared with those of the same spectra before they were convolved, and with the
library's.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import parse_options
from slamjax.preprocessing.resolution import blur_to

LABELS = ("teff", "logg", "fe_h")
SELECTION = "isfinite(teff) & isfinite(logg) & isfinite(fe_h) & teff > 4000 & teff < 7500"
RANGE = (4000.0, 5600.0)
RECIPE = slamjax.Recipe.make(wave_range=RANGE, wave_unit="Angstrom", continuum="gaussian:10nm")
NARROW, WIDE, GROWTH = 2.6, 5.0, 1.5
#: Noise of a pixel relative to the flux, by seed: what MILES has is not stated.
NOISE = 0.01


def load(options: argparse.Namespace) -> tuple[slamjax.Spectra, slamjax.Spectra]:
    stars = slamjax.read_table(options.miles).select(SELECTION)
    margin = 40.0
    kept = (stars.wave > RANGE[0] - margin) & (stars.wave < RANGE[1] + margin)
    rows = np.random.default_rng(options.seed).permutation(len(stars))
    stars = stars.on_pixels(kept)[rows]
    half = len(stars) // 2
    return stars[:half], stars[half:]


def convolved(sharp: slamjax.Spectra, seed: int) -> slamjax.Spectra:
    """The stars with widths of their own, which they state, and noise."""
    rng = np.random.default_rng(seed)
    along = (sharp.wave - sharp.wave[0]) / (sharp.wave[-1] - sharp.wave[0])
    blue, growth = rng.uniform(NARROW, WIDE, len(sharp)), rng.uniform(0, GROWTH, len(sharp))
    fwhm = blue[:, None] + growth[:, None] * along
    flux = np.concatenate([blur_to(sharp[k], fwhm[k]).flux for k in range(len(sharp))])
    return dataclasses.replace(with_noise(sharp, flux, seed), fwhm=fwhm)


def with_noise(stars: slamjax.Spectra, flux: np.ndarray, seed: int) -> slamjax.Spectra:
    """The same noise for the same seed."""
    sigma = NOISE * np.maximum(flux, 1e-3 * np.median(flux))
    noise = sigma * np.random.default_rng(seed + 1).normal(size=flux.shape)
    return dataclasses.replace(stars, flux=flux + noise, ivar=1 / np.square(sigma))


def judged(table: Any, sharp: Any, width: np.ndarray) -> dict[str, Any]:
    """Shifts from the labels of the sharp spectra, in their errors, by the width of the lines; scatter about MILES."""
    thirds = np.quantile(width, [1 / 3, 2 / 3])
    found: dict[str, Any] = {"flagged": float(np.mean(np.asarray(table["flags"]) != 0))}
    for name in LABELS:
        shift = (column(table, name) - column(sharp, name)) / column(sharp, f"{name}_err")
        known = np.isfinite(shift)
        error = column(table, name) - column(table, f"{name}_ref")
        finite = np.isfinite(error)
        found[name] = {
            "narrow": float(np.median(shift[known & (width < thirds[0])])),
            "wide": float(np.median(shift[known & (width > thirds[1])])),
            "scatter of shifts": robust_width(shift[known]),
            "bias": float(np.median(error[finite])),
            "scatter": robust_width(error[finite]),
            "pull": robust_width((error / column(table, f"{name}_err"))[finite]),
        }
    return found


def main() -> None:
    options = parse_options(__doc__, miles=None)
    if options.miles is None:
        raise SystemExit("give the MILES table by --miles")
    load_before, began = current_load(), time.perf_counter()
    train, others = load(options)
    sigma = NOISE * np.abs(train.flux)
    train = dataclasses.replace(train, ivar=1 / np.square(np.maximum(sigma, 1e-6)))
    model = slamjax.train(
        train, LABELS, emulator=slamjax.SVR(C=10, epsilon=0.05, gamma=0.1, metric="isotropic"), recipe=RECIPE,
        log_labels=["teff"], seed=options.seed, on_progress=False,
    )  # fmt: skip
    own = convolved(others, options.seed)
    width = own.fwhm.mean(axis=1)
    given = {
        "each star's own": own,
        "the mean of all": dataclasses.replace(own, fwhm=own.fwhm.mean(axis=0)),
        "none": dataclasses.replace(own, fwhm=None),
    }
    sharp = slamjax.fit(model, with_noise(others, others.flux, options.seed), on_progress=False)
    found, seconds = {}, {}
    for name, spectra in {"(sharp spectra)": with_noise(others, others.flux, options.seed), **given}.items():
        slamjax.fit(model, spectra[:2], on_progress=False)
        start = time.perf_counter()
        found[name] = judged(slamjax.fit(model, spectra, on_progress=False), sharp, width)
        seconds[name] = time.perf_counter() - start
    rows, labels = [], []
    for name, each in found.items():
        shifts = [f"{each[label]['narrow']:+.2f} / {each[label]['wide']:+.2f}" for label in LABELS]
        rows.append((name, *shifts, *(f"{each[label]['scatter of shifts']:.2f}" for label in LABELS), seconds[name]))
        values = [f"{each[label]['bias']:+.3g} ± {each[label]['scatter']:.3g}" for label in LABELS]
        labels.append((name, *values, *(f"{each[label]['pull']:.2f}" for label in LABELS), 100 * each["flagged"]))
    tables = [
        "Shift from the labels of the sharp spectra, in their errors: median of the third of the stars with the "
        "narrowest and with the widest lines; robust scatter of the shifts of all:\n\n"
        + markdown_table(
            ["line spread in the fit", *LABELS, *(f"scatter {label}" for label in LABELS), "fit [s]"], rows[1:]
        ),
        "Fitted minus MILES, median ± robust scatter:\n\n"
        + markdown_table(
            ["line spread in the fit", *LABELS, *(f"pull {label}" for label in LABELS), "flagged %"], labels
        ),
    ]
    settings = {
        "data": options.miles.name, "stars": len(train), "tests": len(own), "pixels": int(model.wave.size),
        "noise": NOISE, "seconds": round(time.perf_counter() - began),
    }  # fmt: skip
    write_results(options.out, "line_spread", settings, {"found": found, "seconds": seconds}, tables, load_before)


if __name__ == "__main__":
    main()
