"""How close do fits of simulated stars come to the Cramér-Rao bound?"""

from __future__ import annotations

import time
from typing import Any

import jax
import numpy as np
from common import parse_options, source_name
from reporting import current_load, markdown_table, write_results
from scatter import column, robust_width
from simulated import inner_stars, load_model

import slamjax
from slamjax.likelihood import chi2
from slamjax.model import Model
from slamjax.spectra import Spectra
from slamjax.validate import prepared_model, simulate

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


def main() -> None:
    options = parse_options(__doc__, n_stars=10_000, n_starts=3, model=None)
    load = current_load()
    model, ivar = load_model(options)
    names = model.label_names
    rng = np.random.default_rng(options.seed)
    truth, weights, bound = inner_stars(model, ivar, options.n_stars, rng)
    spectra = simulate(model, truth, weights, seed=options.seed)
    start = time.perf_counter()
    table = slamjax.fit(prepared_model(model), spectra, n_starts=options.n_starts)
    seconds = time.perf_counter() - start
    fitted = np.stack([column(table, name) for name in names], axis=-1)
    stated = np.stack([column(table, f"{name}_err") for name in names], axis=-1)
    sigma = np.sqrt(np.einsum("nll->nl", bound))
    z = (fitted - truth) / sigma
    counted = np.all(np.isfinite(z), axis=1)
    flags = np.asarray(table["flags"])
    # the minimiser might have found the truth itself: a chi2 above that is of a minimum beside the best one
    missed = int(np.sum(np.asarray(table["chi2"]) - chi2_at(model, truth, spectra) > 1))
    distance = np.einsum("ni,nij,nj->n", fitted - truth, np.linalg.inv(bound), fitted - truth)[counted]
    found = {
        which: {name: measure(z[some, k]) for k, name in enumerate(names)}
        for which, some in (("all", counted), ("unflagged", counted & (flags == 0)))
    }
    tables = [
        f"Fitted minus true labels in units of the Cramér-Rao bound, {counted.sum():,} of {len(z):,} stars:\n\n"
        + markdown_table(
            [
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
            ],
            [
                (
                    name,
                    float(np.median(sigma[:, k])),
                    f"{one['robust']:.3f} ± {one['robust_error']:.3f}",
                    "yes" if one["kept"]["robust"] else "**no**",
                    f"{one['sd']:.3f} ± {one['sd_error']:.3f}",
                    "yes" if one["kept"]["sd"] else "**no**",
                    f"{found['unflagged'][name]['sd']:.3f}",
                    one["beyond_5"],
                    f"{one['mean']:+.3f} ± {1 / np.sqrt(one['n']):.3f}",
                    f"{np.median(stated[counted, k] / sigma[counted, k]):.3f}",
                )
                for k, name in enumerate(names)
                for one in [found["all"][name]]
            ],
        ),
        f"Together: mean squared distance / {len(names)} labels {distance.mean() / len(names):.3f} ± "
        f"{np.sqrt(2 / (len(names) * len(distance))):.3f}, median chi2/dof "
        f"{np.median(table['chi2'] / (table['n_pix'] - len(names))):.3f}, {np.sum(flags != 0)} stars flagged, {missed} "
        "fits that ended with a chi2 more than 1 above that of the true labels.",
    ]
    settings = {
        "data": source_name(options.data),
        "model": options.model or "trained here",
        "noise": type(model.noise).__name__,
        "simulated stars": len(z),
        "starts": options.n_starts,
        "seed": options.seed,
    }
    write_results(options.out, "crlb", settings, {**found, "missed": missed, "fit_seconds": seconds}, tables, load)


if __name__ == "__main__":
    main()
