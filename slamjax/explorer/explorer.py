"""`explore`: a model, its stars and their fits as one page for a browser."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, ClassVar

import numpy as np
from astropy.table import Table

from slamjax.emulators.training_labels import far_apart
from slamjax.explorer.emulator_arrays import MARGIN, page_emulator
from slamjax.explorer.figures import Axis, bokeh_script, pixel_item, plane_item, spectrum_item
from slamjax.explorer.lines import named_lines
from slamjax.explorer.packing import as_script, pack, under
from slamjax.explorer.pages import Page, filled
from slamjax.explorer.pixels import page_pixels, page_training, training_stars
from slamjax.explorer.stars import page_draws, page_stars
from slamjax.fitting import fit
from slamjax.flags import FLAG_ADVICE, FLAG_MEANINGS
from slamjax.model.description import flux_name
from slamjax.model.facts import model_facts, model_title
from slamjax.model.model import Model
from slamjax.sampling import Posterior
from slamjax.spectra.spectra import Spectra

#: The page's own scripts, in the order in which they need each other.
_SCRIPTS = (
    "arrays.js",
    "emulator.js",
    "theme.js",
    "controls.js",
    "spectrum.js",
    "plane.js",
    "star.js",
    "pixel.js",
    "copies.js",
    "main.js",
)
#: Names of labels on axes, in plain text.
LABEL_TITLES = {
    "teff": "Teff", "logg": "log g", "fe_h": "[Fe/H]", "feh": "[Fe/H]", "alpha_m": "[α/M]", "alpha_fe": "[α/Fe]",
}  # fmt: skip
#: What commands that are copied call files that were not named.
_FILES = {"model": "MODEL.h5", "spectra": "SPECTRA.fits", "labels": "LABELS.fits"}
#: Bytes that a page should not exceed; those that spectra of stars, and of training stars, get at least and at most.
_SIZE, _LEAST, _MOST = 14_500_000, 500_000, 3_000_000
#: Steps of a slider.
_STEPS = 1000


@dataclass(frozen=True, eq=False, repr=False)
class Explorer(Page):
    """A page for a browser, as made by `explore`; a notebook shows it where it is the last value of a cell.

    Attributes
    ----------
    html : str
        The whole page: it needs no server, no other file and no network.
    error : float
        Largest difference between predictions in the page and the model's where it was checked, in units of each
        pixel's spread among the training stars.

    Examples
    --------
    >>> import slamjax
    >>> stars, _ = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> slamjax.explore(model).error < 1e-5
    True
    """

    error: float
    frame_title: ClassVar[str] = "slamjax explorer"


def explore(
    model: Model,
    spectra: Spectra | None = None,
    labels: Table | None = None,
    *,
    training: Spectra | None = None,
    posterior: Posterior | None = None,
    files: Mapping[str, str] | None = None,
) -> Explorer:
    """A page to explore a model in a browser: sliders move the prediction, stars can be looked at with their fits.

    Parameters
    ----------
    model : Model
    spectra : Spectra, optional
        N observed spectra, as read.
    labels : Table, optional
        N rows of `slamjax.fit` for these spectra; default: they are fitted now.
    training : Spectra, optional
        The stars that the model was trained on, for the view of single pixels; default: those that are among
        ``spectra``.
    posterior : Posterior, optional
        Of some of the stars: their corners show draws instead of ellipses alone.
    files : mapping, optional
        Names of the files "model", "spectra" and "labels", for commands that are copied from the page.

    Returns
    -------
    Explorer
        ``.write("explore.html")`` writes it; a notebook shows it.

    Raises
    ------
    SlamError
        If Bokeh is not installed (``pip install 'slamjax[explore]'``), the emulator is of a kind that a page cannot
        hold, or labels are not of these spectra.

    Examples
    --------
    >>> import slamjax
    >>> stars, others = slamjax.datasets.load_xp_giants()
    >>> recipe = slamjax.Recipe.make(wave_range=(500, 560), wave_unit="nm")
    >>> model = slamjax.train(stars[:100], ["teff"], emulator=slamjax.Polynomial(), recipe=recipe, noise="diagonal")
    >>> page = slamjax.explore(model, others[:3])
    >>> page.html.startswith("<!DOCTYPE html>"), "http" in page.html.split("<script")[0]
    (True, False)
    """
    script = bokeh_script()
    if spectra is not None:
        model = model.matched(spectra)
    emulator = page_emulator(model.host_emulator, model.training_labels)
    arrays = {
        "wave": np.asarray(model.wave, float),
        "training": np.asarray(model.training_labels.stars, np.float32),
        **under("emulator", emulator.arrays),
    }
    header = _model_header(model) | {"emulator": emulator.header}
    header["facts"].append(
        ("in this page", f"predictions within {emulator.error:.1g} of each pixel's spread of the model's")
    )
    header["files"] = _FILES | dict(files or {})
    header["pixels"], chosen = page_pixels(model)
    packs = [pack(arrays | chosen)]
    # three bytes are four letters; the other half is for training stars
    room = min(_MOST, max(_LEAST, 0.75 * (_SIZE - len(script) - len(packs[0][1])) / 2))
    seen: dict[str, np.ndarray] = {}
    if spectra is not None:
        stars = page_stars(model, spectra, fit(model, spectra) if labels is None else labels, room)
        seen |= stars.arrays
        header["stars"] = stars.header
        if posterior is not None:
            seen |= page_draws(model, posterior, stars)
    known = training_stars(model, spectra, training)
    if known is not None:
        its_header, its_arrays = page_training(model, known, room)
        header |= its_header
        seen |= its_arrays
    packs.append(pack(seen))
    header["arrays"] = [places for places, _ in packs]
    header["figures"] = _figures(model, [label["title"] for label in header["labels"]])
    return Explorer(_filled(header, [text for _, text in packs], script), emulator.error)


def _figures(model: Model, titles: list[str]) -> dict[str, Any]:
    """Empty figures of the panels."""
    flux = Axis(flux_name(model), model.info.flux_unit or "")
    ends = (float(model.wave[0]), float(model.wave[-1]))
    wavelength = Axis("wavelength", str(model.info.wave_unit))
    return {
        "spectrum": spectrum_item(ends, wavelength, flux, titles),
        "plane": plane_item(),
        "pixel": pixel_item(flux),
    }


def _model_header(model: Model) -> dict[str, Any]:
    """What a page says of the model, and its sliders."""
    training = model.training_labels
    # sliders start at the training star in the middle: medians of single labels may be far from all stars
    stars = np.asarray(training.stars, float)
    (middle,) = far_apart(stars, 1)
    start = np.asarray(model.host_emulator.scaling.inverse(stars[middle]), float)
    sliders = []
    for k, (name, unit) in enumerate(zip(model.label_names, model.info.label_units, strict=True)):
        low, high = model.label_range[k]
        step = float(10 ** np.floor(np.log10((high - low) / _STEPS * 2)))
        # ends are whole steps, or a slider could not be set to round numbers
        least, most = (end / step for end in (low - MARGIN * (high - low), high + MARGIN * (high - low)))
        if model.host_emulator.scaling.log[k]:
            least = max(least, low / 2 / step)
        sliders.append(
            {"name": name, "title": LABEL_TITLES.get(name, name), "unit": unit if unit != "dex" else "",
             "low": float(low), "high": float(high), "min": float(np.ceil(least)) * step,
             "max": float(np.floor(most)) * step, "step": step, "start": float(start[k])}
        )  # fmt: skip
    return {
        "title": model_title(model._parts),
        "facts": list(model_facts(model._parts).items()),
        "labels": sliders,
        "wave_unit": str(model.info.wave_unit),
        "lines": named_lines(model),
        "flags": [
            {"name": flag.name, "value": int(flag), "meaning": meaning, "advice": FLAG_ADVICE[flag]}
            for flag, meaning in FLAG_MEANINGS.items()
        ],
        "factors": training.factors.tolist(),
        "max_distance": float(training.max_distance),
    }


def _filled(header: dict[str, Any], packs: list[str], bokeh: str) -> str:
    """The page: its parts put into their places."""
    page = resources.files("slamjax.explorer").joinpath("page")

    def read(name: str) -> str:
        return page.joinpath(name).read_text(encoding="utf-8")

    parts = {
        "title": html.escape(f"slamjax: {header['title']}"),
        "style": read("style.css"),
        "bokeh": bokeh,
        "header": as_script(header),
        "arrays": "\n".join(f'<script class="arrays" type="text/plain">{text}</script>' for text in packs),
        "script": "\n".join(read(name) for name in _SCRIPTS),
    }
    return filled(read("page.html"), parts)
