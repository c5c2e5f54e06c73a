"""A sharp and a blurred spectrum of the same stars, under models trained apart: is the joint fit better, and honest?

The sharp one is a MILES spectrum (`--miles`) of 4800 to 5500 Å, divided by its continuum, S/N 30; the blurred one is
made of the same library to look like Gaia XP: 3900 to 7300 Å, lines 100 Å wide, samples of 20 Å, the shape of the
continuum kept, S/N 150. A half of the library trains both models, each for itself. Simulated stars are drawn from the
two models with noise and model error of each; real ones are the other half of the library, with photon noise. Wanted:
joint errors no larger than either's, scatter no larger than the better one's, pulls from 0.9 to 1.1.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import slamjax
from benchmarks.accuracy.lamost import LABELS, with_label_errors
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import parse_options
from slamjax.preprocessing import onto_grid
from slamjax.preprocessing.resolution import blur_to
from slamjax.sampling import training_range
from slamjax.spectra.spectra import Spectra
from slamjax.training.search import make_folds
from slamjax.validation import prepared_model

SELECTION = "isfinite(teff) & isfinite(logg) & isfinite(fe_h) & teff > 4000 & teff < 7500"
SHARP = slamjax.Recipe.make(wave_range=(4800, 5500), wave_unit="Angstrom", continuum="gaussian:10nm")
BLURRED = slamjax.Recipe.make(wave_range=(3900, 7300), wave_unit="Angstrom")
#: Of the blurred spectra, Å.
WIDTH, STEP = 100.0, 20.0
SNR = {"sharp": 30.0, "blurred": 150.0}
EMULATOR = slamjax.SVR(C=10, epsilon=0.05, gamma=0.1, metric="isotropic")
BAD = slamjax.Flag.NO_DATA | slamjax.Flag.NOT_CONVERGED | slamjax.Flag.AT_BOUND | slamjax.Flag.UNCONSTRAINED


def blurred(stars: Spectra) -> Spectra:
    """The stars as XP would see them, each divided by its mean flux."""
    flux = np.where(stars.good, stars.flux, np.median(stars.flux, axis=1, keepdims=True))
    whole = dataclasses.replace(stars, flux=flux / flux.mean(axis=1, keepdims=True), ivar=np.full(flux.shape, 1e4))
    wide = blur_to(whole, WIDTH)
    return onto_grid(wide, np.arange(3840.0, 7361, STEP), "Angstrom", stars.medium)


def noisy(stars: Spectra, snr: float, rng: np.random.Generator) -> Spectra:
    sigma = np.maximum(np.abs(stars.flux), 0.05 * np.median(stars.flux)) / snr
    return dataclasses.replace(
        stars,
        flux=stars.flux + sigma * rng.normal(size=sigma.shape),
        ivar=np.where(stars.good, 1 / np.square(sigma), 0),
    )


def simulated(model: slamjax.Model, labels: np.ndarray, snr: float, seed: int) -> Spectra:
    """Spectra of stars with these labels: photon noise, and the emulator's error."""
    forward = model.with_nuisances(slamjax.Nuisances())
    flux = np.nan_to_num(np.asarray(jax.jit(forward)(labels)))
    ivar = np.where(np.isfinite(model.wave) & model.trained, snr**2 / np.maximum(np.square(flux), 0.05), 0)
    draw: Any = model.noise.on_device().draw(jax.random.key(seed), jnp.asarray(ivar, jnp.float32))
    info = model.info
    return Spectra(
        model.wave, flux + np.nan_to_num(np.asarray(draw)), ivar, wave_unit=info.wave_unit, medium=info.medium,
        frame=info.frame, fwhm=info.fwhm,
    )  # fmt: skip


def judged(tables: dict[str, Any], known: np.ndarray, known_error: np.ndarray) -> list[dict[str, Any]]:
    """Errors, scatter and pulls of each fit, of the stars that all of them could fit."""
    good = np.all([(np.asarray(table["flags"]) & int(BAD)) == 0 for table in tables.values()], axis=0)
    rows = []
    for name, table in tables.items():
        row: dict[str, Any] = {"fit": name, "stars": int(good.sum())}
        for k, label in enumerate(LABELS):
            error, off = column(table, f"{label}_err")[good], column(table, label)[good] - known[good, k]
            row[label] = {
                "error": float(np.median(error)),
                "scatter": robust_width(off),
                "pull": robust_width(off / np.hypot(error, known_error[good, k])),
            }
        rows.append(row)
    joint, *others = (np.stack([column(table, f"{label}_err")[good] for label in LABELS]) for table in tables.values())
    rows[0]["larger"] = float(np.mean(joint > 1.001 * np.minimum(*others)))
    return rows


def fits(models: dict[str, slamjax.Model], stars: dict[str, Spectra]) -> dict[str, Any]:
    tables = {"both": slamjax.fit(models, stars, on_progress=False).labels}
    return tables | {name: slamjax.fit(models[name], stars[name], on_progress=False) for name in models}


def told(rows: list[dict[str, Any]]) -> str:
    return markdown_table(
        ["fit", *(f"{label}: error, scatter (pull)" for label in LABELS)],
        [
            (
                row["fit"],
                *(
                    f"{row[label]['error']:.3g}, {row[label]['scatter']:.3g} ({row[label]['pull']:.2f})"
                    for label in LABELS
                ),
            )
            for row in rows
        ],
    )


def main() -> None:
    options = parse_options(__doc__ or "", miles=None, n_stars=1000)
    if options.miles is None:
        raise SystemExit("give the MILES table by --miles")
    load = current_load()
    stars = with_label_errors(slamjax.read_table(options.miles).select(SELECTION))
    seen = {"sharp": stars, "blurred": blurred(stars)}
    half = make_folds(stars.star_groups(), 2, options.seed)
    rng = np.random.default_rng(options.seed)
    models = {
        name: slamjax.train(
            noisy(each[half == 0], SNR[name], rng), LABELS, emulator=EMULATOR, log_labels=["teff"],
            recipe=SHARP if name == "sharp" else BLURRED, seed=options.seed, on_progress=False,
        )
        for name, each in seen.items()
    }  # fmt: skip
    prepared = {name: prepared_model(model) for name, model in models.items()}
    labels = np.asarray(training_range(prepared["sharp"]).sample(jax.random.key(options.seed), (options.n_stars,)))
    drawn = {name: simulated(model, labels, SNR[name], options.seed + k) for k, (name, model) in
             enumerate(prepared.items())}  # fmt: skip
    of_drawn = judged(fits(prepared, drawn), labels.astype(float), np.zeros(labels.shape))
    others = {name: noisy(each[half == 1], SNR[name], rng) for name, each in seen.items()}
    known = others["sharp"].values(LABELS)
    known_error = others["sharp"].values([f"{label}_err" for label in LABELS])
    of_real = judged(fits(models, others), known, known_error)
    text = [
        f"{of_drawn[0]['stars']:,} simulated stars; of {100 * of_drawn[0]['larger']:.1f} % of their labels the joint "
        f"error is larger than the smaller one of the two fits:\n\n{told(of_drawn)}",
        f"{of_real[0]['stars']:,} real stars, whose library labels have errors of their own, which count in the "
        f"pulls ({100 * of_real[0]['larger']:.1f} % larger):\n\n{told(of_real)}",
    ]
    settings = {"stars": options.n_stars, "training": int((half == 0).sum()), "seed": options.seed}
    write_results(options.out, "two_surveys", settings, {"simulated": of_drawn, "real": of_real}, text, load)


if __name__ == "__main__":
    main()
