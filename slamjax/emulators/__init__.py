"""From labels to flux: the kernel expansion (SLAM), the polynomial (The Cannon), and what they share."""

from slamjax.emulators.base import Emulator as Emulator
from slamjax.emulators.polynomial import PolynomialEmulator as PolynomialEmulator
from slamjax.emulators.scaling import LabelScaling as LabelScaling
from slamjax.emulators.svr import KernelEmulator as KernelEmulator
from slamjax.emulators.training_labels import TrainingLabels as TrainingLabels
