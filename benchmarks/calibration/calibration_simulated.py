"""Are posteriors of simulated stars calibrated by ranks (SBC) and regions (TARP), and would errors 20 % wrong show?"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.simulated import load_model
from benchmarks.common.stars import parse_options, source_name
from slamjax import SamplerSpec
from slamjax.plots import plot_simulated, write_figure
from slamjax.validation import SimulatedCalibration, sbc

#: p of every label, after Bonferroni over the labels, is to be above this; with wrong widths some is to be below.
LEVEL = 0.01
#: Errors inflated and shrunk by 20 %.
FACTORS = (1.0, 1.2, 0.8)


def measure(result: SimulatedCalibration) -> dict[str, Any]:
    """Ranks and regions of one set of posteriors."""
    ranks, regions = result.ranks, result.regions
    return {
        "labels": list(ranks.names),
        "draws": ranks.n_draws,
        "bins": len(ranks.expected),
        "counts": ranks.counts,
        "chi2": ranks.chi2,
        "p": ranks.p,
        "p_bonferroni": ranks.p_bonferroni,
        "ranks_pass": ranks.passes(LEVEL),
        "coverage": regions.coverage,
        "deviation": regions.deviation,
        "deviation_p": regions.p,
        "width": regions.width,
        "width_p": regions.width_p,
        "regions_pass": regions.passes(LEVEL),
    }


def main() -> None:
    # the seed is the benchmark's, fixed before the first run; more stars than 500, so that wrong widths fail surely
    options = parse_options(__doc__, n_stars=1000, draws=500, model=None)
    load = current_load()
    model, ivar = load_model(options)
    start = time.perf_counter()
    result = sbc(model, ivar, n_stars=options.n_stars, sampler=SamplerSpec(draws=options.draws), seed=options.seed)
    seconds = time.perf_counter() - start
    found = {factor: measure(result if factor == 1 else result.widened(factor)) for factor in FACTORS}
    named = {1.0: "as they are", 1.2: "errors × 1.2", 0.8: "errors × 0.8"}
    tables = [
        f"Ranks of {len(result.truth):,} true labels among {found[1.0]['draws']} nearly independent draws, "
        f"{found[1.0]['bins']} bins, p after Bonferroni over the labels:\n\n"
        + markdown_table(
            ["posteriors", *model.label_names, f"all p > {LEVEL:g}", "wanted"],
            [
                (
                    named[factor],
                    *(f"{p:.3f}" if p >= 1e-3 else f"{p:.0e}" for p in one["p_bonferroni"]),
                    "yes" if one["ranks_pass"] else "no",
                    "yes" if factor == 1 else "no",
                )
                for factor, one in found.items()
            ],
        ),
        "Regions about random points (TARP); width is in standard errors, positive where errors are too small:\n\n"
        + markdown_table(
            ["posteriors", "largest deviation", "p", "width", "p of width", "passes", "wanted"],
            [
                (
                    named[factor],
                    f"{one['deviation']:.3f}",
                    f"{one['deviation_p']:.3g}",
                    f"{one['width']:+.1f}",
                    f"{one['width_p']:.3g}",
                    "yes" if one["regions_pass"] else "no",
                    "yes" if factor == 1 else "no",
                )
                for factor, one in found.items()
            ],
        ),
    ]
    settings = {
        "data": source_name(options.data),
        "model": options.model or "trained here",
        "noise": type(model.noise).__name__,
        "simulated stars": len(result.truth),
        "draws": options.draws,
        "seed": options.seed,
    }
    results = {named[factor]: one for factor, one in found.items()} | {"seconds": seconds}
    write_results(options.out, "calibration_simulated", settings, results, tables, load)
    write_figure(plot_simulated(result), options.out / "calibration_simulated.png")


if __name__ == "__main__":
    main()
