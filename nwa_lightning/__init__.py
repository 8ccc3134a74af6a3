"""Needleman-Wunsch Attention for any Lightning model that embeds sequences."""

from importlib.metadata import version as _version

from nwa_lightning.alignment import edit_distances, nw_matrices, nw_matrix
from nwa_lightning.batch import PairBatch
from nwa_lightning.callbacks import NWACallback, NWAWeightSchedule
from nwa_lightning.datamodule import NWADataModule
from nwa_lightning.distances import HyperbolicDistance, hyperbolic_distance
from nwa_lightning.encoders import Encoder, NeuroSEEDCNN, NeuroSEEDTransformer
from nwa_lightning.errors import InputError
from nwa_lightning.export import load_encoder
from nwa_lightning.functional import nw_target, row_jsd
from nwa_lightning.head import NWAHead
from nwa_lightning.map_logger import AttentionMapLogger
from nwa_lightning.mixin import NWAMixin
from nwa_lightning.model import EditDistanceModel

__version__ = _version("nwa-lightning")

__all__ = [
    "AttentionMapLogger",
    "EditDistanceModel",
    "Encoder",
    "HyperbolicDistance",
    "InputError",
    "NWACallback",
    "NWADataModule",
    "NWAHead",
    "NWAMixin",
    "NWAWeightSchedule",
    "NeuroSEEDCNN",
    "NeuroSEEDTransformer",
    "PairBatch",
    "__version__",
    "edit_distances",
    "hyperbolic_distance",
    "load_encoder",
    "nw_matrices",
    "nw_matrix",
    "nw_target",
    "row_jsd",
]
