"""Do all samplers draw from the same posterior? Each against long NUTS runs of the same real stars."""

from __future__ import annotations

from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import calibrated_model, least_ess, load_stars, parse_options, source_name
from slamjax.model.model import Model
from slamjax.sampling.specs import METHODS, SamplerSpec
from slamjax.spectra.spectra import Spectra

#: What is wanted: differences of means in sd, of sd as a part, and the least effective draws of the reference.
SHIFT, RATIO, ENOUGH = 0.1, 0.05, 5000


def agreement(model: Model, spectra: Spectra, draws: int) -> tuple[dict[str, dict[str, Any]], float]:
    """Each sampler against long NUTS runs: differences of means in sd, and of sd, over stars and labels.

    The reference is repeated with another seed: what it differs from itself is chance.
    """
    reference = slamjax.sample(model, spectra, sampler=SamplerSpec("nuts", draws, 500, 4), seed=1)
    mean, sd = _moments(reference)
    found = {}
    for name in (*METHODS, "nuts, another seed"):
        kind = name.split(",")[0]
        seed = 3 if "," in name else 2
        other = slamjax.sample(model, spectra, sampler=SamplerSpec(kind, draws, 500, 4), seed=seed)
        its_mean, its_sd = _moments(other)
        shift, ratio = np.abs(its_mean - mean) / sd, np.abs(its_sd / sd - 1)
        found[name] = {
            "shift": {"median": float(np.nanmedian(shift)), "largest": float(np.nanmax(shift))},
            "sd": {"median": float(np.nanmedian(ratio)), "largest": float(np.nanmax(ratio))},
            "beyond": int(np.sum((shift > SHIFT) | (ratio > RATIO))),
            "of": int(np.sum(np.isfinite(shift))),
        }
    return found, float(np.nanmin(least_ess(reference)))


def _moments(posterior: slamjax.Posterior) -> tuple[np.ndarray, np.ndarray]:
    mean, covariance = posterior.moments()
    return mean, np.sqrt(np.einsum("nll->nl", covariance))


def main() -> None:
    options = parse_options(__doc__, n_stars=24, draws=4000)
    load = current_load()
    train, test = load_stars(options)
    model = calibrated_model(train, options.cache, options.seed)
    # the stars that posterior_speed.py begins with
    same, reference_ess = agreement(model, test[np.arange(min(len(test), options.n_stars))], options.draws)
    table = markdown_table(
        ["sampler", "mean, median shift", "largest", "sd, median difference", "largest", "beyond", "of"],
        [
            (
                name,
                f"{row['shift']['median']:.3f} sd",
                f"{row['shift']['largest']:.3f} sd",
                f"{100 * row['sd']['median']:.1f} %",
                f"{100 * row['sd']['largest']:.1f} %",
                row["beyond"],
                row["of"],
            )
            for name, row in same.items()
        ],
    )
    said = (
        f"NUTS of 4 × {options.draws} draws: least bulk ESS of a label {reference_ess:.0f} (wanted {ENOUGH}). "
        f"{options.n_stars} stars, every label; wanted: means within {SHIFT} sd, sd within {100 * RATIO:.0f} %."
    )
    settings = {"data": source_name(options.data), "training stars": len(train), "pixels": model.wave.size}
    results = {"agreement": same, "reference_least_ess": reference_ess}
    write_results(options.out, "sampler_agreement", settings, results, [said, table], load)


if __name__ == "__main__":
    main()
