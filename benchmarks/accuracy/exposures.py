"""Real exposures of one star: a joint fit of all of them beside fits of each, and of the stack that the survey made.

`--file` is a BOSS spec file with its single exposures (HDUs B1-…, R1-…), `--model` or `--miles` a MILES model, which
knows no BOSS spectra. Each exposure has its own wavelengths, line spread, noise and velocity. The blue and the red arm
are two kinds of spectra under the same model: what it gets wrong moves all velocities of an arm alike. Wanted: the
labels of the stack, and velocities that agree with each other and with the header's redshift.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

import slamjax
from benchmarks.calibration.visits import model_of
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.stars import parse_options
from slamjax._util.constants import LIGHT

LABELS = ("teff", "logg", "fe_h")


def values(table: Any, row: int) -> dict[str, float]:
    return {name: float(np.asarray(table[name], float)[row]) for each in LABELS for name in (each, f"{each}_err")}


def main() -> None:
    options = parse_options(__doc__, file=None, model=None, miles=None)
    load = current_load()
    model = slamjax.Model.read(options.model) if options.model else model_of(options.miles, options.cache)
    exposures = slamjax.read(options.file, "sdss-exposures", on_progress=False)
    names, is_blue = exposures.table["exposure"], np.asarray(exposures.table["camera"]) == "B1"
    arms = {"blue": exposures[is_blue], "red": exposures[~is_blue]}
    stack = slamjax.read(options.file, on_progress=False)
    alone, of_stack = slamjax.fit(model, exposures, on_progress=False), slamjax.fit(model, stack, on_progress=False)
    joint = slamjax.fit(dict.fromkeys(arms, model), slamjax.Observations(arms, "id"), on_progress=False)
    kind = np.asarray(joint.spectra["kind"])
    header = LIGHT * float(fits.getdata(options.file, 2)["Z"][0])
    velocity, error = (np.asarray(joint.spectra[name], float) for name in ("rv", "rv_err"))
    found = {
        "joint": values(joint.labels, 0),
        "stack": values(of_stack, 0),
        "alone": [values(alone, row) for row in range(len(names))],
        "rv": dict(zip(names, zip(velocity.tolist(), error.tolist(), strict=True), strict=True)),
        "rv of the stack": [float(of_stack["rv"].value[0]), float(of_stack["rv_err"].value[0])],
        "rv by the header": header,
        "rv_p": float(joint.labels["rv_p"][0]),
        "flags": int(joint.labels["flags"][0]),
    }
    spread = {name: float(np.std([each[name] for each in found["alone"]])) for name in LABELS}
    mean = {name: float(np.mean([each[name] for each in found["alone"]])) for name in LABELS}
    rows = [
        ("all exposures, joint", *(f"{found['joint'][n]:.4g} ± {found['joint'][f'{n}_err']:.2g}" for n in LABELS)),
        ("the survey's stack", *(f"{found['stack'][n]:.4g} ± {found['stack'][f'{n}_err']:.2g}" for n in LABELS)),
        ("each exposure alone: mean, spread", *(f"{mean[n]:.4g}, {spread[n]:.2g}" for n in LABELS)),
    ]
    text = [
        f"{len(names)} exposures of {options.file.name} under a model of MILES stars.\n\n"
        + markdown_table(["fit", *LABELS], rows),
        "Velocities of the exposures, km/s: "
        + "; ".join(
            f"{arm} mean {np.mean(velocity[kind == arm]):.1f}, spread {np.std(velocity[kind == arm]):.1f}, stated "
            f"errors {np.median(error[kind == arm]):.1f}"
            for arm in arms
        )
        + f"; p of a constant velocity in each arm {found['rv_p']:.2g}. The stack: "
        f"{found['rv of the stack'][0]:.1f} ± {found['rv of the stack'][1]:.1f}; the file's redshift: {header:.1f}.",
    ]
    write_results(options.out, "exposures", {"exposures": len(names)}, found, text, load)


if __name__ == "__main__":
    main()
