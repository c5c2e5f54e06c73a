"""A posterior in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from slamjax.io.label_table import flag_summary

#: Stars that a card shows.
SHOWN = 5


def posterior_facts(posterior: Any) -> dict[str, str]:
    """What a `Posterior` is of, how it was drawn and how well, by topic."""
    units = zip(posterior.label_names, posterior.label_units, strict=True)
    facts = {"labels": ", ".join(f"{name} [{unit}]" if unit else name for name, unit in units)}
    attrs = posterior.attrs
    samplers, counts = np.unique(posterior.sampler.astype(str), return_counts=True)
    facts["drawn by"] = ", ".join(
        f"{name or 'none'} ({count} star{'' if count == 1 else 's'})"
        for name, count in zip(samplers, counts, strict=True)
    )
    facts["quality"] = _quality(posterior)
    facts["flags"] = flag_summary(posterior.flags)
    for topic, key in (("prior", "prior"), ("nuisances", "nuisances"), ("likelihood", "likelihood")):
        if key in attrs and attrs[key] != "none":
            facts[topic] = str(attrs[key])
    if "source" in attrs:
        facts["spectra"] = str(attrs["source"])
    if "model" in attrs:
        facts["model"] = str(attrs["model"])
    return facts


def _quality(posterior: Any) -> str:
    """The worst effective sample size and R-hat of any star and label."""
    quality = posterior.diagnostics
    words = []
    for text, values, worst in (
        ("bulk ESS at least {:.0f}", quality.ess_bulk, np.nanmin),
        ("tail ESS at least {:.0f}", quality.ess_tail, np.nanmin),
        ("R-hat at most {:.3f}", quality.rhat, np.nanmax),
        ("Pareto k at most {:.2f}", posterior.khat, np.nanmax),
    ):
        if np.isfinite(values).any():
            words.append(text.format(worst(values)))
    return ", ".join(words) or "no star was sampled"
