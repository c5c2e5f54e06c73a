"""Are velocities of stars in the observed frame right, and their errors?

`--miles` is the MILES table. Its stars train as spectra at rest, on pixels of 1.25 and of 4 Å, at S/N 90 with ``ivar``;
200 others are moved by velocities drawn from N(0, 60 km/s), seen in pixels of the same width at the same S/N, and given
as observed, to `slamjax.measure_rv` and to `slamjax.fit`; `measure_rv` also has them unmoved. Choices in the code were
made on the first half of them; the second half was seen once before the last choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import theilslopes

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, signed, write_results
from benchmarks.common.scatter import robust_width
from benchmarks.common.stars import parse_options
from slamjax.preprocessing import GaussianContinuum, Recipe, WaveRange, onto_grid
from slamjax.spectra.spectra import Spectra

LABELS = ("teff", "logg", "fe_h")
SELECTION = "teff > 3500 & teff < 9000"
RECIPE = Recipe((WaveRange(4000.0, 7200.0, "Angstrom"), GaussianContinuum(50.0, "Angstrom")))
SETTINGS: dict[str, Any] = {
    "emulator": slamjax.SVR(C=2.0, epsilon=0.1, gamma=0.1),
    "log_labels": ["teff"],
}
STEPS = (1.25, 4.0)
#: Å, first pixels of short ranges.
RANGES = (4100, 4400, 4700, 5010, 5300, 5700, 6100, 6500)
N_TRAIN, N_JUDGES, SNR, SPREAD = 600, 200, 90.0, 60.0


def noisy(stars: Spectra, rng: np.random.Generator) -> Spectra:
    """Photon noise at a median S/N of 90 per pixel, with its ivar."""
    flux = stars.flux.astype(float)
    middle = np.median(flux, axis=1, keepdims=True)
    sigma = np.sqrt(np.maximum(flux, 0.02 * middle) * middle) / SNR
    return dataclasses.replace(
        stars, flux=flux + sigma * rng.normal(size=flux.shape), ivar=np.where(stars.good, sigma**-2.0, 0)
    )


def pixels(step: float) -> np.ndarray:
    return np.arange(3900.0, 7300.0, step)


def observed(stars: Spectra, velocity: np.ndarray, step: float, rng: np.random.Generator) -> Spectra:
    """Stars that recede at ``velocity``, seen in pixels of ``step`` Å."""
    moved = onto_grid(stars, pixels(step), "Angstrom", "air", velocity=-velocity)
    return noisy(dataclasses.replace(moved, frame="observed"), rng)


def judged(velocity: np.ndarray, rv: np.ndarray, error: np.ndarray, flags: np.ndarray | None) -> dict[str, float]:
    """Scatter, pulls and slope of measured velocities, and how many right ones are flagged."""
    known = np.isfinite(rv) & np.isfinite(error)
    difference, pull = (rv - velocity)[known], ((rv - velocity) / error)[known]
    slope, low, high = np.nan, np.nan, np.nan
    if np.ptp(velocity) > 0:
        slope, _, low, high = theilslopes(rv[known], velocity[known])
    right = np.abs(pull) < 3
    unsure = np.zeros(len(rv), bool) if flags is None else flags & int(slamjax.Flag.UNSURE_VELOCITY) > 0
    return {
        "n": int(known.sum()),
        "bias": float(np.median(difference)),
        "bias_error": spread_of_draws(np.median, difference),
        "robust": robust_width(difference),
        "typical_error": float(np.median(error[known])),
        "pull_width": robust_width(pull),
        "pull_error": spread_of_draws(robust_width, pull),
        "beyond_3": float(np.mean(~right)),
        "slope": float(slope),
        "slope_error": float(high - low) / 3.92,
        "unsure": float(np.mean(unsure[known][right])),
    }


def spread_of_draws(statistic: Callable[[np.ndarray], Any], values: np.ndarray) -> float:
    """Standard error of a statistic, by drawing stars with replacement."""
    rng = np.random.default_rng(0)
    return float(np.std([statistic(rng.choice(values, values.size)) for _ in range(400)]))


def measure(stars: Spectra, step: float, seed: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(stars))
    train, judges = (stars[np.sort(part)] for part in (order[:N_TRAIN], order[N_TRAIN : N_TRAIN + N_JUDGES]))
    at_rest = noisy(onto_grid(train, pixels(step), "Angstrom", "air"), np.random.default_rng(seed + 1))
    model = slamjax.train(at_rest, LABELS, recipe=RECIPE, **SETTINGS)
    velocity = np.random.default_rng(seed + 3).normal(0, SPREAD, len(judges))
    seen = observed(judges, velocity, step, np.random.default_rng(seed + 2))
    still = observed(judges, 0 * velocity, step, np.random.default_rng(seed + 4))
    alone, unmoved = (slamjax.measure_rv(model, one) for one in (seen, still))
    fitted = slamjax.fit(model, seen)
    found: dict[str, tuple[Any, ...]] = {
        "measure_rv": (np.asarray(alone["rv"].value), np.asarray(alone["rv_err"].value), None),
        "measure_rv, unmoved": (np.asarray(unmoved["rv"].value), np.asarray(unmoved["rv_err"].value), None),
        "fit": (np.asarray(fitted["rv"].value), np.asarray(fitted["rv_err"].value), np.asarray(fitted["flags"])),
    }
    results = {}
    for name, columns in found.items():
        for half, rows in (
            ("first half", slice(0, None, 2)),
            ("left out", slice(1, None, 2)),
            ("all", slice(None)),
        ):
            part = (None if values is None else values[rows] for values in columns)
            given = 0 * velocity if "unmoved" in name else velocity
            results[f"{step:g} Å, {name}, {half}"] = judged(given[rows], *part)  # type: ignore[arg-type]
        print(name, step, results[f"{step:g} Å, {name}, all"], flush=True)
    return results


def short_ranges(stars: Spectra, seed: int) -> dict[str, dict[str, float]]:
    """Slopes and pulls in ranges of 250 Å on pixels of 4 Å, with and without the correction for wide pixels."""
    stars = stars.select("teff < 7000 & fe_h > -1.5")
    order = np.random.default_rng(seed).permutation(len(stars))
    train, judges = stars[order[:250]], stars[order[250:400]]
    velocity = np.random.default_rng(seed + 4).uniform(-110, 110, len(judges))
    recipe, found = Recipe((GaussianContinuum(100.0, "Angstrom", order=4),)), {}
    for low in RANGES:
        grid = np.arange(low, low + 250.0, 4.0)
        options: dict[str, Any] = {"emulator": slamjax.Polynomial(), "noise": "diagonal"}
        model = slamjax.train(onto_grid(train, grid, "Angstrom", "air"), LABELS, recipe=recipe, **options)
        seen = dataclasses.replace(onto_grid(judges, grid, "Angstrom", "air", velocity=-velocity), frame="observed")
        for name, fwhm in (("corrected", model.info.fwhm), ("not", None)):
            info = dataclasses.replace(model.info, fwhm=fwhm)
            table = slamjax.measure_rv(dataclasses.replace(model, info=info), dataclasses.replace(seen, fwhm=fwhm))
            rv, error = (np.asarray(table[column].value) for column in ("rv", "rv_err"))
            found[f"{low:g} Å, {name}"] = judged(velocity, rv, error, None)
    return found


def described(found: dict[str, dict[str, float]]) -> str:
    """`short_ranges` in words."""
    words = []
    for name in ("corrected", "not"):
        rows = [row for key, row in found.items() if key.endswith(name)]
        slopes, pulls = (np.array([row[column] for row in rows]) for column in ("slope", "pull_width"))
        words.append(f"{slopes.mean():.3f} ± {slopes.std(ddof=1):.3f}, pulls {pulls.min():.2f} to {pulls.max():.2f}")
    return (
        f"Pixels of 4 Å in {len(RANGES)} ranges of 250 Å, without added noise, ± the scatter from range to range: "
        f"slope {words[0]}; without the correction for wide pixels {words[1]}."
    )


def main() -> None:
    options = parse_options(__doc__ or "", miles=None)
    if options.miles is None:
        raise SystemExit("give --miles miles.fits")
    load = current_load()
    stars = slamjax.read_table(options.miles).select(SELECTION)
    stars = stars[np.isfinite(stars.values(LABELS)).all(axis=1)]
    results: dict[str, dict[str, float]] = {}
    for step in STEPS:
        results |= measure(stars, step, options.seed)
    short = short_ranges(stars, options.seed)
    print(described(short), flush=True)
    table = markdown_table(
        ["", "stars", "bias", "robust scatter", "own error", "pull width", "beyond 3 σ", "slope", "unsure"],
        [
            (
                name,
                row["n"],
                f"{signed(row['bias'])} ± {row['bias_error']:.2f}",
                f"{row['robust']:.2f}",
                f"{row['typical_error']:.2f}",
                f"{row['pull_width']:.2f} ± {row['pull_error']:.2f}",
                f"{row['beyond_3']:.0%}",
                f"{row['slope']:.3f} ± {row['slope_error']:.3f}" if np.isfinite(row["slope"]) else "",
                f"{row['unsure']:.0%}",
            )
            for name, row in results.items()
        ],
    )
    sections = [
        f"{N_TRAIN} MILES stars at rest train, {N_JUDGES} others are moved by N(0, {SPREAD:g} km/s); S/N {SNR:g} per "
        "pixel in both. Found minus given velocity, km/s; `unsure`: flagged `UNSURE_VELOCITY` though right within 3 σ.",
        table,
        described(short),
    ]
    settings = {"selection": SELECTION, "recipe": str(RECIPE), **{key: str(value) for key, value in SETTINGS.items()}}
    write_results(options.out, "velocities", settings, results | short, sections, load)


if __name__ == "__main__":
    main()
