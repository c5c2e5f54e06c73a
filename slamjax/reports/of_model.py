"""What a report says of a trained model: its stars, recipe, cross-validation, metric and noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slamjax.model.description import flux_name, hyper_parameters, metric_name
from slamjax.model.facts import model_facts
from slamjax.model.model import Model
from slamjax.plots.metric import has_lengths, kernel_spans
from slamjax.plots.training import complexity, searched_hyper_parameters
from slamjax.reports import charts
from slamjax.reports.blocks import Block, Chart, Charts, Column, Facts, Folded, Section, Sentence, Sheet
from slamjax.reports.charts import Points
from slamjax.reports.words import counted, plane_of, short, title, titles
from slamjax.views import describe, facts


def model_sections(model: Model) -> list[Section]:
    """One section for each part of a training."""
    found = facts(model)
    return [
        Section("data", "Training stars", _data(model, found)),
        Section("recipe", "Preparation", _recipe(model)),
        Section("screened", "Stars left out of training", _screened(model)),
        Section("cross-validation", "Cross-validation", _cross_validation(model, found["cross_validation"])),
        Section("metric", "Metric", _metric(model)),
        Section("noise", "Noise and calibration", _noise(model, found["noise"])),
    ]


def _data(model: Model, found: Mapping[str, Any]) -> list[Block]:
    training, info = found["training"], model.info
    said = model_facts(model._parts)
    for known in ("labels", "trained on"):  # said above and below
        said.pop(known, None)
    inferred = training["inferred"] or {}
    said |= {"selection": training["selection"]} if training["selection"] else {}
    said["known by"] = ", ".join(training["identifiers"]) or "their flux"
    said |= {
        f"without {name}": f"{counted(count, 'star')}, whose {name} was inferred"
        for name, count in inferred.get("gaps", {}).items()
    }
    logs = model.host_emulator.scaling.log
    labels = Sheet(
        "labels",
        [
            Column("label", [title(name) for name in model.label_names]),
            Column("unit", [unit or "" for unit in info.label_units]),
            Column.of_numbers("smallest", model.label_range[:, 0], short),
            Column.of_numbers("largest", model.label_range[:, 1], short),
            Column("learnt in", ["log10" if log else "the label" for log in logs]),
        ],
    )
    return [
        Sentence(f"{counted(training['stars'], 'star')} of {training['source']} trained the model."),
        Facts(said),
        labels,
        Charts([_training_plane(model), *_training_histograms(model)]),
        Folded("All that the model says of itself (slamjax.describe)", describe(model)),
    ]


def _training_plane(model: Model) -> Chart:
    values, named = _training_labels(model), list(titles(model).values())
    x, y = plane_of(model)
    if y is None:
        return Chart(f"{named[0]} of the training stars", charts.histogram(values[:, 0], named[0]))
    rows = charts.some_of(len(values))
    figure = charts.empty(named[x], named[y])
    charts.add_points(figure, Points(values[rows, x], values[rows, y], "accent"), size=4)
    is_kiel = (model.label_names[x], model.label_names[y]) == ("teff", "logg")
    charts.flip(figure, x=is_kiel, y=is_kiel)
    return Chart("Where the training stars are", figure, _drawn(len(rows), len(values)), kind="double")


def _training_histograms(model: Model) -> list[Chart]:
    values = _training_labels(model)
    return [
        Chart(name, charts.histogram(values[:, k], name))
        for k, name in enumerate(titles(model).values())
        if k not in plane_of(model)
    ]


def _training_labels(model: Model) -> np.ndarray:
    scaling, stars = model.host_emulator.scaling, np.asarray(model.training_labels.stars)
    return np.asarray(scaling.inverse(stars), float)


def _recipe(model: Model) -> list[Block]:
    steps = model.recipe.steps
    if not steps:
        return [Sentence("Spectra are used as they are: the recipe has no steps.", is_note=True)]
    numbered = {f"{number}.": str(step) for number, step in enumerate(steps, start=1)}
    return [
        Sentence("What is done to every spectrum, of training and new, before the model sees it:"),
        Facts(numbered),
        Folded("The recipe as TOML, for slamjax train --recipe", model.recipe.to_toml()),
    ]


def _screened(model: Model) -> list[Block]:
    screened, masked = model.info.screened, model.info.provenance["settings"].get("masked_pixels", 0)
    blocks: list[Block] = []
    if len(screened):
        blocks += [
            Sentence(f"{counted(len(screened), 'star')} left out as outliers:"),
            Sheet(
                "screened",
                [
                    Column.of_numbers("row", screened["row"], "{:.0f}".format),
                    Column("star", [str(star) for star in screened["star"]]),
                    Column("reason", [str(reason) for reason in screened["reason"]]),
                ],
            ),
        ]
    else:
        blocks.append(Sentence("No star was left out as an outlier.", is_note=True))
    if masked:
        blocks.append(Sentence(f"{counted(masked, 'pixel')} of single stars were masked: flux or error is absurd."))
    return blocks


def _cross_validation(model: Model, found: Mapping[str, Any]) -> list[Block]:
    blocks: list[Block] = []
    mse = np.asarray(model.info.pixels["cv_mse"], float)
    if np.isfinite(mse[model.trained]).any():
        blocks.append(
            Sentence(
                f"{found['folds']} folds: the mean squared error of held-out stars over the pixel's variance is "
                f"{found['median_mse']:.3f} in the median pixel (0 is perfect, 1 is no better than the mean)."
            )
        )
    else:
        blocks.append(Sentence("The model has no scores of cross-validation.", is_note=True))
    names = hyper_parameters(model)
    if not names:
        blocks.append(Sentence("The model says nothing of its hyper-parameters.", is_note=True))
    elif searched_hyper_parameters(model):
        blocks += [Sentence("What was tried, and how many pixels chose it:"), _candidates(model, names)]
    else:
        values = {name: np.asarray(model.info.candidates[name]) for name in names}
        chosen = ", ".join(f"{name} = {short(float(value[0]))}" for name, value in values.items() if len(value))
        blocks.append(Sentence(f"Nothing was searched: {chosen} at every pixel."))
    return [*blocks, Charts(_pixel_charts(model))]


def _candidates(model: Model, names: list[str]) -> Sheet:
    """Hyper-parameters that were tried, their scores, and the pixels that chose them."""
    info, trained = model.info, model.trained
    tried, pixels = info.candidates, info.pixels[trained]
    columns = [Column.of_numbers(name, tried[name], short) for name in names]
    scores = np.asarray(info.cv_scores, float)
    if scores.shape == (len(trained), len(tried)):
        columns.append(Column.of_numbers("median CV error / variance", _medians(scores[trained]), "{:.4f}".format))
    if "joint_score" in tried.colnames:
        columns.append(Column.of_numbers("ln p of known labels", tried["joint_score"], "{:.2f}".format))
    chose = [
        np.sum(np.all([np.isclose(pixels[name], row[name], rtol=1e-6, atol=0) for name in names], axis=0))
        for row in tried
    ]
    return Sheet("candidates", [*columns, Column.of_numbers("pixels", chose, "{:.0f}".format)])


def _medians(scores: np.ndarray) -> np.ndarray:
    """Of each column, over its finite values; NaN where there is none."""
    return np.array([np.median(one[np.isfinite(one)]) if np.isfinite(one).any() else np.nan for one in scores.T])


def _pixel_charts(model: Model) -> list[Chart]:
    """Scores, errors, complexity and what was chosen along the spectrum; they move together."""
    pixels, wave, trained = model.info.pixels, model.wave, model.trained
    across = f"wavelength [{model.info.wave_unit}]"

    def known(values: Any) -> np.ndarray:
        return np.where(trained, np.asarray(values, float), np.nan)

    score = charts.empty(across, "CV error / variance", height=230)
    charts.add_line(score, Points(wave, known(pixels["cv_mse"]), "accent"))
    score.y_range.start = 0
    error = charts.empty(across, flux_name(model), height=250, like=score, y_axis_type="log")
    charts.add_line(error, Points(wave, known(pixels["model_error"]), "predicted", "model error"))
    charts.add_line(error, Points(wave, known(model.host_emulator.flux_scale), "muted", "spread of the stars"))
    drawn = [
        Chart("Error of held-out stars", score, kind="wide"),
        Chart("Model error, and what there is to learn", charts.finish(error), kind="wide"),
    ]
    share, name = complexity(model)
    used = charts.empty(across, name.replace("\n", " "), height=210, like=score)
    charts.add_line(used, Points(wave, share, "observed"))
    used.y_range.start = 0
    drawn.append(Chart("Complexity of every pixel", used, kind="wide"))
    for chosen in searched_hyper_parameters(model):
        values = known(pixels[chosen])
        is_log = bool(np.nanmin(values) > 0)
        figure = charts.empty(across, chosen, height=190, like=score, y_axis_type="log" if is_log else "linear")
        charts.add_points(figure, Points(wave, values, "accent"), size=4)
        charts.mark_values(figure, np.unique(np.asarray(model.info.candidates[chosen], float)))
        drawn.append(Chart(f"Chosen {chosen}", figure, kind="wide"))
    return drawn


def _metric(model: Model) -> list[Block]:
    name = metric_name(model)
    if name is None or not has_lengths(model):
        return [Sentence("The emulator has no kernel with lengths, hence no metric.", is_note=True)]
    kernel, logs = kernel_spans(model), model.host_emulator.scaling.log
    units = ["dex" if log else unit or "" for log, unit in zip(logs, model.info.label_units, strict=True)]
    texts = [f"{length:.3g} {unit}".rstrip() for length, unit in zip(kernel.lengths, units, strict=True)]
    names = [title(label) for label in model.label_names]
    blocks: list[Block] = [
        Sentence(
            f"The metric is {name}: over much less than one length of the kernel the spectrum is a straight line in a "
            "label, over several it bends."
        ),
        Sheet(
            "lengths",
            [
                Column("label", names),
                Column.of_numbers("length of the kernel", kernel.lengths, "{:.3g}".format),
                Column("unit", units),
                Column.of_numbers("lengths in the training range", kernel.spans, "{:.2f}".format),
                Column.of_numbers("with an isotropic kernel", kernel.isotropic, "{:.2f}".format),
            ],
        ),
    ]
    tried = [row for row in model.info.provenance["settings"].get("metrics", []) if row["score"] is not None]
    if tried:
        blocks.append(
            Sheet(
                "metrics",
                [
                    Column("metric", [str(row["name"]) for row in tried]),
                    Column.of_numbers("ln p of known labels", [row["score"] for row in tried], "{:.3f}".format),
                ],
            )
        )
    else:
        blocks.append(Sentence("No other metric was tried.", is_note=True))
    chart = charts.bars(names, kernel.spans, "range of the training stars / length of the kernel", texts)
    return [*blocks, Charts([Chart("Which labels bend the spectrum", chart, kind="double")])]


def _noise(model: Model, found: Mapping[str, Any]) -> list[Block]:
    calibration = model.info.calibration
    photons = "as stated" if calibration.photons_as_stated else "learnt"
    said = {"noise": str(found["description"])}
    if found["median_model_error"] is not None:
        said["model error"] = f"{found['median_model_error']:.4g} in {flux_name(model)} (median over pixels)"
    if not model.info.has_errors:
        said["photon noise"] = "part of the model error, because the training spectra state no errors"
    elif found["rank"]:
        said["photon noise"] = photons
    said["χ² limit"] = f"{calibration.chi2_limit:.3g} per degree of freedom; above it a star gets the flag HIGH_CHI2"
    if np.isfinite(calibration.tail):
        said["single stars"] = f"each has a scale of its own, with {calibration.tail:g} degrees of freedom"
    if calibration.without_label_errors:
        said["label errors"] = "without those that the training table states of its labels"
    blocks: list[Block] = [Facts(said)]
    if calibration.label_scale:
        blocks += [
            Sentence("Factors by which held-out stars stretched the label errors:"),
            Sheet(
                "label-scale",
                [
                    Column("label", [title(name) for name in model.label_names]),
                    Column.of_numbers("factor", calibration.label_scale, "{:.3f}".format),
                ],
            ),
        ]
    else:
        blocks.append(Sentence("Label errors were not calibrated on held-out stars.", is_note=True))
    if calibration.tried:
        kinds = [name for name in calibration.tried[0] if all(name in row for row in calibration.tried)]
        blocks += [
            Sentence("Noise models that were compared on held-out stars:"),
            Sheet("noise-models", [_any_column(name, [row[name] for row in calibration.tried]) for name in kinds]),
        ]
    return blocks


def _any_column(name: str, values: list[Any]) -> Column:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return Column.of_numbers(name, values, short)
    return Column(name, [str(value) for value in values])


def _drawn(n: int, of: int) -> str:
    return "" if n == of else f"{n:,} of {of:,}, by chance"
