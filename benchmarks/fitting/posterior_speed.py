"""How many posteriors per second, against emcee over a loop of ``SVR.predict`` and plain NumPyro?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, time_call, wanted_row, write_results
from benchmarks.common.stars import (
    Trained,
    calibrated_model,
    least_ess,
    load_stars,
    parse_options,
    source_name,
    train_machines,
)
from slamjax.forward.likelihood import log_likelihood
from slamjax.model.model import Model
from slamjax.sampling import spectrum_model, training_range
from slamjax.sampling.diagnostics import diagnose
from slamjax.sampling.specs import METHODS
from slamjax.spectra.spectra import Spectra

#: Effective draws wanted of each label of a star.
ENOUGH = 400
WALKERS = 32


@dataclass(frozen=True)
class Speed:
    """Of one sampler: seconds (compiled), stars per second, share of stars with enough effective draws, the least."""

    seconds: float
    first: float
    stars: float
    enough: float
    least: float
    median: float
    effective: float


def our_speed(model: Model, spectra: Spectra, sampler: str, repeats: int) -> Speed:
    """`slamjax.sample` from spectra as read to diagnosed draws."""
    last: list[slamjax.Posterior] = []

    def once() -> None:
        last[:] = [slamjax.sample(model, spectra, sampler=sampler)]

    timing = time_call(once, repeats=repeats)
    ess = least_ess(last[0])
    return Speed(
        timing.median,
        timing.first,
        len(spectra) / timing.median,
        float(np.mean(ess >= ENOUGH)),
        float(np.nanmin(ess)),
        float(np.nanmedian(ess)),
        float(np.nansum(ess) / timing.median),
    )


def emcee_autocorrelation(model: Model, spectra: Spectra, steps: int) -> np.ndarray:
    """(N,) integrated autocorrelation time, in steps of an ensemble, of each star's slowest label.

    emcee runs on the JAX posterior of whole ensembles, which is only a quicker way to the chain that the loop of
    SVRs would make. It starts at the fit, as well as one could.
    """
    import emcee  # of the benchmarks alone

    prepared, table = model.prepare(spectra), slamjax.fit(model, spectra)
    noise = jax.tree_util.tree_map(jnp.asarray, model.noise)
    prior = training_range(model)
    emulator, scaling = model.emulator, model.host_emulator.scaling

    @jax.jit
    def density(flux: jax.Array, ivar: jax.Array, x: jax.Array) -> jax.Array:
        labels = scaling.inverse(x)
        return log_likelihood(emulator, noise, labels, flux, ivar) + prior.log_prob(labels)

    times = []
    for k in range(len(spectra)):
        flux, ivar = (jnp.asarray(array[k], jnp.float32) for array in (prepared.flux, prepared.ivar))
        at = scaling(np.array([float(np.asarray(table[name][k])) for name in map(str, model.label_names)]))
        rng = np.random.default_rng(k)
        start = at + 0.05 * rng.normal(size=(WALKERS, at.size))
        ensemble = emcee.EnsembleSampler(
            WALKERS, at.size, lambda x, f=flux, i=ivar: np.asarray(density(f, i, jnp.asarray(x)), float), vectorize=True
        )
        ensemble.random_state = np.random.RandomState(k).get_state()
        ensemble.run_mcmc(start, steps)
        times.append(np.max(ensemble.get_autocorr_time(discard=steps // 5, tol=0)))
    return np.array(times)


def loop_seconds(machines: Trained, repeats: int = 5) -> float:
    """One evaluation of a spectrum as the original predicts it."""
    x = np.zeros((1, machines.model.host_emulator.n_labels))
    return time_call(lambda: machines.flux_by_loop(x), repeats=repeats).median


def plain_numpyro(model: Model, spectra: Spectra) -> tuple[float, list[float]]:
    """Effective draws per second of NUTS on the model's pixels, one star at a time, unwhitened; seconds of each star.

    In physical units of the labels scaled by the prior's own transform, NumPyro's defaults, 4-fold adaptation: what a
    user would write first. The first star's compilation is not counted.
    """
    prepared = model.prepare(spectra)
    sampler = MCMC(
        NUTS(partial(spectrum_model, model)), num_warmup=500, num_samples=500, num_chains=1, progress_bar=False
    )
    effective, seconds = 0.0, []
    for k in range(-1, len(spectra)):
        flux, ivar = (jnp.asarray(array[max(k, 0)], jnp.float32) for array in (prepared.flux, prepared.ivar))
        start = time.perf_counter()
        sampler.run(jax.random.key(max(k, 0)), flux, ivar)
        draws = np.asarray(sampler.get_samples(group_by_chain=True)["labels"])
        if k >= 0:
            seconds.append(time.perf_counter() - start)
            effective += float(np.min(diagnose(draws).ess_bulk))
    return effective / sum(seconds), seconds


def main() -> None:
    options = parse_options(__doc__, n_stars=256, n_emcee=4, emcee_steps=2000, n_plain=4, repeats=3)
    load = current_load()
    train, test = load_stars(options)
    machines = train_machines(train, options.cache)
    model = calibrated_model(train, options.cache, options.seed)
    many = test[np.arange(min(len(test), options.n_stars))]
    speeds = {name: our_speed(model, many, name, options.repeats) for name in METHODS}
    best = max(speeds, key=lambda name: speeds[name].effective)

    tau = emcee_autocorrelation(model, many[: options.n_emcee], options.emcee_steps)
    one = loop_seconds(machines)
    # a step of the ensemble evaluates every walker; τ steps of it are worth that many independent draws
    emcee_rate = 1 / (np.median(tau) * one)
    plain_rate, plain_seconds = plain_numpyro(model, many[: options.n_plain])

    ours = speeds["auto"].effective
    tables = [
        markdown_table(
            [
                "sampler",
                "posteriors per second",
                "stars with bulk ESS ≥ 400",
                "median ESS",
                "least ESS",
                "first call, s",
            ],
            [(name, s.stars, f"{100 * s.enough:.1f} %", s.median, s.least, s.first) for name, s in speeds.items()],
        ),
        markdown_table(
            ["effective draws per second of slamjax.sample (auto) against", "wanted", "measured", "reached"],
            [
                wanted_row("emcee over a loop of SVR.predict", ours / emcee_rate, 3000),
                wanted_row("plain NumPyro NUTS, one star at a time", ours / plain_rate, 10),
            ],
        ),
        f"emcee: {WALKERS} walkers, autocorrelation time {np.median(tau):.0f} steps (median of {len(tau)} stars), "
        f"{1e3 * one:.0f} ms per evaluation of the loop.",
    ]
    settings = {
        "data": source_name(options.data),
        "training stars": len(train),
        "stars": len(many),
        "pixels": model.wave.size,
        "likelihood": slamjax.sample(model, many[:2], sampler=slamjax.SamplerSpec(draws=20)).attrs["likelihood"],
    }
    results = {
        "speed": {name: vars(speed) for name, speed in speeds.items()},
        "quickest": best,
        "emcee": {"autocorrelation": tau, "seconds_an_evaluation": one, "effective_a_second": emcee_rate},
        "plain_numpyro": {"effective_a_second": plain_rate, "seconds": plain_seconds},
        "ratio": {"emcee": ours / emcee_rate, "plain_numpyro": ours / plain_rate},
    }
    write_results(options.out, "posterior_speed", settings, results, tables, load)


if __name__ == "__main__":
    main()
