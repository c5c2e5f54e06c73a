"""A model in words: what it is, what it was trained on, with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slamjax.emulators.svr import KernelEmulator
from slamjax.model.model import Model
from slamjax.spectra.flux_units import describe_flux_unit

#: Stars left out of training that are listed.
_LISTED = 10


def flux_name(model: Model) -> str:
    """Name of what the model predicts: flux over continuum if its recipe divides by the continuum."""
    return "flux / continuum" if model.recipe.has_continuum else "flux"


def hyper_parameters(model: Model) -> list[str]:
    """Names of the searched hyper-parameters: columns of the table of pixels."""
    return [name for name in model.info.candidates.colnames if name in model.info.pixels.colnames]


def describe_model(model: Model) -> str:
    """A summary of a model in several lines of text."""
    info, trained = model.info, model.trained
    settings = info.provenance["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in sorted(info.provenance["versions"].items()))
    lines = [
        f"{model.host_emulator.description}, {int(trained.sum())} of {model.wave.size} pixels trained, "
        f"{len(model.training_labels.stars)} stars",
        f"  from         {info.record.source}" + (f", {settings['selection']}" if settings["selection"] else ""),
        f"  identified   by {', '.join(info.record.identifiers) or 'their flux'}",
        *_screened_of(model),
        *_inferred_of(settings.get("inferred")),
        f"  made         {info.provenance['date']} ({versions})",
        f"  wavelengths  {model.wave[0]:g} to {model.wave[-1]:g} {info.wave_unit}, {info.medium}, {info.frame} frame",
        f"  flux         {describe_flux_unit(info.flux_unit)}",
        f"  preparation  {info.recipe}",
        "  labels",
    ]
    for name, unit, (low, high) in zip(model.label_names, info.label_units, model.label_range, strict=True):
        learnt = " (learnt in log10)" if name in settings["log_labels"] else ""
        lines.append(f"    {name:12s} {low:10.3f} to {high:10.3f} {unit}".rstrip() + learnt)
    for name, windows in settings.get("label_windows", settings.get("label_masks", {})).items():
        shown = ", ".join(f"{low:g} to {high:g}" for low, high in windows[:6]) + ", ..." * (len(windows) > 6)
        lines.append(f"    {name} is used only at {shown} {info.wave_unit}")
    for name in hyper_parameters(model):
        values, counts = np.unique(np.asarray(info.pixels[name])[trained], return_counts=True)
        shown = ", ".join(
            f"{value:g}" if len(values) == 1 else f"{value:g} ({count} pixels)"
            for value, count in zip(values, counts, strict=True)
        )
        lines.append(f"  {name:12s} {shown}")
    lines += _metric_of(model)
    lines.append(f"  noise        {_noise_of(model)}")
    pixels = info.pixels[trained]
    tried = f"{len(info.candidates)} combination" + "s" * (len(info.candidates) > 1)
    lines += [
        f"  CV           {settings.get('folds', settings.get('cv'))} folds, {tried}; held-out error / variance "
        f"{np.median(pixels['cv_mse']):.3f} (median over pixels)",
        f"  model error  {np.median(pixels['model_error']):.4g} in {flux_name(model)} (median)"
        + ("" if info.has_errors else "; includes photon noise, because the training spectra state no errors"),
        f"  weights      {settings['weights']}, scaling of labels {settings['label_scaling']}, "
        f"of flux {settings['flux_scaling']}, seed {settings['seed']}",
    ]
    lines.append(f"  solver       {_solver_of(settings.get('solver'))}")
    for status, count in zip(*np.unique(np.asarray(info.pixels["status"]), return_counts=True), strict=True):
        if status != "trained":
            where = model.wave[np.asarray(info.pixels["status"]) == status]
            lines.append(f"  {status}: {count} pixels, {where[0]:g} to {where[-1]:g} {info.wave_unit}")
    return "\n".join(lines)


def _screened_of(model: Model) -> list[str]:
    """Stars that training left out, a line each; the first ones if they are many."""
    screened = model.info.screened
    lines = [f"    {row['star']}: {row['reason']}" for row in screened[:_LISTED]]
    more = len(screened) - len(lines)
    lines += [f"    and {more} more: model.info.screened"] * (more > 0)
    head = [f"  left out     {len(screened)} star{'s' * (len(screened) > 1)} as outliers"] if len(screened) else []
    masked = model.info.provenance["settings"].get("masked_pixels", 0)
    plural = "s" * (masked != 1)
    pixels = [f"  left out     {masked} pixel{plural} of single stars, whose flux or error is absurd"] if masked else []
    return [*head, *lines, *pixels]


def metric_name(model: Model) -> str | None:
    """Where the length scales of the kernel are from; None for emulators without a kernel."""
    tried = model.info.provenance["settings"].get("metrics", [])
    if not isinstance(model.host_emulator, KernelEmulator):
        return None
    if len(tried) < 2:
        return str(tried[0]["name"]) if tried else "isotropic"
    return str(max(tried, key=lambda row: row["score"])["name"])


def _metric_of(model: Model) -> list[str]:
    """The metric of the kernel, and what else was tried."""
    emulator, name = model.host_emulator, metric_name(model)
    if name is None or not isinstance(emulator, KernelEmulator):
        return []
    units = zip(model.label_names, emulator.length_scales, model.info.label_units, emulator.scaling.log, strict=True)
    lengths = ", ".join(f"{label} {each:.3g} {'dex' if log else unit}".rstrip() for label, each, unit, log in units)
    tried = model.info.provenance["settings"].get("metrics", [])
    others = [f"{row['name']} {row['score']:.2f}" for row in tried if row["score"] is not None and row["name"] != name]
    score = {row["name"]: row["score"] for row in tried}.get(name)
    judged = "" if score is None else f"; ln p of known labels {score:.2f}, " + ", ".join(others)
    return [f"  metric       {name}: kernel of labels over {lengths}{judged}"]


def _inferred_of(inferred: Mapping[str, Any] | None) -> list[str]:
    """Which labels of training stars the table does not give exactly."""
    if not inferred:
        return []
    parts = [f"{name} of {count} star{'s' * (count > 1)} that lack it" for name, count in inferred["gaps"].items()]
    parts += [f"{', '.join(inferred['with_errors'])} within the stated errors"] if inferred["with_errors"] else []
    return [f"  inferred     {'; '.join(parts)}"]


def _solver_of(report: Mapping[str, Any] | None) -> str:
    if report is None or report["solver"] == "sklearn":
        return "scikit-learn"
    if report["solver"] == "least squares":
        return f"least squares in closed form, {report['columns']:,} of them"
    if report["solver"] == "inducing":
        return (
            f"{report['inducing']:,} inducing stars: {report['columns']:,} machines, largest duality gap "
            f"{report['gap']:.1g} of the objective"
        )
    return (
        f"batched: {report['columns']:,} machines, {report['by_sklearn']:,} of them by scikit-learn; largest KKT "
        f"violation {report['violation']:.1g}, duality gap {report['gap']:.1g} of the objective"
    )


def _noise_of(model: Model) -> str:
    noise, calibration = model.noise, model.info.calibration
    parts = [noise.description]
    if noise.rank:
        n = int(model.trained.sum())
        known = "as stated" if calibration.photons_as_stated else "learnt"
        parts.append(f"{n} pixels, photon noise {known}")
    if np.isfinite(calibration.tail):
        parts.append(f"scale of each star with {calibration.tail:g} degrees of freedom")
    if calibration.without_label_errors:
        parts.append("label errors without those that the training table states of its labels")
    return "; ".join(parts)
