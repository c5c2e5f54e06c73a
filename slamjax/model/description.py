"""A model in words: what it is, from what it was made, with which settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from slamjax.emulators.polynomial import PolynomialEmulator
from slamjax.model.model import Model
from slamjax.noise.models import LowRankNoise


def flux_name(model: Model) -> str:
    """What the model predicts: flux over continuum if its recipe divides by one."""
    return "flux / continuum" if any("continuum" in step.name for step in model.recipe.steps) else "flux"


def emulator_name(model: Model) -> str:
    """What the model's emulator is called: SLAM, or a polynomial by its degree."""
    exact = model.host_emulator
    if not isinstance(exact, PolynomialEmulator):
        return "SLAM"
    return {1: "linear", 2: "quadratic", 3: "cubic"}.get(exact.degree, f"degree {exact.degree}")


def hyper_parameters(model: Model) -> list[str]:
    """Names of what was chosen among, pixel by pixel or for all: columns of the table of pixels."""
    return [name for name in model.info.candidates.colnames if name in model.info.pixels.colnames]


def describe(model: Model) -> str:
    """Several lines for a person to read."""
    info, trained = model.info, model.trained
    settings = info.provenance["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in info.provenance["versions"].items())
    lines = [
        f"{_kind_of(model)}, {int(trained.sum())} of {model.wave.size} pixels trained, "
        f"{len(model.training_labels.stars)} stars",
        f"  from         {info.record.source}" + (f", {settings['selection']}" if settings["selection"] else ""),
        f"  told apart   by {', '.join(info.record.identifiers) or 'their flux alone'}",
        f"  made         {info.provenance['date']} ({versions})",
        f"  wavelengths  {model.wave[0]:g} to {model.wave[-1]:g} {info.wave_unit}, {info.medium}, {info.frame} frame",
        f"  preparation  {info.recipe}",
        "  labels",
    ]
    for name, unit, (low, high) in zip(model.label_names, info.label_units, model.label_range, strict=True):
        learnt = " (learnt in log10)" if name in settings["log_labels"] else ""
        lines.append(f"    {name:12s} {low:10.3f} to {high:10.3f} {unit}".rstrip() + learnt)
    for name, windows in settings.get("label_windows", settings.get("label_masks", {})).items():
        shown = ", ".join(f"{low:g} to {high:g}" for low, high in windows[:6]) + ", ..." * (len(windows) > 6)
        lines.append(f"    {name} is used at {shown} {info.wave_unit} only")
    for name in hyper_parameters(model):
        values, counts = np.unique(np.asarray(info.pixels[name])[trained], return_counts=True)
        shown = ", ".join(
            f"{value:g}" if len(values) == 1 else f"{value:g} ({count} pixels)"
            for value, count in zip(values, counts, strict=True)
        )
        lines.append(f"  {name:12s} {shown}")
    lines.append(f"  noise        {_noise_of(model)}")
    pixels = info.pixels[trained]
    tried = f"{len(info.candidates)} combination" + "s" * (len(info.candidates) > 1)
    lines += [
        f"  CV           {settings.get('folds', settings.get('cv'))} folds, {tried}; held-out error / variance "
        f"{np.median(pixels['cv_mse']):.3f} (median over pixels)",
        f"  model error  {np.median(pixels['model_error']):.4g} in {flux_name(model)} (median)"
        + ("" if info.has_errors else "; photon noise included, the training spectra state no errors"),
        f"  weights      {settings['weights']}, scaling of labels {settings['label_scaling']}, "
        f"of flux {settings['flux_scaling']}, seed {settings['seed']}",
    ]
    lines.append(f"  solver       {_solver_of(settings.get('solver'))}")
    for status, count in zip(*np.unique(np.asarray(info.pixels["status"]), return_counts=True), strict=True):
        if status != "trained":
            where = model.wave[np.asarray(info.pixels["status"]) == status]
            lines.append(f"  {status}: {count} pixels, {where[0]:g} to {where[-1]:g} {info.wave_unit}")
    return "\n".join(lines)


def _kind_of(model: Model) -> str:
    if isinstance(model.host_emulator, PolynomialEmulator):
        return f"polynomial of the labels of degree {model.host_emulator.degree} ({emulator_name(model)})"
    return f"SLAM, kernel {model.info.provenance['settings']['kernel']}"


def _solver_of(report: Mapping[str, Any] | None) -> str:
    if report is None or report["solver"] == "sklearn":
        return "scikit-learn"
    if report["solver"] == "least squares":
        return f"least squares in closed form, {report['columns']:,} of them"
    return (
        f"batched: {report['columns']:,} machines, {report['by_sklearn']:,} of them by scikit-learn; largest KKT "
        f"violation {report['violation']:.1g}, duality gap {report['gap']:.1g} of the objective"
    )


def _noise_of(model: Model) -> str:
    noise, calibration = model.noise, model.info.calibration
    if not isinstance(noise, LowRankNoise):
        return "diagonal: pixels independent of each other"
    own = f"; a star's own scale with {calibration.tail:g} degrees of freedom" if np.isfinite(calibration.tail) else ""
    counted = model.trained.sum() / calibration.chi2_scale
    return (
        f"low rank: {noise.factors.shape[-1]} factors of the model, {noise.photon_factors.shape[-1]} of the photon "
        f"noise; {int(model.trained.sum())} pixels tell of labels like {counted:.0f} independent ones{own}"
    )
