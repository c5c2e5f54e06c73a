"""Do magnitudes and colours, as channels beside a spectrum, make labels better?

Real Gaia XP giants. The spectrum's recipe divides by a continuum, which takes colours with it. Channels: the G
magnitude of the table, and colours of wide bands summed from the XP spectrum as it came. A model of channels has A_K
among its labels, which the spectrum's has not: reddening moves colours, and is fitted with the others, or known from
APOGEE's infrared photometry as far as that tells. Stars are drawn by five seeds; both models are trained on the same
stars, with default settings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.table import Table

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import robust_width
from benchmarks.common.stars import LABELS, calibrated_model, load_stars, parse_options, source_name
from slamjax.spectra.spectra import Spectra

#: Ranges of the wide bands, nm.
BANDS = {"blue": (400, 500), "green": (500, 650), "red": (650, 780), "infrared": (780, 1000)}
COLOURS = tuple(f"{one}_{other}" for one, other in zip(list(BANDS)[:-1], list(BANDS)[1:], strict=True))
VARIANTS = {"G": ("phot_g_mean_mag",), "colours": COLOURS, "G and colours": ("phot_g_mean_mag", *COLOURS)}
#: The error of A_K where it is taken as known, mag.
KNOWN, AK_ERROR = "G and colours, A_K known", 0.02
#: Of the sums over a band, as relative errors add up, and of G, mag.
FLOOR, G_ERROR = 0.003, 0.003


def with_colours(stars: Spectra) -> Spectra:
    """The stars with columns of colours, and of their errors, mag; sentinels of A_K become unknown."""
    sums = {}
    for name, (low, high) in BANDS.items():
        inside = (stars.wave >= low) & (stars.wave < high)
        good = stars.good[:, inside]
        flux = np.where(good, stars.flux[:, inside], 0).sum(axis=1)
        variance = np.where(good, 1 / np.where(good, stars.ivar[:, inside], 1), 0).sum(axis=1)
        sums[name] = flux, np.sqrt(variance)
    table = Table(stars.table, copy=True)
    for colour in COLOURS:
        one, other = colour.split("_")
        (blue, blue_error), (red, red_error) = sums[one], sums[other]
        known = (blue > 0) & (red > 0)
        table[colour] = np.where(known, -2.5 * np.log10(np.where(known, blue / np.where(known, red, 1), 1)), np.nan)
        error = 1.0857 * np.hypot(blue_error / np.where(known, blue, 1), red_error / np.where(known, red, 1))
        table[f"{colour}_err"] = np.hypot(error, FLOOR)
    extinction = np.asarray(table["ak_targ"], float)
    table["ak_targ"] = np.where((extinction > -1) & (extinction < 5), extinction, np.nan)
    return stars._with(table=table)


def measure(table: Any, stars: Spectra) -> dict[str, dict[str, float]]:
    found = {}
    for name in LABELS:
        difference = np.asarray(table[name], float) - stars.values(name)
        error = np.hypot(np.asarray(table[f"{name}_err"], float), stars.values(f"{name}_err"))
        known = np.isfinite(difference) & np.isfinite(error)
        found[name] = {
            "robust": robust_width(difference[known]),
            "rms": float(np.sqrt(np.mean(np.square(difference[known])))),
            "pull": robust_width((difference / error)[known]),
        }
    return found


def of_seed(options: Any, seed: int) -> dict[str, dict[str, dict[str, float]]]:
    options.seed = seed
    train, test = (with_colours(each) for each in load_stars(options))
    model = calibrated_model(train, options.cache, seed)
    found = {"spectrum": measure(slamjax.fit(model, test, on_progress=False), test)}
    for name, columns in VARIANTS.items():
        errors = {"phot_g_mean_mag": G_ERROR} if "phot_g_mean_mag" in columns else None
        known = train[np.isfinite(train.values("ak_targ"))]
        photometry = slamjax.train(slamjax.channels(known, columns, errors), [*LABELS, "ak_targ"], on_progress=False)
        joint = slamjax.JointModel({"spectrum": model, "channels": photometry})
        observed = {"spectrum": test, "channels": slamjax.channels(test, columns, errors)}
        found[name] = measure(slamjax.fit(joint, observed, on_progress=False).labels, test)
    extinction = {"ak_targ": (test.values("ak_targ"), np.full(len(test), AK_ERROR))}
    found[KNOWN] = measure(slamjax.fit(joint, observed, prior=extinction, on_progress=False).labels, test)
    for name, each in found.items():
        print(seed, name, {label: round(values["robust"], 4) for label, values in each.items()}, flush=True)
    return found


def main() -> None:
    options = parse_options(__doc__, n_seeds=5)
    load, first = current_load(), options.seed
    seeds = list(range(first, first + options.n_seeds))
    results = {seed: of_seed(options, seed) for seed in seeds}
    names = ["spectrum", *VARIANTS, KNOWN]

    def mean(name: str, label: str, what: str) -> float:
        return float(np.mean([results[seed][name][label][what] for seed in seeds]))

    def wins(name: str, label: str) -> int:
        return sum(results[s][name][label]["robust"] < results[s]["spectrum"][label]["robust"] for s in seeds)

    rows = [
        (
            name,
            *(f"{mean(name, label, 'robust'):.3g}, {mean(name, label, 'rms'):.3g} ({mean(name, label, 'pull'):.2f})"
              for label in LABELS),
            *(() if name == "spectrum" else (", ".join(f"{label} {wins(name, label)}" for label in LABELS),)),
            *(("",) if name == "spectrum" else ()),
        )
        for name in names
    ]  # fmt: skip
    text = [
        f"Means over {len(seeds)} seeds of the robust scatter, the root mean square and the width of pulls, about "
        f"APOGEE's labels; {options.n_train} training stars of {source_name(options.data)}. Last: seeds in which the "
        "robust scatter is smaller than by the spectrum alone.\n\n"
        + markdown_table(["fit", *LABELS, f"better, of {len(seeds)} seeds"], rows)
    ]
    settings = {"training stars": options.n_train, "test stars": options.n_test, "seeds": seeds}
    write_results(options.out, "channels", settings, {str(seed): each for seed, each in results.items()}, text, load)


if __name__ == "__main__":
    main()
