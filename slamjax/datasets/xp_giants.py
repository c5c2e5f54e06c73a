"""The embedded sample: giants with Gaia XP spectra and APOGEE labels."""

from __future__ import annotations

import dataclasses
from importlib.resources import as_file, files

from slamjax.io.table import read_table
from slamjax.spectra.spectra import Spectra

SAMPLE = "xp_giants.fits.gz"

#: Labels and wavelength range (nm) of the models in the demo and the documentation.
LABELS = ("teff", "logg", "fe_h", "alpha_m")
WAVE_RANGE = (376.0, 1010.0)


def load_xp_giants() -> tuple[Spectra, Spectra]:
    """1,000 red giants to train on and 1,000 others to test on: Gaia DR3 XP spectra with APOGEE DR17 labels.

    The spectra have 343 pixels, 336 to 1020 nm, with errors. The table has the labels ``teff`` (K), ``logg``,
    ``fe_h`` and ``alpha_m`` (dex) with errors, G magnitude, A_K and APOGEE's S/N. Made by
    ``slamjax/datasets/make_sample.py``. Credits: ESA/Gaia/DPAC; SDSS APOGEE DR17.

    Returns
    -------
    (train, test) : Spectra
        No star is in both.

    Examples
    --------
    >>> import slamjax
    >>> train, test = slamjax.datasets.load_xp_giants()
    >>> len(train), len(test), train.n_pix
    (1000, 1000, 343)
    """
    with as_file(files("slamjax.datasets") / SAMPLE) as path:
        sample = dataclasses.replace(read_table(path), source="the embedded XP giants")
    return sample.select('split == "train"'), sample.select('split == "test"')
