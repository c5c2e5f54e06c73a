"""Does training on uncut stars succeed, which stars does it leave out, and what do bad stars cost?

Giants without any cut in S/N are drawn at random, and SLAM and a quadratic are trained on them with default settings.
Held-out stars with sound spectra and S/N > 80 are labelled by these models, and by models trained without screening on
as many stars cleaned by hand: the same ones, but for those whose prepared flux leaves the range from 0 to 2 anywhere,
in whose places others are drawn; and the same again with S/N > 80.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
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
#: Prepared flux beyond which a person throws a star away.
LOWEST, HIGHEST = 0.0, 2.0
#: How a person cleans.
BY_HAND = ("sound", "S/N > 80")
#: Draws that were looked at while training was written; the later ones judge.
LOOKED_AT = 10


@dataclass(frozen=True)
class Pool:
    """All stars, and which of them are clean in each way; the last are the cleanest, and judge."""

    stars: Spectra
    clean: dict[str, np.ndarray]

    @classmethod
    def read(cls, options: Any) -> Pool:
        stars = slamjax.read_table(options.data).select(GIANTS)
        stars = stars[np.isfinite(stars.values(LABELS)).all(axis=1)]
        prepared = RECIPE(stars)
        sound = ~np.any(((prepared.flux < LOWEST) | (prepared.flux > HIGHEST)) & prepared.good, axis=1)
        bright = np.isin(stars.rows, stars.select(CLEAN).rows)
        return cls(stars, dict(zip(BY_HAND, (sound, sound & bright), strict=True)))

    def draws(self, seed: int, n: int) -> dict[str, np.ndarray]:
        """Rows drawn, as they come and cleaned by hand; most of them are the same."""
        order = np.random.default_rng(seed).permutation(len(self.stars))
        rows = {"uncut": order} | {name: order[clean[order]] for name, clean in self.clean.items()}
        return {name: np.sort(some[:n]) for name, some in rows.items()}

    def judges(self, drawn: np.ndarray, n: int) -> Spectra:
        """The same clean stars whatever is drawn, but those that are drawn."""
        group = self.stars.star_groups()
        free = np.flatnonzero(self.clean[BY_HAND[-1]] & ~np.isin(group, group[drawn]))
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


def run(pool: Pool, draw: int, n_train: int, n_test: int, with_others: bool) -> list[dict[str, Any]]:
    """Both emulators on one draw, as it is and cleaned by hand; a joint search and a comparison as well, if wanted."""
    draws = pool.draws(draw, n_train)
    judges = pool.judges(np.concatenate(list(draws.values())), n_test)
    found = []
    for name, emulator in EMULATORS.items():
        model, said = trained(pool.stars[draws["uncut"]], emulator, draw, True)
        one: dict[str, Any] = {"draw": draw, "emulator": name, "trained": model is not None, "said": said}
        if model is not None:
            one["validate"] = told(lambda model=model: slamjax.validate(model, judges, by="phot_g_mean_mag"))
            scatter = {"uncut": widths(model, judges)}
            for way in BY_HAND:
                by_hand, why = trained(pool.stars[draws[way]], emulator, draw, False)
                assert by_hand is not None, why
                scatter[way] = widths(by_hand, judges)
            one |= {
                "noise": model.noise.kind,
                "screened": [dict(zip(row.colnames, map(str, row), strict=True)) for row in model.info.screened],
                "without pixels": model.info.provenance["settings"]["masked_pixels"],
                "thrown away by hand": len(np.setdiff1d(draws["uncut"], draws[BY_HAND[0]])),
                "scatter": scatter,
            }
        if name == "SLAM" and with_others:
            one |= others(pool.stars[draws["uncut"]], draw)
        found.append(one)
        print(one, flush=True)
    return found


def told(action: Callable[[], object]) -> str:
    """Nothing, or why something ended with an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", slamjax.SlamWarning)
        try:
            action()
        except slamjax.SlamError as error:
            return str(error)
    return ""


def others(stars: Spectra, draw: int) -> dict[str, str]:
    """What a joint search and `slamjax.compare` say of the same stars; nothing if they end well."""
    training = slamjax.TrainingSpec(recipe=RECIPE, seed=draw)
    search = slamjax.SVR(C=[1, 10], epsilon=0.05, gamma=0.1)
    return {
        "joint search": told(lambda: slamjax.train(stars, LABELS, emulator=search, recipe=RECIPE, search="joint")),
        "compare": told(lambda: slamjax.compare(stars, LABELS, svr=EMULATOR, training=training, test=3, by="ak_targ")),
    }


def ratio(one: dict[str, Any], way: str) -> float:
    """Geometric mean over the labels of scatter, in units of that of the model cleaned by hand."""
    return float(np.exp(np.mean(np.log(np.divide(one["scatter"]["uncut"], one["scatter"][way])))))


def pooled(runs: list[dict[str, Any]], way: str) -> tuple[float, float]:
    """Geometric mean of the ratio over the draws, and its standard error from how much draws differ.

    A draw counts once: its emulators share their stars, so that their ratios are not independent.
    """
    logs: dict[int, list[float]] = {}
    for one in runs:
        logs.setdefault(one["draw"], []).append(np.log(ratio(one, way)))
    each = [float(np.mean(some)) for some in logs.values()]
    error = np.std(each, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
    return float(np.exp(np.mean(each))), float(np.exp(np.mean(each)) * error)


def ratio_table(runs: list[dict[str, Any]]) -> list[list[Any]]:
    """Ratios over the draws that were looked at, over those that judge, and over all."""
    rows = []
    for name in (*EMULATORS, "both"):
        of = [one for one in runs if one["trained"] and name in (one["emulator"], "both")]
        parts = {
            f"1 to {LOOKED_AT}, looked at": [one for one in of if one["draw"] <= LOOKED_AT],
            f"from {LOOKED_AT + 1}, unseen": [one for one in of if one["draw"] > LOOKED_AT],
            "all": of,
        }
        for draws, some in parts.items():
            if some:
                found = ["{:.3f} ± {:.3f}".format(*pooled(some, way)) for way in BY_HAND]
                rows.append([name, draws, len({one["draw"] for one in some}), *found])
    return rows


def tables(runs: list[dict[str, Any]]) -> list[str]:
    summary, each = [], []
    for name in EMULATORS:
        of = [one for one in runs if one["emulator"] == name]
        done = [one for one in of if one["trained"]]
        scatters = [np.median([one["scatter"][way] for one in done], axis=0) for way in ("uncut", *BY_HAND)]
        summary.append(
            [
                name,
                f"{len(done)} of {len(of)}",
                sum(one["noise"] == "lowrank" for one in done),
                sum(len(one["screened"]) for one in done),
                sum(one["without pixels"] for one in done),
                *(" / ".join(cell(float(width)) for width in label) for label in zip(*scatters, strict=True)),
            ]
        )
    for one in runs:
        stars = "; ".join(f"{star['star']}: {star['reason']}" for star in one.get("screened", []))
        values = [f"{ratio(one, way):.3f}" for way in BY_HAND] if one["trained"] else [one["said"], ""]
        masked, by_hand = one.get("without pixels", 0), one.get("thrown away by hand", 0)
        each.append([one["draw"], one["emulator"], *values, masked, by_hand, stars or "–"])
    ways = ("joint search", "compare", "validate")
    ended = [
        [what, f"{sum(one.get(what) == '' for one in runs)} of {sum(what in one for one in runs)}"] for what in ways
    ]
    head = ["emulator", "trained", "low-rank noise", "stars left out", "pixels left out", *LABELS]
    heads = [f"ratio to {way}" for way in BY_HAND]
    columns = ["draw", "emulator", *heads, "pixels left out", "stars thrown away by hand", "stars left out"]
    return [
        markdown_table(head, summary),
        markdown_table(["emulator", "draws", "number", *heads], ratio_table(runs)),
        markdown_table(["", "ended well"], ended),
        markdown_table(columns, each),
    ]


def earlier(out: Path, draws: range) -> list[dict[str, Any]]:
    """Runs of other draws that the folder holds: twenty draws can be run in parts."""
    path = out / "uncut.json"
    runs = json.loads(path.read_text())["results"]["runs"] if path.exists() else []
    return [one for one in runs if one["draw"] not in draws]


def main() -> None:
    options = parse_options(__doc__, first=1, draws=20, others=1)
    if options.data is None:
        raise SystemExit("give a table of uncut stars: --data gaia_xp_apogee.fits")
    load, pool = current_load(), Pool.read(options)
    n_train, n_test = min(options.n_train, 300), min(options.n_test, 600)
    draws = range(options.first, options.first + options.draws)
    runs = earlier(options.out, draws)
    for draw in draws:
        runs += run(pool, draw, n_train, n_test, bool(options.others))
    runs.sort(key=lambda one: one["draw"])
    settings = {"from": source_name(options.data), "training": n_train, "judging": n_test, "draws": len(runs) // 2}
    done = [one for one in runs if one["trained"]]
    ratios = {way: dict(zip(("pooled", "error"), pooled(done, way), strict=True)) for way in BY_HAND}
    results = {"runs": runs, "ratios": ratios}
    write_results(options.out, "uncut", settings, results, tables(runs), load)


if __name__ == "__main__":
    main()
