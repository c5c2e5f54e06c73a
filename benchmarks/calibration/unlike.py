"""Does the column ``unlike`` find stars of other kinds and damaged spectra, and do local intervals hold what they say?

All choices were made on one half of the stars, which also trains; the other half judges, and was not looked at.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.stats import kstest, rankdata

import slamjax
from benchmarks.common.damaged import DAMAGES
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column
from benchmarks.common.stars import LABELS, SELECTION, calibrated_model, parse_options, source_name
from slamjax.model.model import Model
from slamjax.spectra.spectra import Spectra

OTHERS = {
    "dwarfs (log g > 3.8)": "logg > 3.8 & teff > 3600 & teff < 5600 & apogee_snr > 80",
    "hot stars (> 5600 K)": "teff > 5600 & logg > 0 & apogee_snr > 80",
    "cool stars (< 3600 K)": "teff < 3600 & logg > -1",
    "metal-poor giants (< -1.6)": "fe_h < -1.6 & logg < 3.6 & teff < 5600",
}
#: Draws the half that judges, and the largest number of stars of another kind, and of damaged ones.
HALVES, MOST = 12345, 400
LEVELS = {"68": 0.68, "95": 0.95}
CUTS = (0.001, 0.01, 0.05, 0.5)
#: False alarms at which detections are compared, beside those of the flags.
ALARMS = 0.05


def main() -> None:
    options = parse_options(__doc__, n_seeds=3)
    if options.data is None:
        raise SystemExit("give the table with stars of all kinds by --data")
    load = current_load()
    runs = []
    for seed in range(options.seed, options.seed + options.n_seeds):
        runs.append(judge(argparse.Namespace(**vars(options) | {"seed": seed})))
    plot_roc(runs[0].pop("curves"), options.out / "unlike.png")
    for each in runs[1:]:
        del each["curves"]
    settings = {"data": source_name(options.data), "seeds": options.n_seeds, "training stars": runs[0]["n_train"]}
    settings |= {"giants that judge": runs[0]["n_giants"], "stars of other kinds, at most": MOST}
    tables = [roc_table(runs), uniform_table(runs), coverage_table(runs)]
    write_results(options.out, "unlike", settings, {"runs": runs}, tables, load)


def judge(options: argparse.Namespace) -> dict[str, Any]:
    """One model, trained on giants of the first half and judged by stars of the second."""
    stars = slamjax.read_table(options.data)
    groups = stars.star_groups()
    second = np.random.default_rng(HALVES).integers(0, 2, groups.max() + 1)[groups] == 1
    rng = np.random.default_rng(options.seed)
    first = stars[~second].select(SELECTION)
    rows = rng.permutation(len(first))
    train = first[np.sort(rows[: options.n_train])]
    giants = stars[second].select(SELECTION)
    giants = giants[np.sort(rng.permutation(len(giants))[: options.n_test])]
    model = calibrated_model(train, options.cache, options.seed)
    fitter = slamjax.Fitter(model)
    judged = {"giants": fitter.fit(giants)}
    for name, chosen in OTHERS.items():
        judged[name] = fitter.fit(some(stars[second].select(chosen), rng))
    any_kind = some(stars[second].select("apogee_snr > 80"), rng)
    for name, damage in DAMAGES.items():
        judged[name] = fitter.fit(damage(some(giants, rng), any_kind, rng))
    return {
        "n_train": len(train),
        "n_giants": len(giants),
        "kinds": {name: detection(judged["giants"], table) for name, table in judged.items() if name != "giants"},
        "flagged giants": float(np.mean(flagged(judged["giants"]))),
        "uniform": uniformity(judged["giants"], giants),
        "coverage": coverage(judged["giants"], giants, model),
        "curves": {name: {what: score(t) for what, score in SCORES.items()} for name, t in judged.items()},
    }


def some(stars: Spectra, rng: np.random.Generator) -> Spectra:
    return stars[np.sort(rng.permutation(len(stars))[:MOST])]


def unlikeness(table: Table) -> np.ndarray:
    return -np.log(column(table, "unlike"))


def chi2_per_pixel(table: Table) -> np.ndarray:
    return column(table, "chi2") / column(table, "n_pix")


SCORES = {"unlike": unlikeness, "chi2": chi2_per_pixel}


def flagged(table: Table) -> np.ndarray:
    return np.asarray(table["flags"]) != 0


def detection(giants: Table, others: Table) -> dict[str, float]:
    """Areas under ROC, and the parts that are found at the false alarms of the flags, and at one in twenty."""
    found: dict[str, float] = {"n": len(others), "flags": float(np.mean(flagged(others)))}
    found["HIGH_CHI2"] = float(np.mean((np.asarray(others["flags"]) & slamjax.Flag.HIGH_CHI2) != 0))
    for name, score in SCORES.items():
        good, odd = score(giants), np.nan_to_num(score(others), nan=np.inf)
        ranks = rankdata(np.concatenate([good, odd]))[len(good) :]
        found[f"{name} area"] = float((ranks.mean() - (len(odd) + 1) / 2) / len(good))
        for what, alarms in (("as flags", float(np.mean(flagged(giants)))), ("1 in 20", ALARMS)):
            found[f"{name} {what}"] = float(np.mean(odd > np.quantile(good, 1 - alarms)))
    return found


def uniformity(table: Table, giants: Spectra) -> dict[str, Any]:
    """How many never-seen giants lie below each cut, all and by quarters of brightness and of log g."""
    p = column(table, "unlike")
    found: dict[str, Any] = {"all": below(p), "ks": float(kstest(p, "uniform").statistic)}
    columns = giants.columns()
    for title, name in (("G", "phot_g_mean_mag"), ("log g", "logg")):
        values = np.asarray(columns[name], float)
        quarter = np.digitize(values, np.quantile(values, (0.25, 0.5, 0.75)))
        for k, which in enumerate(("lowest", "second", "third", "highest")):
            found[f"{which} quarter of {title}"] = below(p[quarter == k])
    return found


def below(p: np.ndarray) -> dict[str, float]:
    return {"n": len(p)} | {f"{cut:g}": float(np.mean(p < cut)) for cut in CUTS}


def coverage(table: Table, giants: Spectra, model: Model) -> list[dict[str, Any]]:
    """Coverage of each label's intervals in tenths: local ones, and marginal ones of the same held-out stars.

    ``deviation`` is the mean over tenths of |coverage − level|, ``chance`` that of right intervals; ``score`` the mean
    interval score in errors.
    """
    found = []
    magnitude = np.asarray(giants.columns()["phot_g_mean_mag"], float)
    intervals = model.info.calibration.intervals
    assert intervals is not None
    for label, name in enumerate(LABELS):
        error = column(table, f"{name}_err")
        pull = np.abs(column(table, name) - column(table, f"{name}_ref")) / error
        sound = np.isfinite(pull) & np.isfinite(error)
        places = {"G": magnitude, "error": error, "fitted": column(table, name), "known": column(table, f"{name}_ref")}
        for place, (tag, level) in enumerate(LEVELS.items()):
            halves = {
                "local": column(table, f"{name}_err{tag}")[sound] / error[sound],
                "marginal": np.full(sound.sum(), np.exp(intervals.marginal[label, place])),
            }
            for kind, half in halves.items():
                inside = pull[sound] < half
                outside = np.maximum(pull[sound] - half, 0)
                row: dict[str, Any] = {"label": name, "level": tag, "kind": kind, "all": float(inside.mean())}
                row["score"] = float(np.mean(half + outside / (1 - level)))
                for title, values in places.items():
                    tenths = np.array_split(inside[np.argsort(values[sound])], 10)
                    row[title] = [float(tenth.mean()) for tenth in tenths]
                row["chance"] = float(np.sqrt(2 / np.pi * level * (1 - level) / (sound.sum() / 10)))
                found.append(row)
    return found


def median(runs: list[dict[str, Any]], *keys: str) -> float:
    values = []
    for run in runs:
        value: Any = run
        for key in keys:
            value = value[key]
        values.append(value)
    return float(np.median(values))


def roc_table(runs: list[dict[str, Any]]) -> str:
    alarms = median(runs, "flagged giants")
    rows: list[tuple[Any, ...]] = []
    for kind in runs[0]["kinds"]:
        of = {what: median(runs, "kinds", kind, what) for what in runs[0]["kinds"][kind]}
        areas = (f"{of[f'{name} area']:.3f}" for name in SCORES)
        found = (of["unlike as flags"], of["chi2 as flags"], of["flags"], of["HIGH_CHI2"])
        twenty = (of["unlike 1 in 20"], of["chi2 1 in 20"])
        rows.append((kind, int(of["n"]), *areas, *(f"{part:.0%}" for part in (*found, *twenty))))
    areas = (f"{np.mean([median(runs, 'kinds', kind, f'{n} area') for kind in runs[0]['kinds']]):.3f}" for n in SCORES)
    rows.append(("mean", "", *areas, *(6 * ("",))))
    at = f"found at {alarms:.1%} false alarms by"
    header = ["spectra", "number", "area, unlike", "area, chi2"]
    header += [f"{at} unlike", "by chi2", "by any flag", "by HIGH_CHI2 alone (fewer)"]
    header += [f"at {ALARMS:.0%} by unlike", "by chi2"]
    return (
        "Area under the ROC curve of the column `unlike` and of χ² per pixel, and the part of odd spectra that is "
        "found at as many false alarms among giants never seen as the flags raise (medians over seeds):\n\n"
        + markdown_table(header, rows)
    )


def uniform_table(runs: list[dict[str, Any]]) -> str:
    titles = [title for title in runs[0]["uniform"] if title != "ks"]
    rows = [(title, *(f"{median(runs, 'uniform', title, f'{cut:g}'):.4f}" for cut in CUTS)) for title in titles]
    return (
        "Part of the giants never seen with `unlike` below a cut, which it should equal (medians over seeds; largest "
        f"deviation of the distribution, Kolmogorov, {median(runs, 'uniform', 'ks'):.3f}):\n\n"
        + markdown_table(["giants", *(f"{cut:g}" for cut in CUTS)], rows)
    )


def coverage_table(runs: list[dict[str, Any]]) -> str:
    rows = []
    for number, first in enumerate(runs[0]["coverage"]):
        of = [run["coverage"][number] for run in runs]
        level = LEVELS[first["level"]]
        cells = [f"{np.median([row['all'] for row in of]):.3f}", f"{np.median([row['score'] for row in of]):.3f}"]
        for title in ("G", "error", "fitted", "known"):
            away = [np.mean(np.abs(np.array(row[title]) - level)) for row in of]
            low, high = (np.median([end(row[title]) for row in of]) for end in (min, max))
            cells.append(f"{np.median(away):.3f} ({low:.2f} to {high:.2f})")
        rows.append((f"{first['label']}, {first['level']} %", first["kind"], *cells, f"{first['chance']:.3f}"))
    header = ["interval", "kind", "coverage", "interval score", "tenths of G", "tenths of the stated error"]
    header += ["tenths of the fitted label", "tenths of the known label", "by chance"]
    return (
        "Coverage of all giants never seen, and its mean deviation from the level over tenths of them (lowest and "
        "highest tenth), of local intervals and of marginal ones from the same held-out stars; medians over seeds. "
        "Right intervals deviate as in the last column. The interval score is the mean half-width in errors, plus what "
        "is outside over the part that may be.\n\n" + markdown_table(header, rows)
    )


def plot_roc(curves: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """ROC curves of every kind of odd spectra, of the first seed."""
    import matplotlib.pyplot as plt

    kinds = [name for name in curves if name != "giants"]
    figure, panels = plt.subplots(3, 4, figsize=(13, 9), sharex=True, sharey=True, layout="constrained")
    for panel, kind in zip(panels.flat, kinds, strict=False):
        for name, style in (("unlike", "-"), ("chi2", "--")):
            cuts = np.sort(curves["giants"][name])[::-1]
            odd = np.nan_to_num(curves[kind][name], nan=np.inf)
            alarms = np.arange(1, len(cuts) + 1) / len(cuts)
            panel.semilogx(alarms, [np.mean(odd >= cut) for cut in cuts], style, label=name.replace("chi2", "χ²"))
        panel.set_title(kind, fontsize=10)
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(kinds) :]:
        panel.set_axis_off()
    panels[0, 0].legend(frameon=False)
    for panel in panels[-1]:
        panel.set_xlabel("giants taken for odd")
    for panel in panels[:, 0]:
        panel.set_ylabel("odd spectra found")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
