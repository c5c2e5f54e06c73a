"""Cut the small real files that the tests read out of the full surveys.

    python tests/data/make_crops.py FOLDER     # the folder with gaia_xp_apogee.fits and miles.fits

- xp_giants.fits: Gaia DR3 XP spectra of 150 giants drawn at random, with errors, on all their 343 pixels;
  labels from APOGEE DR17 (Gaia: ESA/Gaia/DPAC; APOGEE: SDSS).
- miles.fits: 120 stars of the MILES library drawn at random, 300 pixels from 5000 Angstrom on, no errors given
  (Sanchez-Blazquez et al. 2006; labels Cenarro et al. 2007).
"""

import sys
from pathlib import Path

import numpy as np

from slamjax.readers import read_table, write_table

SEED = 20
GIANTS = "logg < 3.6 & teff > 3600 & teff < 5600 & fe_h > -1.5 & apogee_snr > 80 & isfinite(alpha_m)"
HERE = Path(__file__).parent


def draw(n_stars, total):
    return np.sort(np.random.default_rng(SEED).choice(total, n_stars, replace=False))


def main(folder):
    giants = read_table(folder / "gaia_xp_apogee.fits").select(GIANTS)
    write_table(giants[draw(150, len(giants))], HERE / "xp_giants.fits")

    miles = read_table(folder / "miles.fits")
    first = int(np.searchsorted(miles.wave, 5000.0))
    write_table(miles[draw(120, len(miles))].on_pixels(slice(first, first + 300)), HERE / "miles.fits")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
