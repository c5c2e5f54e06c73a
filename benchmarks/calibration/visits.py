"""Several visits of a star in one fit: do errors shrink as they should, are they honest, and what does it cost?

Simulated from a MILES model of 5,000 to 5,600 Å (`--model`, or `--miles` to train one): every visit has a velocity, a
continuum and photon noise of its own, the emulator's error is the star's. The same spectra are fitted one by one, with
the same nuisances, in the same run. Posteriors by ranks (SBC): stars from the prior.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import slamjax
from benchmarks.accuracy.lamost import LABELS, RECIPE, SELECTION, SETTINGS, with_label_errors
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import robust_width
from benchmarks.common.stars import fingerprint, parse_options
from slamjax.noise import LowRankNoise
from slamjax.sampling import training_range
from slamjax.spectra.spectra import Spectra
from slamjax.validation import prepared_model
from slamjax.validation.ranks import rank_test, thin_draws

#: Velocities, km/s, reach so far in posteriors, whose ranks want draws from the prior. Stars that are fitted stay away
#: from the bounds: those that noise carries to them are flagged, and the others' pulls would be too narrow.
FASTEST, WITHIN = 30.0, 15.0
NUISANCES = slamjax.Nuisances(rv=slamjax.Free(-FASTEST, FASTEST), polynomial=2, polynomial_sd=0.05)
NARROW = slamjax.Recipe.make(wave_range=(5000, 5600), wave_unit="Angstrom", continuum="gaussian:50angstrom")
VISITS = (1, 2, 4, 8)
#: Ranks want few independent draws of many stars.
RANKED = slamjax.SamplerSpec(draws=200, warmup=100)
SNR = 30.0
#: Stars that are timed, and how often.
TIMED, REPEATS = 400, 5
#: p of every label, after Bonferroni, is to be above this; pulls between these; time against single fits.
LEVEL, PULLS, COST = 0.01, (0.9, 1.1), 1.3


def model_of(miles: Path, cache: Path, recipe: slamjax.Recipe = RECIPE) -> slamjax.Model:
    """The model of `benchmarks.accuracy.lamost`, from ``cache`` if it was trained before."""
    stars = with_label_errors(slamjax.read_table(miles).select(SELECTION))
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"miles-{fingerprint(stars, LABELS, (recipe, SETTINGS))}.h5"
    if not file.exists():
        slamjax.train(stars, LABELS, recipe=recipe, **SETTINGS).write(file)
    return slamjax.Model.read(file)


def observed(
    model: slamjax.Model, labels: np.ndarray, n_visits: int, seed: int, fastest: float = FASTEST
) -> tuple[Any, dict[str, np.ndarray]]:
    """Stars with these labels, each seen so many times; what was put in."""
    n, rng = len(labels), np.random.default_rng(seed)
    rv = rng.uniform(-fastest, fastest, (n, n_visits))
    polynomial = np.array([1.0, 0, 0]) + NUISANCES.polynomial_sd * rng.normal(size=(n, n_visits, 3))
    forward = model.with_nuisances(NUISANCES)
    program = jax.jit(lambda x, v, c: forward(x, rv=v, polynomial=c))
    flux = np.concatenate(
        [
            np.asarray(program(np.repeat(labels[k : k + 64], n_visits, axis=0), rv[k : k + 64].ravel(),
                               polynomial[k : k + 64].reshape(-1, 3)))
            for k in range(0, n, 64)
        ]
    )  # fmt: skip
    ivar = np.full(flux.shape, SNR**2, np.float32)
    noise: Any = model.noise.on_device()
    keys = jax.random.split(jax.random.key(seed), 2)
    common = noise.draw(keys[0], jnp.full((n, flux.shape[1]), jnp.inf))
    photons = rng.normal(size=flux.shape) / SNR
    if isinstance(noise, LowRankNoise):
        own = LowRankNoise(*(jnp.zeros_like(each) for each in (noise.model_variance, noise.factors)),
                           noise.photon_scale, noise.photon_factors)  # fmt: skip
        photons = np.asarray(own.draw(keys[1], jnp.asarray(ivar)))
    flux = np.nan_to_num(flux) + np.repeat(np.asarray(common), n_visits, axis=0) + photons
    star = np.repeat(np.arange(n), n_visits)
    info = model.info
    spectra = Spectra(
        model.wave, flux, ivar, {"star": star}, info.wave_unit, medium=info.medium, frame="rest", fwhm=info.fwhm
    )
    return slamjax.Observations({"visits": spectra}, "star"), {"rv": rv, "polynomial": polynomial}


def bound(joint: slamjax.JointModel, labels: np.ndarray, truth: dict[str, np.ndarray], spectra: Spectra) -> np.ndarray:
    """(N, L) errors by the information at the truth."""
    n, n_visits = truth["rv"].shape
    parts = joint.parts((("visits", n_visits),))
    emulator = parts.emulator
    (arm,) = emulator.arms
    x = np.concatenate([np.asarray(joint.scaling(labels)), truth["rv"] / float(arm.forward.grid.unit)], axis=1)
    unit = parts.units[0]
    flux, ivar = spectra.flux.reshape(n, -1) / unit, spectra.ivar.reshape(n, -1) * unit**2
    ivar = ivar * np.tile(np.asarray(arm.forward.usable), n_visits)

    @jax.jit
    def of_star(given: Any) -> Any:
        at, flux, ivar = given
        return emulator.information(parts.noise.inverse_covariance(ivar), at, flux)

    grams = np.asarray(jax.lax.map(of_star, tuple(jnp.asarray(each, jnp.float32) for each in (x, flux, ivar))), float)
    covariance = np.linalg.inv(grams[:, 1:, 1:])
    errors = np.sqrt(np.einsum("nii->ni", covariance))[:, : labels.shape[1]]
    return errors * np.asarray(joint.scaling.slope(x[:, : labels.shape[1]]))


def draw_labels(model: slamjax.Model, n: int, seed: int) -> np.ndarray:
    """Labels by the prior that posteriors have."""
    return np.asarray(training_range(model).sample(jax.random.key(seed), (n,)), float)


def in_turns(*calls: Callable[[], Any]) -> list[float]:
    """The shortest time of each call, s, in turns, after they were compiled: other work comes and goes."""
    for call in calls:
        call()
    shortest = [np.inf] * len(calls)
    for _ in range(REPEATS):
        for k, call in enumerate(calls):
            began = time.perf_counter()
            call()
            shortest[k] = min(shortest[k], time.perf_counter() - began)
    return shortest


def of_visits(joint: slamjax.JointModel, n_stars: int, n_visits: int, seed: int) -> dict[str, Any]:
    model = joint.models["visits"]
    labels = draw_labels(model, n_stars, seed)
    stars, truth = observed(model, labels, n_visits, seed + 1, WITHIN)
    spectra = stars.spectra["visits"]
    fitter, single = slamjax.JointFitter(joint), slamjax.Fitter(model, nuisances=NUISANCES)
    fitted = fitter.fit(stars, False)
    table, rows = fitted.labels, fitted.spectra
    some, _ = observed(model, labels[:TIMED], n_visits, seed + 1, WITHIN)
    seconds = in_turns(lambda: fitter.fit(some, False), lambda: single.fit(some.spectra["visits"], False))
    bad = slamjax.Flag.NO_DATA | slamjax.Flag.NOT_CONVERGED | slamjax.Flag.AT_BOUND | slamjax.Flag.UNCONSTRAINED
    good = (np.asarray(table["flags"]) & int(bad)) == 0
    limits = bound(joint, labels, truth, spectra)
    result: dict[str, Any] = {"visits": n_visits, "stars": int(good.sum()), "seconds": seconds}
    for k, name in enumerate(LABELS):
        error = np.asarray(table[f"{name}_err"], float)[good]
        difference = np.asarray(table[name], float)[good] - labels[good, k]
        result[name] = {
            "scatter": robust_width(difference),
            "error": float(np.median(error)),
            "stated_over_bound": float(np.median(error / limits[good, k])),
            "pull": robust_width(difference / error),
        }
    pulls = (np.asarray(rows["rv"], float) - truth["rv"].ravel()) / np.asarray(rows["rv_err"], float)
    result["rv"] = {"error": float(np.median(np.asarray(rows["rv_err"], float))),
                    "pull": robust_width(pulls[np.repeat(good, n_visits)])}  # fmt: skip
    result["cost"] = seconds[0] / seconds[1]
    return result


def by_ranks(joint: slamjax.JointModel, model: slamjax.Model, n: int, n_visits: int, seed: int) -> dict[str, Any]:
    labels = draw_labels(model, n, seed)
    stars, _ = observed(model, labels, n_visits, seed + 1)
    began = time.perf_counter()
    posterior = slamjax.sample(joint, stars, sampler=RANKED, seed=seed, on_progress=False)
    seconds = time.perf_counter() - began
    draws = np.stack([posterior[name] for name in LABELS], axis=-1)
    sampled = np.isfinite(draws).all(axis=(0, 1, 3))
    thin = thin_draws(np.moveaxis(np.asarray(draws[:, :, sampled], float), 2, 0))
    test = rank_test(labels[sampled], thin, LABELS)
    return {"stars": int(sampled.sum()), "visits": n_visits, "p": test.p_bonferroni, "passes": bool(test.passes(LEVEL)),
            "seconds": seconds}  # fmt: skip


def main() -> None:
    options = parse_options(__doc__, miles=None, model=None, n_stars=1600, n_ranked=400)
    load = current_load()
    trained = slamjax.Model.read(options.model) if options.model else model_of(options.miles, options.cache, NARROW)
    model = prepared_model(trained)
    joint = slamjax.JointModel({"visits": model}, nuisances={"visits": NUISANCES})
    rows = []
    for n_visits in VISITS:
        rows.append(of_visits(joint, options.n_stars, n_visits, options.seed))
        print(rows[-1], flush=True)
    ranks = by_ranks(joint, model, options.n_ranked, 2, options.seed + 100)
    text = [
        f"Visits of S/N {SNR:g}, each with its velocity and a polynomial of degree {NUISANCES.polynomial}; "
        f"{options.n_stars} stars, {model.wave.size} pixels. Wanted: pulls from {PULLS[0]} to {PULLS[1]}, stated "
        f"errors of the bound (Fisher information at the truth), no more than {COST} times the time of single fits of "
        "the same spectra:\n\n"
        + markdown_table(
            [
                "visits",
                *(f"{name}: error (pull)" for name in LABELS),
                "stated / bound",
                "rv km/s (pull)",
                "time / single",
            ],
            [
                (
                    row["visits"],
                    *(f"{row[name]['error']:.3g} ({row[name]['pull']:.2f})" for name in LABELS),
                    "–".join(f"{f([row[name]['stated_over_bound'] for name in LABELS]):.2f}" for f in (min, max)),
                    f"{row['rv']['error']:.2f} ({row['rv']['pull']:.2f})",
                    f"{row['cost']:.2f}",
                )
                for row in rows
            ],
        ),
        f"Ranks of the true labels of {ranks['stars']} stars of two visits among draws of their posteriors: p after "
        f"Bonferroni {', '.join(f'{name} {p:.2f}' for name, p in zip(LABELS, ranks['p'], strict=True))}; "
        f"{'uniform' if ranks['passes'] else 'NOT uniform'} at {LEVEL:g}. "
        f"{ranks['stars'] / ranks['seconds']:.1f} stars a second.",
    ]
    settings = {"stars": options.n_stars, "ranked": options.n_ranked, "S/N": SNR, "seed": options.seed}
    write_results(options.out, "visits", settings, {"fits": rows, "ranks": ranks}, text, load)


if __name__ == "__main__":
    main()
