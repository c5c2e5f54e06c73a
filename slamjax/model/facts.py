"""A model in a few facts, for the card that a notebook shows; `slamjax.describe` says more."""

from __future__ import annotations

import numpy as np

from slamjax.model.storage import ModelParts
from slamjax.spectra.flux_units import describe_flux_unit


def model_title(parts: ModelParts) -> str:
    """What the model is, in a line."""
    trained = int(np.isfinite(np.asarray(parts.emulator.intercept)).sum())
    n_stars = len(parts.training_labels.stars)
    return f"{parts.emulator.description}, {trained} of {parts.info.wave.size} pixels trained, {n_stars} stars"


def model_facts(parts: ModelParts) -> dict[str, str]:
    """What it predicts, where, and what it was trained on, by topic."""
    info, box = parts.info, np.stack([parts.training_labels.low, parts.training_labels.high])
    ranges = np.asarray(parts.emulator.scaling.inverse(box)).T
    labels = [
        f"{name} {low:.4g} to {high:.4g} {unit}".strip()
        for name, unit, (low, high) in zip(info.label_names, info.label_units, ranges, strict=True)
    ]
    provenance = info.provenance
    version = provenance.get("versions", {}).get("slamjax", "")
    made = f"{str(provenance.get('date', ''))[:10]}, slamjax {version}" if version else ""
    facts = {
        "labels": ", ".join(labels),
        "wavelengths": f"{info.wave[0]:g} to {info.wave[-1]:g} {info.wave_unit}, {info.medium}, {info.frame} frame",
        "flux": describe_flux_unit(info.flux_unit),
        "preparation": str(info.recipe),
        "noise": parts.noise.description,
        "trained on": info.record.source,
        "made": made,
    }
    return {topic: fact for topic, fact in facts.items() if fact}
