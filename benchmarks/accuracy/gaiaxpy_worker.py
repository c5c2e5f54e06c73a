"""Write GaiaXPy's design matrices to an .npz; run by ``xp_coefficients.py`` in an environment of its own.

    python gaiaxpy_worker.py matrices.npz

``wave`` (343,) nm, the archive's sampling; ``sampled`` (110, 343): calibrated flux of each coefficient of BP and of RP,
merged as `gaiaxpy.calibrate` does; ``internal_bp`` and ``internal_rp`` (55, 600): the bases at ``position``, the
pseudo-wavelengths in samples of the detector. Nothing of slamjax is imported here.
"""

import sys

import gaiaxpy.calibrator.calibrator as calibrator
import numpy as np
from gaiaxpy.config.paths import hermite_bases_file
from gaiaxpy.converter.config import parse_config
from gaiaxpy.converter.converter import get_design_matrices


def main(target: str) -> None:
    make = getattr(calibrator, "__generate_xp_matrices_and_merge")
    sampled, merge = make("calibrator", None, "v375wi", "v142r")
    position = np.linspace(0, 60, 600)
    internal = get_design_matrices(position, parse_config(hermite_bases_file))
    np.savez(
        target,
        wave=sampled["bp"].get_sampling_grid(),
        sampled=np.concatenate([sampled[band].get_design_matrix() * merge[band] for band in ("bp", "rp")]),
        position=position,
        **{f"internal_{band}": internal[band].get_design_matrix() for band in ("bp", "rp")},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
