"""Make the embedded sample: ``python slamjax/datasets/make_sample.py ../shared/data/gaia_xp_apogee.fits``.

2,000 giants with Gaia DR3 XP spectra and APOGEE DR17 labels, drawn at random, half for training and half for testing;
all spectra of a star are in the same half.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from slamjax.datasets.xp_giants import SAMPLE
from slamjax.io import read_table, write_table

SELECTION = (
    "logg < 3.6 & teff > 3600 & teff < 5600 & fe_h > -1.5 & apogee_snr > 80 & isfinite(alpha_m)"
    " & ak_targ > -1"  # -84 and the like are sentinels
)
SEED = 2020
HALF = 1000


def main(source: str) -> None:
    giants = read_table(source).select(SELECTION)
    rng = np.random.default_rng(SEED)
    stars = giants.star_groups()
    shuffled = rng.permutation(np.unique(stars))
    train = np.isin(stars, shuffled[: len(shuffled) // 2])
    rows = np.concatenate([rng.permutation(np.flatnonzero(side))[:HALF] for side in (train, ~train)])
    sample = giants[rows]
    sample.table["split"] = np.where(train[rows], "train", "test")
    target = Path(__file__).with_name(SAMPLE)
    write_table(sample, target)
    print(f"{target}: {len(sample)} stars, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
