"""Does training on uncut stars succeed, which stars does it leave out, and what do bad stars cost?

Giants without any cut in S/N are drawn at random, and SLAM and a quadratic are trained on them with default settings.
Held-out stars with sound spectra are labelled by these models, and by models trained, without screening, on the same
draws cleaned by hand: without stars whose prepared flux leaves the range from 0 to 2 anywhere, or whose error exceeds 1
anywhere.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

import slamjax
from benchmarks.common.reporting import cell, current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import EMULATOR, LABELS, RECIPE, parse_options, source_name
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra

GIANTS = "logg < 3.6 & teff > 3600 & teff < 5600 & fe_h > -1.5"
CLEAN = "apogee_snr > 80"
EMULATORS = {"SLAM": EMULATOR, "quadratic": slamjax.Polynomial()}
#: Prepared flux and its error beyond which a person throws a star away.
LOWEST, HIGHEST, LARGEST_ERROR = 0.0, 2.0, 1.0


@dataclass(frozen=True)
class Pool:
    """All stars, which are sound to the eye, and which of them may judge."""

    stars: Spectra
    sound: np.ndarray
    clean: np.ndarray

    @classmethod
    def read(cls, options: Any) -> Pool:
        stars = slamjax.read_table(options.data).select(GIANTS)
        stars = stars[np.isfinite(stars.values(LABELS)).all(axis=1)]
        prepared = RECIPE(stars)
        with np.errstate(divide="ignore"):
            error = 1 / np.sqrt(prepared.ivar)
        apart = (prepared.flux < LOWEST) | (prepared.flux > HIGHEST) | (error > LARGEST_ERROR)
        sound = ~np.any(apart & prepared.good, axis=1)
        clean = np.isin(stars.rows, stars.select(CLEAN).rows)
        return cls(stars, sound, clean & sound)

    def judges(self, drawn: np.ndarray, n: int) -> Spectra:
        """The same clean stars whatever is drawn, but those that are drawn."""
        group = self.stars.star_groups()
        free = np.flatnonzero(self.clean & ~np.isin(group, group[drawn]))
        return self.stars[np.random.default_rng(0).permutation(free)[:n]]


def trained(stars: Spectra, emulator: Any, seed: int, screen: bool) -> tuple[Model | None, str]:
    """The model, and what was said or why there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", slamjax.SlamWarning)
        try:
            data = slamjax.DataSpec(screen=screen)
            model = slamjax.train(stars, LABELS, emulator=emulator, recipe=RECIPE, data=data, seed=seed)
        except slamjax.SlamError as error:
            return None, str(error)
    return model, "; ".join(str(one.message) for one in caught)


def widths(model: Model, judges: Spectra) -> list[float]:
    """Robust scatter of each label about the known one."""
    labels = slamjax.fit(model, judges)
    return [robust_width((column(labels, name) - judges.values(name))[np.isfinite(labels[name])]) for name in LABELS]


def run(pool: Pool, draw: int, n_train: int, n_test: int) -> list[dict[str, Any]]:
    """Both emulators on one draw, as it is and cleaned by hand."""
    rows = np.sort(np.random.default_rng(draw).choice(len(pool.stars), n_train, replace=False))
    judges, sound = pool.judges(rows, n_test), pool.sound[rows]
    found = []
    for name, emulator in EMULATORS.items():
        model, said = trained(pool.stars[rows], emulator, draw, True)
        one: dict[str, Any] = {"draw": draw, "emulator": name, "trained": model is not None, "said": said}
        if model is not None:
            by_hand, _ = trained(pool.stars[rows[sound]], emulator, draw, False)
            assert by_hand is not None, "a draw that is cleaned by hand must train"
            one |= {
                "noise": model.noise.kind,
                "screened": [dict(zip(row.colnames, map(str, row), strict=True)) for row in model.info.screened],
                "without pixels": model.info.provenance["settings"]["masked_pixels"],
                "by hand": int(np.sum(~sound)),
                "scatter": widths(model, judges),
                "scatter by hand": widths(by_hand, judges),
            }
        found.append(one)
        print(one, flush=True)
    return found


def ratio(one: dict[str, Any]) -> float:
    """Geometric mean over the labels of scatter, in units of that of the model cleaned by hand."""
    return float(np.exp(np.mean(np.log(np.divide(one["scatter"], one["scatter by hand"])))))


def tables(runs: list[dict[str, Any]]) -> list[str]:
    summary, each = [], []
    for name in EMULATORS:
        of = [one for one in runs if one["emulator"] == name]
        done = [one for one in of if one["trained"]]
        scatter = np.median([one["scatter"] for one in done], axis=0)
        by_hand = np.median([one["scatter by hand"] for one in done], axis=0)
        ratios = [ratio(one) for one in done]
        summary.append(
            [
                name,
                f"{len(done)} of {len(of)}",
                sum(one["noise"] == "lowrank" for one in done),
                sum(len(one["screened"]) for one in done),
                sum(one["without pixels"] for one in done),
                *(f"{cell(float(a))} / {cell(float(b))}" for a, b in zip(scatter, by_hand, strict=True)),
                f"{np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
            ]
        )
    for one in runs:
        stars = "; ".join(f"{star['star']}: {star['reason']}" for star in one.get("screened", []))
        value = f"{ratio(one):.3f}" if one["trained"] else one["said"]
        masked, by_hand = one.get("without pixels", 0), one.get("by hand", 0)
        each.append([one["draw"], one["emulator"], value, masked, by_hand, stars or "–"])
    head = ["emulator", "trained", "low-rank noise", "stars left out", "pixels left out", *LABELS, "ratio (range)"]
    return [
        markdown_table(head, summary),
        markdown_table(["draw", "emulator", "ratio", "pixels left out", "stars thrown away by hand", "left out"], each),
    ]


def main() -> None:
    options = parse_options(__doc__, first=1, draws=20)
    if options.data is None:
        raise SystemExit("give a table of uncut stars: --data gaia_xp_apogee.fits")
    load, pool = current_load(), Pool.read(options)
    n_train, n_test = min(options.n_train, 300), min(options.n_test, 600)
    runs = []
    for draw in range(options.first, options.first + options.draws):
        runs += run(pool, draw, n_train, n_test)
    settings = {"from": source_name(options.data), "training": n_train, "judging": n_test, "draws": options.draws}
    results = {"runs": runs, "ratios": [ratio(one) for one in runs if one["trained"]]}
    write_results(options.out, "uncut", settings, results, tables(runs), load)


if __name__ == "__main__":
    main()
