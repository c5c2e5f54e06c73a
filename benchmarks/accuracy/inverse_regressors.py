"""Are labels with a prior better than those of regressions from flux to labels, which know the population?

SLAM predicts flux from labels and fits; a regression predicts labels from flux and learns with it how common each kind
of star is. Fits without a prior, with the density of the training stars as a prior, posterior means, and means that
were learnt from held-out training stars are compared with a support vector regression on all pixels, gradient boosting
and a multi-layer perceptron, whose settings are chosen by cross-validation on the training stars of each seed. All
stars that were never seen count, flagged ones too.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

import slamjax
from benchmarks.common.reporting import current_load, markdown_table, write_results
from benchmarks.common.scatter import column, robust_width
from benchmarks.common.stars import LABELS, RECIPE, calibrated_model, load_stars, parse_options, source_name
from slamjax.spectra.spectra import Spectra

#: Seeds whose test stars were looked at while choices were made; the tables are of the others, if there are any.
CHOSEN_WITH = (0, 1)
FOLDS = 3
#: Fits: a title, the prior, and which means are made.
WAYS: tuple[tuple[str, str | None, Any], ...] = (
    ("slamjax", None, True),
    ("slamjax, training prior", "training", True),
    ("slamjax", None, "learnt"),
)


def main() -> None:
    options = parse_options(__doc__, n_seeds=5)
    load = current_load()
    runs = []
    for seed in range(options.seed, options.seed + options.n_seeds):
        runs.append(run(argparse.Namespace(**vars(options) | {"seed": seed})))
        print(seed, runs[-1]["robust"], flush=True)
    judged = [one for one in runs if one["seed"] not in CHOSEN_WITH] or runs
    write_results(
        options.out,
        "inverse_regressors",
        {
            "data": source_name(options.data),
            "training stars": runs[0]["n_train"],
            "test stars": runs[0]["n_test"],
            "seeds": ", ".join(str(one["seed"]) for one in judged),
            "flagged without a prior": f"{np.median([one['flagged'] for one in judged]):.1%}",
        },
        {"runs": runs},
        [
            "Robust scatter of all test stars, median over the seeds:\n\n" + table(judged, "robust"),
            "Root mean square difference:\n\n" + table(judged, "rms"),
            "Learnt means in their standard deviations, median over the seeds:\n\n" + pulls_table(judged),
        ],
        load,
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One draw of stars: every way's scatter."""
    train, test = load_stars(options)
    known = test.values(LABELS)
    guesses = slamjax_labels(train, test, options)
    flagged, std = float(np.mean(guesses.pop("flags") != 0)), guesses.pop("std")
    pulls = (guesses["slamjax, learnt mean"] - known) / std
    for title, rival in rivals(options.seed).items():
        guesses[title] = kept(
            options.cache, f"{title} {rival}", train, test, lambda rival=rival: regression(rival, train, test)
        )
    middle = np.median(train.values(LABELS), axis=0)
    finite = {title: np.where(np.isfinite(guess), guess, middle) for title, guess in guesses.items()}
    return {
        "seed": options.seed,
        "n_train": len(train),
        "n_test": len(test),
        "flagged": flagged,
        "pulls": [robust_width(pull[np.isfinite(pull)]) for pull in pulls.T],
        "within": np.mean(np.abs(pulls) < 1, axis=0).tolist(),
        "failed": {title: int(np.sum(~np.isfinite(guess).all(axis=1))) for title, guess in guesses.items()},
        "robust": {t: [robust_width(d) for d in (guess - known).T] for t, guess in finite.items()},
        "rms": {t: np.sqrt(np.mean(np.square(guess - known), axis=0)).tolist() for t, guess in finite.items()},
    }


def slamjax_labels(train: Spectra, test: Spectra, options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Labels (N, L) by fits of several kinds, and flags as numbers."""
    found: dict[str, np.ndarray] = {}
    for title, prior, mean in WAYS:

        def fitted(prior: str | None = prior, mean: Any = mean) -> np.ndarray:
            model = calibrated_model(train, options.cache, options.seed)
            table = slamjax.fit(model, test, prior=prior, posterior_mean=mean)
            parts = [labels(table), labels(table, "_mean"), labels(table, "_std"), column(table, "flags")[:, None]]
            return np.concatenate(parts, axis=1)

        columns = kept(options.cache, f"{prior} {mean} {code()}", train, test, fitted)
        best, expected, std, flags = np.split(columns, len(LABELS) * np.arange(1, 4), axis=1)
        if mean == "learnt":
            found |= {f"{title}, learnt mean": expected, "std": std}
        else:
            found |= {title: best, f"{title}, posterior mean": expected}
        found.setdefault("flags", flags)
    return found


def labels(table: Any, suffix: str = "") -> np.ndarray:
    """A label table's labels, or means, (N, L)."""
    return np.stack([column(table, name + suffix) for name in LABELS], axis=1)


def rivals(seed: int) -> dict[str, Any]:
    """Regressions from standardised pixels to standardised labels; each label's settings are its own."""
    machine = GridSearchCV(
        make_pipeline(StandardScaler(), SVR(epsilon=0.05, cache_size=500)),
        {"svr__C": [3.0, 10.0, 30.0], "svr__gamma": [1e-4, 3e-4, 1e-3, 3e-3]},
        cv=FOLDS,
    )
    trees = GridSearchCV(
        HistGradientBoostingRegressor(max_iter=200, early_stopping=True, random_state=seed),
        {"learning_rate": [0.05, 0.1], "max_leaf_nodes": [7, 15]},
        cv=FOLDS,
    )
    network = GridSearchCV(
        make_pipeline(StandardScaler(), MLPRegressor(max_iter=300, early_stopping=True, random_state=seed)),
        {"mlpregressor__hidden_layer_sizes": [(64,), (128, 64)], "mlpregressor__alpha": [1e-3, 0.1, 3.0]},
        cv=FOLDS,
    )
    return {
        "SVR on all pixels": MultiOutputRegressor(machine),
        "gradient boosting on all pixels": MultiOutputRegressor(trees),
        "multi-layer perceptron on all pixels": network,
    }


def regression(rival: Any, train: Spectra, test: Spectra) -> np.ndarray:
    """Labels (N, L) of the test stars by a regression learnt from the training stars' prepared flux."""
    known = train.values(LABELS)
    middle, width = known.mean(axis=0), known.std(axis=0)
    rival.fit(RECIPE(train).flux, (known - middle) / width)
    return np.asarray(rival.predict(RECIPE(test).flux)) * width + middle


def kept(cache: Path, what: str, train: Spectra, test: Spectra, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array, from ``cache`` if it was made before of the same stars in the same way."""
    digest = hashlib.sha256(train.digests().tobytes() + test.digests().tobytes() + what.encode())
    path = cache / f"{digest.hexdigest()[:16]}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, make())
    return np.load(path)


def code() -> str:
    """Changes with slamjax."""
    digest = hashlib.sha256()
    for path in sorted(Path(slamjax.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def table(runs: list[dict[str, Any]], what: str) -> str:
    rows = [(title, *np.median([one[what][title] for one in runs], axis=0)) for title in runs[0][what]]
    return markdown_table(["", *LABELS], rows)


def pulls_table(runs: list[dict[str, Any]]) -> str:
    titles = {"robust width (1 is right)": "pulls", "within one (0.68 is right)": "within"}
    rows = [(title, *np.median([one[what] for one in runs], axis=0)) for title, what in titles.items()]
    return markdown_table(["", *LABELS], rows)


if __name__ == "__main__":
    main()
