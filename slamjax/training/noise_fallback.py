"""``learn_noise`` that does not stop a training for want of a covariance."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np

from slamjax._util.threads import one_blas_thread
from slamjax.emulators.base import Emulator
from slamjax.emulators.training_labels import TrainingLabels
from slamjax.errors import SlamError, SlamWarning
from slamjax.training.held_out import HeldOut
from slamjax.training.noise_calibration import HardlyFitted
from slamjax.training.noise_learning import LearntNoise, learn_noise
from slamjax.training.specs import NoiseSpec
from slamjax.typing import Progress


def learn_noise_if_possible(
    noise: NoiseSpec,
    emulator: Emulator,
    training_labels: TrainingLabels,
    held_out: HeldOut,
    *,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> LearntNoise:
    """`learn_noise`; "auto" takes independent pixels where no covariance can be learnt."""
    with one_blas_thread():
        try:
            return learn_noise(noise, emulator, training_labels, held_out, seed=seed, on_progress=on_progress)
        except (HardlyFitted, np.linalg.LinAlgError) as error:
            if noise.kind != "auto":
                raise SlamError(f"no covariance of pixels can be learnt from these stars: {error}") from error
            warnings.warn(
                f"no covariance of pixels can be learnt from these stars ({error}): pixels are taken as independent "
                "(noise='diagonal'), and label errors may be several times too small",
                SlamWarning,
                stacklevel=3,
            )
            independent = dataclasses.replace(noise, kind="diagonal")
            return learn_noise(independent, emulator, training_labels, held_out, seed=seed)
