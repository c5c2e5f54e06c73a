"""How many stars per second are fitted, compared with ``least_squares`` of SciPy over a loop of ``SVR.predict``?"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, time_call, wanted_row, write_results
from benchmarks.common.scatter import column
from benchmarks.common.stars import (
    LABELS,
    Trained,
    calibrated_model,
    load_stars,
    parse_options,
    source_name,
    train_machines,
)
from slamjax.spectra.spectra import Spectra


@dataclass(frozen=True)
class RivalFit:
    """One star's fit: physical labels, χ², evaluations of the spectrum, seconds."""

    labels: np.ndarray
    chi2: float
    evaluations: int
    seconds: float


def rival_fits(machines: Trained, spectra: Spectra) -> list[RivalFit]:
    """Each star as the original SLAM fits it, on spectra that are already prepared.

    Start at the training star whose predicted spectrum has the least χ², search within the training range, weights
    1 / √(1/ivar + s²). Predicting the training stars' spectra is not counted.
    """
    model = machines.model
    prepared = model.prepare(spectra)
    templates_x = np.asarray(model.training_labels.stars)
    templates = np.asarray(model(model.host_emulator.scaling.inverse(templates_x)))
    bounds = np.asarray(model.training_labels.low), np.asarray(model.training_labels.high)
    variance = np.asarray(model.noise.model_variance)
    fits = []
    for flux, ivar in zip(prepared.flux.astype(float), prepared.ivar.astype(float), strict=True):
        start = time.perf_counter()
        with np.errstate(divide="ignore"):  # a bad pixel gets weight 0
            weight = 1 / np.sqrt(1 / ivar + variance)
        calls = 0

        def residual(x: np.ndarray, flux: np.ndarray = flux, weight: np.ndarray = weight) -> np.ndarray:
            nonlocal calls
            calls += 1
            return weight * (machines.flux_by_loop(x[None])[0] - flux)

        best = np.argmin(np.sum(np.square(weight * (templates - flux)), axis=1))
        found = least_squares(residual, np.clip(templates_x[best], *bounds), bounds=bounds)
        taken = time.perf_counter() - start
        fits.append(RivalFit(model.host_emulator.scaling.inverse(found.x), 2 * found.cost, calls, taken))
    return fits


def main() -> None:
    options = parse_options(__doc__, n_stars=2000, n_rival=10)
    load = current_load()
    train, test = load_stars(options)
    machines = train_machines(train, options.cache)
    model = machines.model
    # where there are fewer test stars than asked for, some are fitted twice: time does not depend on it
    many = test[np.resize(np.arange(len(test)), options.n_stars)]

    default = time_call(lambda: slamjax.fit(model, many), repeats=3)
    correlated = calibrated_model(train, options.cache, options.seed)
    low_rank = time_call(lambda: slamjax.fit(correlated, many), repeats=3)
    one_start = time_call(lambda: slamjax.fit(model, many, n_starts=1), repeats=3)
    some = test[np.unique(np.linspace(0, len(test) - 1, options.n_rival).astype(int))]
    rival = rival_fits(machines, some)
    ours = slamjax.fit(model, some)

    rate_rival = len(rival) / sum(fit.seconds for fit in rival)
    rates = {
        "slamjax.fit, three starts (default)": len(many) / default.median,
        "slamjax.fit, three starts, first call with compilation": len(many) / default.first,
        "slamjax.fit, three starts, low-rank noise": len(many) / low_rank.median,
        "slamjax.fit, one start": len(many) / one_start.median,
        "least_squares over a loop of SVR.predict, one start": rate_rival,
    }
    slower = low_rank.median / default.median
    ratio = len(many) / default.median / rate_rival
    difference = np.stack(
        [
            (column(ours, name) - np.array([fit.labels[k] for fit in rival])) / column(ours, f"{name}_err")
            for k, name in enumerate(LABELS)
        ],
        axis=1,
    )
    chi2 = np.stack([column(ours, "chi2"), [fit.chi2 for fit in rival]], axis=1)
    tables = [
        markdown_table(
            ["way", "stars per second", "times the rival"],
            [(name, rate, rate / rate_rival) for name, rate in rates.items()],
        ),
        markdown_table(
            ["stars per second of slamjax.fit (default, compiled) against the rival", "wanted", "measured", "reached"],
            [wanted_row("least_squares over a loop of SVR.predict", ratio, 1000)],
        ),
        markdown_table(
            ["time of slamjax.fit with low-rank noise against diagonal noise", "wanted at most", "measured", "reached"],
            [("three starts", 3, slower, "yes" if slower <= 3 else "no")],
        ),
        "Both on the same stars:\n\n"
        + markdown_table(
            [
                "star (row)",
                "χ² slamjax",
                "χ² rival",
                "largest label difference in errors",
                "rival's evaluations",
                "rival's s",
            ],
            [
                (
                    int(row),
                    f"{pair[0]:.3f}",
                    f"{pair[1]:.3f}",
                    f"{np.abs(labels).max():.1e}",
                    fit.evaluations,
                    fit.seconds,
                )
                for row, pair, labels, fit in zip(some.rows, chi2, difference, rival, strict=True)
            ],
        ),
        f"Median label difference: {np.nanmedian(np.abs(difference)):.1e} of the label's error.",
    ]
    settings = {
        "data": source_name(options.data),
        "training stars": len(train),
        "stars fitted by slamjax": len(many),
        "of which different": min(len(test), len(many)),
        "stars fitted by the rival": len(rival),
        "pixels": model.wave.size,
    }
    results = {
        "stars_a_second": rates,
        "seconds": {
            "default": vars(default),
            "one_start": vars(one_start),
            "low_rank": vars(low_rank),
            "rival": [fit.seconds for fit in rival],
        },
        "ratio": {"measured": ratio, "wanted": 1000, "low_rank_to_diagonal": slower},
        "median_label_difference_in_errors": float(np.nanmedian(np.abs(difference))),
        "label_difference_in_errors": difference,
        "chi2": {"slamjax": chi2[:, 0], "rival": chi2[:, 1]},
        "rival_evaluations": [fit.evaluations for fit in rival],
    }
    write_results(options.out, "fit_speed", settings, results, tables, load)


if __name__ == "__main__":
    main()
