"""The trained model: emulator, noise, training labels, recipe and provenance, and its file."""

from slamjax.model.description import describe_model as describe_model
from slamjax.model.info import ModelInfo as ModelInfo
from slamjax.model.info import TrainingRecord as TrainingRecord
from slamjax.model.joint import JointModel as JointModel
from slamjax.model.model import Model as Model
from slamjax.model.radial_velocity import measure_rv as measure_rv
