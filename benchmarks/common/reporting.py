"""Timing, machine facts and result files: how every benchmark measures and what it leaves behind."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

PACKAGES = ("slamjax", "jax", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the first, which compiles and fills caches, and the median of those after it."""

    first: float
    median: float
    repeats: int


def time_call(call: Callable[[], Any], *, repeats: int = 7, longest: float = 60.0) -> Timing:
    """Call once to warm up, then up to ``repeats`` times, but stop once these took ``longest`` seconds.

    The median, because other work on the machine only ever adds time.
    """

    def once() -> float:
        start = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - start

    first = once()
    seconds = [once()]
    while len(seconds) < repeats and sum(seconds) < longest:
        seconds.append(once())
    return Timing(first, float(np.median(seconds)), len(seconds))


def machine_facts() -> dict[str, Any]:
    """What a time depends on."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "jax devices": ", ".join(sorted({device.device_kind for device in jax.devices()})),
        **{name: version(name) for name in PACKAGES},
    }


def current_load() -> float | None:
    """Processes that wanted a core over the last minute: more than a few tenths before a benchmark disturbs it."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; floats are given to three digits."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)


def wanted_row(name: str, got: float, wanted: float) -> tuple[str, str, str, str]:
    """A row of a table of ratios: what is wanted, what was measured, whether it is reached."""
    return name, f"≥ {wanted:,.0f}×", f"{cell(got)}×", "yes" if got >= wanted else "**no**"


def seconds(value: float) -> str:
    """A duration with the unit that suits it."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= factor:
            return f"{cell(float(value / factor))} {unit}"
    return f"{cell(value * 1e9)} ns"


def cell(value: Any) -> str:
    """A number to three digits, a count with its thousands apart, anything else as it is; NaN is a dash."""
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return "–"
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def signed(value: float) -> str:
    """A number to two digits with its sign."""
    return f"{value:+,.0f}" if abs(value) >= 10 else f"{value:+.2g}"


def write_results(
    out: Path, name: str, settings: dict[str, Any], results: dict[str, Any], tables: Sequence[str], load: float | None
) -> None:
    """Write ``<name>.json``, everything measured, and ``<name>.md``, what the documents show of it.

    ``load`` is the machine's load before the benchmark began: at its end it is the benchmark's own.
    """
    facts = machine_facts() | {"load before": load}
    out.mkdir(parents=True, exist_ok=True)
    record = {"benchmark": name, "machine": facts, "settings": settings, "results": results}
    (out / f"{name}.json").write_text(json.dumps(record, indent=2, default=_plain) + "\n")
    notes = [
        "*Stars:* " + "; ".join(f"{key} {cell(value)}" for key, value in settings.items()) + ".",
        "*Machine:* " + "; ".join(f"{key} {value}" for key, value in facts.items()) + ".",
    ]
    text = "\n\n".join([*tables, *notes]) + "\n"
    (out / f"{name}.md").write_text(text)
    print(text)


def plot_costs(
    runs: dict[str, dict[float, dict[str, Any]]],
    lines: dict[str, tuple[str, str]],
    ylabel: str,
    path: Path,
    *,
    unit: float = 1.0,
) -> None:
    """Cost in seconds / ``unit`` against each of what was varied; ``lines``: for each cost its style and its name."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(runs), figsize=(13, 3.4), sharey=True, layout="constrained")
    for panel, (what, found) in zip(panels, runs.items(), strict=True):
        for cost, (style, label) in lines.items():
            points = [(value, one[cost] / unit) for value, one in found.items() if cost in one]
            panel.loglog(*zip(*points, strict=True), style, label=label)
        panel.set_xlabel(what.replace("_", " "))
        panel.set_xticks(list(found), [f"{value:g}" for value in found])
        panel.xaxis.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(ylabel)
    panels[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)
