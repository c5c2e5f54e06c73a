"""Gaia XP coefficients with their covariances, against spectra that were sampled from them.

Simulated giants, whose best possible errors are known: coefficients are a quadratic of the labels, fitted to real XP
spectra that were taken back to coefficients by GaiaXPy's design matrix (least squares). Their noise is that of the
coefficients' own least squares, C = (Σ φ φᵀ / v)⁻¹, over the samples of all transits, with φ GaiaXPy's internal bases
and v the variance of a sample by photons, background and read-out. Spectra are sampled by GaiaXPy's matrix, and state
the errors of single pixels, as users take them.

GaiaXPy runs in a virtual environment of its own, which the first run makes: that needs PyPI once.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

import slamjax
from benchmarks.common.environments import environment, run_command
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import LABELS, load_stars, parse_options, source_name
from slamjax.spectra.spectra import Spectra

GAIAXPY = "GaiaXPy==2.1.5"
BANDS, N = ("bp", "rp"), 55
#: Seconds of a transit, background (electrons per second and sample), read-out noise (electrons), transits, zero point
#: of G (electrons per second).
EXPOSURE, BACKGROUND, READ_OUT, TRANSITS, ZERO_POINT = 4.42, 10.0, 12.0, (15, 60), 25.6874
#: Magnitudes of training stars, of those whose residuals can tell how noise is correlated, and of fitted stars.
TRAINED, ALL, FITTED = (11.0, 14.0), (11.0, 17.5), (13.0, 15.0, 17.0)
#: Singular values of the design matrix below this part of the largest are not inverted.
CUT = 1 / 300
STATED = slamjax.NoiseSpec(photons="stated")


@dataclass(frozen=True)
class Instrument:
    """GaiaXPy's matrices, and the quadratic of real stars; ``low`` and ``high`` are the range of their labels."""

    wave: np.ndarray
    sampled: np.ndarray
    internal: dict[str, np.ndarray]
    coefficients: np.ndarray
    middle: np.ndarray
    width: np.ndarray

    @classmethod
    def make(cls, options: Any, stars: Spectra) -> Instrument:
        python = environment(options.cache / "gaiaxpy-venv", sys.executable, (GAIAXPY,))
        target = options.cache / "gaiaxpy-matrices.npz"
        run_command([str(python), str(Path(__file__).parent / "gaiaxpy_worker.py"), str(target)])
        with np.load(target) as found:
            wave, sampled = found["wave"], found["sampled"]
            internal = {band: found[f"internal_{band}"] for band in BANDS}
        pixels = np.searchsorted(wave, stars.wave)
        assert np.allclose(wave[pixels], stars.wave)
        weight = np.median(stars.flux, axis=0)
        taken = np.linalg.pinv((sampled[:, pixels] / weight).T, rcond=CUT)
        coefficients = (stars.flux / weight) @ taken.T
        coefficients /= np.linalg.norm(coefficients, axis=1)[:, None]
        labels = stars.values(LABELS)
        middle, width = labels.mean(axis=0), labels.std(axis=0)
        fitted = np.linalg.lstsq(quadratic((labels - middle) / width), coefficients, rcond=None)[0]
        return cls(wave, sampled, internal, fitted, middle, width)

    def truth(self, labels: np.ndarray) -> np.ndarray:
        """(N, 110) coefficients of norm one."""
        found = quadratic((labels - self.middle) / self.width) @ self.coefficients
        return found / np.linalg.norm(found, axis=1)[:, None]

    def observed(self, labels: np.ndarray, magnitude: np.ndarray, seed: int) -> Table:
        """Columns of the archive; coefficients in electrons per second."""
        rng = np.random.default_rng(seed)
        truth = self.truth(labels)
        flux = {band: part @ self.internal[band] for band, part in zip(BANDS, np.split(truth, 2, axis=1), strict=True)}
        step = 60 / len(flux["bp"][0])  # of a sample, between positions
        total = sum(each.sum(axis=1) * step for each in flux.values())
        scale = 10 ** (0.4 * (ZERO_POINT - magnitude)) / total
        table = Table({name: labels[:, k] for k, name in enumerate(LABELS)})
        table["source_id"] = np.arange(len(labels))
        for band, part in zip(BANDS, np.split(truth, 2, axis=1), strict=True):
            rate = np.maximum(flux[band], 0) * scale[:, None] + BACKGROUND
            variance = rate / EXPOSURE + np.square(READ_OUT / EXPOSURE)
            n_transits = rng.integers(*TRANSITS, len(labels))
            weight = n_transits[:, None] * step / variance
            bases = self.internal[band]
            covariance = np.linalg.inv((bases * weight[:, None, :]) @ bases.T)
            noise = np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), rng.normal(size=part.shape))
            error = np.sqrt(np.einsum("nii->ni", covariance))
            correlation = covariance / error[:, :, None] / error[:, None, :]
            row, other = np.tril_indices(N, -1)
            table[f"{band}_coefficients"] = part * scale[:, None] + noise
            table[f"{band}_coefficient_errors"] = error
            table[f"{band}_coefficient_correlations"] = correlation[:, row, other]
        return table

    def in_pixels(self, table: Table, coefficients: Spectra) -> Spectra:
        """The spectra that are sampled from the same coefficients, with the errors of single pixels."""
        scale = np.asarray(coefficients.table["scale"])
        raw = slamjax.read_xp_coefficients(table, scale=np.ones(len(table)))
        unit = np.median(np.abs(self.sampled @ np.ones(len(self.wave))))
        design = self.sampled / unit
        flux = raw.flux @ design / scale[:, None]
        variance = np.einsum("ip,nij,jp->np", design, raw.covariance, design, optimize=True) / np.square(scale)[:, None]
        return Spectra(self.wave, flux, 1 / variance, coefficients.table, wave_unit="nm", medium="vacuum", frame="rest")

    def bound(self, labels: np.ndarray, coefficients: Spectra) -> np.ndarray:
        """(N, L) smallest errors that the coefficients' noise allows."""
        step = 1e-3 * self.width
        slopes = np.stack(
            [(self.truth(labels + shift) - self.truth(labels - shift)) / (2 * step[k])
             for k, shift in enumerate(np.diag(step))], axis=1,
        )  # fmt: skip
        information = slopes @ np.linalg.solve(coefficients.covariance, np.swapaxes(slopes, 1, 2))
        return np.sqrt(np.einsum("nll->nl", np.linalg.inv(information)))


def quadratic(x: np.ndarray) -> np.ndarray:
    """1, x and all products of two."""
    one, other = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), x, x[:, one] * x[:, other]], axis=1)


def read(table: Table) -> Spectra:
    """The coefficients with the labels that they were simulated at."""
    spectra = slamjax.read_xp_coefficients(table)
    kept = Table(spectra.table, copy=True)
    for name in LABELS:
        kept[name] = table[name]
    return spectra._with(table=kept)


def judged(table: Any, labels: np.ndarray, bound: np.ndarray) -> dict[str, dict[str, float]]:
    found = {}
    for k, name in enumerate(LABELS):
        off, error = column(table, name) - labels[:, k], column(table, f"{name}_err")
        known = np.isfinite(off) & np.isfinite(error)
        found[name] = {
            "scatter": robust_width(off[known]),
            "over bound": robust_width((off / bound[:, k])[known]),
            "pull": robust_width((off / error)[known]),
            "pull rms": float(np.sqrt(np.mean(np.square(np.clip((off / error)[known], -10, 10))))),
            "known": float(known.mean()),
        }
    return found


def of_seed(options: Any, seed: int) -> dict[str, Any]:
    options.seed = seed
    train, test = load_stars(options)
    instrument = Instrument.make(options, train)
    rng = np.random.default_rng(seed)
    labels = train.values(LABELS)
    table = instrument.observed(labels, rng.uniform(*TRAINED, len(labels)), 10 * seed)
    coefficients = read(table)
    pixels = instrument.in_pixels(table, coefficients)
    table = instrument.observed(labels, rng.uniform(*ALL, len(labels)), 10 * seed + 9)
    coefficients_of_all = read(table)
    of_all = instrument.in_pixels(table, coefficients_of_all)
    options_of = {"emulator": slamjax.Polynomial(), "on_progress": False, "seed": seed}
    models = {
        "coefficients": slamjax.train(coefficients, LABELS, **options_of),
        "coefficients of all": slamjax.train(coefficients_of_all, LABELS, **options_of),
        "single errors": slamjax.train(coefficients.with_independent_pixels(), LABELS, noise=STATED, **options_of),
        "pixels": slamjax.train(pixels, LABELS, noise="diagonal", **options_of),
        "default noise": slamjax.train(pixels, LABELS, **options_of),
        "default noise of all": slamjax.train(of_all, LABELS, **options_of),
    }  # fmt: skip
    low, high = np.percentile(labels, [5, 95], axis=0)
    reference = test.values(LABELS)
    reference = reference[np.all((reference > low) & (reference < high), axis=1)]
    found: dict[str, Any] = {"training stars": len(labels)}
    for number, magnitude in enumerate(FITTED):
        table = instrument.observed(reference, np.full(len(reference), magnitude), 10 * seed + 1 + number)
        own = read(table)
        sampled = instrument.in_pixels(table, own)
        bound = instrument.bound(reference, own)
        given = {
            "coefficients, covariances": ("coefficients", own),
            "coefficients, covariances, stars of all magnitudes": ("coefficients of all", own),
            "coefficients, single errors": ("single errors", own.with_independent_pixels()),
            "sampled, single errors": ("pixels", sampled),
            "sampled, single errors, default noise": ("default noise", sampled),
            "sampled, single errors, default noise of stars of all magnitudes": ("default noise of all", sampled),
        }
        found[f"{magnitude:g}"] = {"bound": dict(zip(LABELS, np.median(bound, axis=0), strict=True))}
        for name, (model, spectra) in given.items():
            began = time.perf_counter()
            fitted = slamjax.fit(models[model], spectra, on_progress=False)
            found[f"{magnitude:g}"][name] = judged(fitted, reference, bound) | {
                "seconds": time.perf_counter() - began,
                "stars": len(reference),
            }
            widths = {label: round(found[f"{magnitude:g}"][name][label]["pull"], 2) for label in LABELS}
            print(seed, magnitude, name, widths, flush=True)
    return found


def main() -> None:
    options = parse_options(__doc__, n_seeds=3)
    load, first = current_load(), options.seed
    seeds = list(range(first, first + options.n_seeds))
    results = {seed: of_seed(options, seed) for seed in seeds}
    names = [name for name in results[first][f"{FITTED[0]:g}"] if name != "bound"]

    def mean(magnitude: str, name: str, label: str, what: str) -> float:
        return float(np.mean([results[seed][magnitude][name][label][what] for seed in seeds]))

    rows = []
    for magnitude in (f"{each:g}" for each in FITTED):
        bound = [np.mean([results[seed][magnitude]["bound"][label] for seed in seeds]) for label in LABELS]
        rows.append((magnitude, "*smallest possible error*", *(f"{each:.3g}" for each in bound)))
        rows += [
            (
                magnitude,
                name,
                *(f"{mean(magnitude, name, label, 'over bound'):.2f} ({mean(magnitude, name, label, 'pull'):.2f})"
                  for label in LABELS),
            )
            for name in names
        ]  # fmt: skip
    text = [
        f"Means over {len(seeds)} seeds of the robust scatter about the true labels, in units of the smallest error "
        "that the coefficients' noise allows (Cramér and Rao), and in brackets the robust width of pulls, which is 1 "
        "where errors are honest:\n\n" + markdown_table(["G", "fit", *LABELS], rows)
    ]
    settings = {
        "training stars": results[first]["training stars"],
        "fitted stars": results[first][f"{FITTED[0]:g}"][names[0]]["stars"],
        "seeds": seeds, "labels and shapes of": source_name(options.data), "bases": GAIAXPY,
    }  # fmt: skip
    write_results(
        options.out, "xp_coefficients", settings, {str(seed): each for seed, each in results.items()}, text, load
    )


if __name__ == "__main__":
    main()
