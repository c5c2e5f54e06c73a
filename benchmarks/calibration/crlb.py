"""How close do fits of simulated stars come to the Cramér-Rao bound?"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import jax
import numpy as np

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.simulated import inner_stars, load_model
from benchmarks.common.stars import parse_options, source_name
from slamjax.forward.likelihood import chi2
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra
from slamjax.validation import prepared_model, simulate

#: Noise as learnt, and smaller: the bound is what an estimate tends to as noise falls, where the emulator is linear.
PARTS = (1.0, 0.5, 0.25)
#: The scatter may exceed the bound by this part ...
LIMIT = 0.05
#: ... and stay below it by this many standard errors of a scatter: no honest fit beats it.
SAMPLING = 3.0
#: Standard errors of a standard deviation and of 1.4826 MAD of n normal values, times √n.
ERRORS = {"sd": float(np.sqrt(0.5)), "robust": 1.1664}


def measure(z: np.ndarray) -> dict[str, Any]:
    """Scatter of (fit - truth) / bound of one label, (N,)."""
    n = len(z)
    robust, sd = robust_width(z), float(np.std(z))
    errors = {name: constant / np.sqrt(n) for name, constant in ERRORS.items()}
    kept = {
        name: bool(1 - SAMPLING * errors[name] <= value <= 1 + LIMIT)
        for name, value in (("robust", robust), ("sd", sd))
    }
    return {
        "n": n,
        "robust": robust,
        "robust_error": errors["robust"],
        "sd": sd,
        "sd_error": errors["sd"],
        "mean": float(np.mean(z)),
        "beyond_5": int(np.sum(np.abs(z) > 5)),
        "kept": kept,
    }


def chi2_at(model: Model, labels: np.ndarray, spectra: Spectra, batch: int = 512) -> np.ndarray:
    """χ² (N,) of prepared spectra at given labels."""
    noise = model.noise.on_device()
    one = jax.jit(lambda labels, flux, ivar: chi2(model.emulator, noise, labels, flux, ivar))
    parts = [slice(start, start + batch) for start in range(0, len(labels), batch)]
    return np.concatenate([np.asarray(one(labels[part], spectra.flux[part], spectra.ivar[part])) for part in parts])


def simulate_and_fit(model: Model, ivar: np.ndarray, options: argparse.Namespace) -> dict[str, Any]:
    """Fit simulated stars by the model that made them; every figure of the tables."""
    names = model.label_names
    truth, weights, bound = inner_stars(model, ivar, options.n_stars, np.random.default_rng(options.seed))
    spectra = simulate(model, truth, weights, seed=options.seed)
    table = slamjax.fit(prepared_model(model), spectra, n_starts=options.n_starts)
    fitted = np.stack([column(table, name) for name in names], axis=-1)
    stated = np.stack([column(table, f"{name}_err") for name in names], axis=-1)
    sigma = np.sqrt(np.einsum("nll->nl", bound))
    z = (fitted - truth) / sigma
    counted = np.all(np.isfinite(z), axis=1)
    flags = np.asarray(table["flags"])
    distance = np.einsum("ni,nij,nj->n", fitted - truth, np.linalg.inv(bound), fitted - truth)[counted]
    return {
        "stars": len(z),
        "bound": {name: float(np.median(sigma[:, k])) for k, name in enumerate(names)},
        "stated": {name: float(np.median(stated[counted, k] / sigma[counted, k])) for k, name in enumerate(names)},
        "all": {name: measure(z[counted, k]) for k, name in enumerate(names)},
        "unflagged": {name: measure(z[counted & (flags == 0), k]) for k, name in enumerate(names)},
        "distance": float(distance.mean() / len(names)),
        "distance_error": float(np.sqrt(2 / (len(names) * len(distance)))),
        "chi2_dof": float(np.median(table["chi2"] / (table["n_pix"] - len(names)))),
        "flagged": int(np.sum(flags != 0)),
        # the minimiser might have found the truth itself: a chi2 above that is of a minimum beside the best one
        "missed": int(np.sum(np.asarray(table["chi2"]) - chi2_at(model, truth, spectra) > 1)),
    }


def table_of(found: dict[str, Any], part: float) -> str:
    header = [
        "label",
        "median bound",
        "robust scatter / bound",
        f"within {100 * LIMIT:.0f} %",
        "sd / bound",
        f"within {100 * LIMIT:.0f} %",
        "sd, unflagged",
        "beyond 5 bounds",
        "mean / bound",
        "stated error / bound",
    ]
    rows = [
        (
            name,
            found["bound"][name],
            f"{one['robust']:.3f} ± {one['robust_error']:.3f}",
            "yes" if one["kept"]["robust"] else "**no**",
            f"{one['sd']:.3f} ± {one['sd_error']:.3f}",
            "yes" if one["kept"]["sd"] else "**no**",
            f"{found['unflagged'][name]['sd']:.3f}",
            one["beyond_5"],
            f"{one['mean']:+.3f} ± {1 / np.sqrt(one['n']):.3f}",
            f"{found['stated'][name]:.3f}",
        )
        for name, one in found["all"].items()
    ]
    noise = "The noise as it was learnt" if part == 1 else f"The same noise, every error times {part:g}"
    return (
        f"{noise}; {found['stars']:,} stars:\n\n{markdown_table(header, rows)}\n\nTogether: mean squared distance / "
        f"{len(rows)} labels {found['distance']:.3f} ± {found['distance_error']:.3f}, median chi2/dof "
        f"{found['chi2_dof']:.3f}, {found['flagged']} stars flagged, {found['missed']} fits that ended with a chi2 "
        "more than 1 above that of the true labels."
    )


def main() -> None:
    options = parse_options(__doc__, n_stars=10_000, n_starts=3, model=None)
    load = current_load()
    model, ivar = load_model(options)
    noise: Any = model.noise
    found = {
        part: simulate_and_fit(dataclasses.replace(model, noise=noise.inflated(part**2)), ivar, options)
        for part in PARTS
    }
    settings = {
        "data": source_name(options.data),
        "model": options.model or "trained here",
        "noise": type(noise).__name__,
        "simulated stars": options.n_stars,
        "starts": options.n_starts,
        "seed": options.seed,
    }
    result = {"runs": [{"errors times": part} | one for part, one in found.items()]}
    write_results(options.out, "crlb", settings, result, [table_of(one, part) for part, one in found.items()], load)


if __name__ == "__main__":
    main()
