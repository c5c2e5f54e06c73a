"""`facts`: what an object or a file of slamjax is, as plain data for other programs."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from astropy.table import Table

from slamjax.emulators.svr import KernelEmulator
from slamjax.flags import Flag
from slamjax.io import LabelTable
from slamjax.model.description import metric_name
from slamjax.model.model import Model
from slamjax.preprocessing import Recipe
from slamjax.spectra.spectra import Spectra
from slamjax.views.describe import Sampled, Thing, as_labels
from slamjax.views.files import open_file


def facts(thing: Thing | str | os.PathLike[str]) -> dict[str, Any]:
    """What a model, spectra, labels, a posterior or a recipe are, as plain data.

    Parameters
    ----------
    thing : Model, Spectra, Posterior, Recipe, label table, or path of a file of one of them

    Returns
    -------
    dict
        ``kind`` is "model", "spectra", "labels", "posterior" or "recipe"; the other keys depend on it. A file has
        ``file`` and ``notes``. Numbers, strings, lists and dictionaries only; None for what is not known or not finite.

    Raises
    ------
    SlamError
        For a file that cannot be read or is of another kind, or a table without labels.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> found = slamjax.facts(stars)
    >>> found["kind"], found["spectra"], found["wavelengths"]["unit"], found["columns"]["teff"]["unit"]
    ('spectra', 1000, 'nm', 'K')
    """
    if isinstance(thing, str | os.PathLike):
        opened = open_file(thing)
        return {"file": os.fspath(thing), **facts(opened.thing), "notes": list(opened.notes)}
    if isinstance(thing, Model):
        found = _of_model(thing)
    elif isinstance(thing, Recipe):
        found = {"kind": "recipe", "recipe": thing.to_list()}
    elif isinstance(thing, Spectra):
        found = _of_spectra(thing)
    elif isinstance(thing, Sampled):
        found = _of_posterior(thing)
    elif isinstance(thing, Table):
        found = {"kind": "labels", **_of_labels(as_labels(thing))}
    else:
        raise TypeError(f"facts are of models, spectra, posteriors, label tables, recipes and paths, not {type(thing)}")
    plain: dict[str, Any] = _plain(found)
    return plain


def _of_model(model: Model) -> dict[str, Any]:
    info, noise, settings = model.info, model.noise, model.info.provenance.get("settings", {})
    ranges = zip(model.label_names, info.label_units, model.label_range, strict=True)
    pixels = info.pixels[model.trained]
    return {
        "kind": "model",
        "emulator": model.host_emulator.description,
        "labels": {name: {"unit": unit, "low": low, "high": high} for name, unit, (low, high) in ranges},
        "wavelengths": _grid(model.wave, info.wave_unit, info.medium, info.frame, info.fwhm),
        "flux_unit": info.flux_unit,
        "trained_pixels": int(model.trained.sum()),
        "recipe": info.recipe.to_list(),
        "metric": _metric(model),
        "noise": {
            "kind": noise.kind,
            "description": noise.description,
            "rank": noise.rank,
            "photons_as_stated": info.calibration.photons_as_stated,
            "median_model_error": np.median(pixels["model_error"]),
            "has_errors": info.has_errors,
            "velocity_scale": info.velocity_scale,
        },
        "cross_validation": {
            "folds": settings.get("folds", settings.get("cv")),
            "candidates": len(info.candidates),
            "median_mse": np.median(pixels["cv_mse"]),
        },
        "training": {
            "source": info.record.source,
            "selection": settings.get("selection", ""),
            "stars": len(model.training_labels.stars),
            "inferred": settings.get("inferred"),
            "identifiers": list(info.record.identifiers),
            "left_out": [dict(zip(info.screened.colnames, row, strict=True)) for row in info.screened],
        },
        "provenance": info.provenance,
    }


def _metric(model: Model) -> dict[str, Any] | None:
    emulator, name = model.host_emulator, metric_name(model)
    if name is None or not isinstance(emulator, KernelEmulator):
        return None
    lengths = dict(zip(model.label_names, emulator.length_scales.tolist(), strict=True))
    return {"name": name, "length_scales": lengths}


def _of_spectra(spectra: Spectra) -> dict[str, Any]:
    snr = spectra.snr()
    snr = snr[np.isfinite(snr)]
    bad = ~spectra.good
    return {
        "kind": "spectra",
        "source": spectra.source,
        "selection": spectra.selection,
        "spectra": len(spectra),
        "wavelengths": _grid(spectra.wave, spectra.wave_unit, spectra.medium, spectra.frame, spectra.fwhm),
        "flux_unit": None if spectra.flux_unit is None else str(spectra.flux_unit),
        "has_errors": spectra.has_errors,
        "snr": dict(zip(("p16", "median", "p84"), np.percentile(snr, [16, 50, 84]), strict=True)) if snr.size else None,
        "bad_pixels": bad.mean() if bad.size else None,
        "without_good_pixel": int(bad.all(axis=1).sum()),
        "columns": _columns(spectra.table),
    }


def _of_labels(table: LabelTable) -> dict[str, Any]:
    flags = np.asarray(table["flags"]) if "flags" in table.colnames else None
    return {
        "stars": len(table),
        "labels": list(table.label_names),
        "flags": None if flags is None else _flag_counts(flags),
        "columns": _columns(table),
    }


def _of_posterior(posterior: Any) -> dict[str, Any]:
    chains, draws, _, _ = posterior.labels.shape
    return {
        "kind": "posterior",
        "chains": chains,
        "draws": draws,
        **_of_labels(posterior.table()),
        "samplers": sorted({str(name) for name in posterior.sampler if name}),
        "provenance": posterior.attrs,
    }


def _flag_counts(flags: np.ndarray) -> dict[str, int]:
    """Stars without flags, and those with each flag that occurs."""
    counts = {str(flag.name): int(np.sum(flags & flag != 0)) for flag in Flag if np.any(flags & flag)}
    return {"none": int(np.sum(flags == 0)), **counts}


def _grid(wave: np.ndarray, unit: Any, medium: str, frame: str, fwhm: Any) -> dict[str, Any]:
    spread = None if fwhm is None or np.all(np.isnan(fwhm)) else [np.nanmin(fwhm), np.nanmax(fwhm)]
    ends = {"low": wave[0], "high": wave[-1]} if wave.size else {"low": None, "high": None}
    return {"pixels": wave.size, **ends, "unit": str(unit), "medium": medium, "frame": frame, "fwhm": spread}


def _columns(table: Table) -> dict[str, dict[str, Any]]:
    """Type, shape in each row and unit of every column; the range of those of single real numbers."""
    found = {}
    for name in table.colnames:
        values = np.asarray(getattr(table[name], "value", table[name]))
        unit = getattr(table[name], "unit", None)
        found[name] = {
            "type": values.dtype.name,
            "shape": list(values.shape[1:]),
            "unit": None if unit is None else str(unit),
        }
        if values.ndim == 1 and values.dtype.kind == "f":
            known = values[np.isfinite(values) & ~np.asarray(getattr(table[name], "mask", False))]
            low, high = (known.min(), known.max()) if known.size else (None, None)
            found[name] |= {"low": low, "high": high, "unknown": values.size - known.size}
    return found


def _plain(value: Any) -> Any:
    """Numbers, strings, lists and dictionaries, which JSON knows; None for numbers that are not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, str | int | bool | None) else str(value)
