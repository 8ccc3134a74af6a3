"""Needleman-Wunsch Attention for any Lightning model that embeds sequences."""

from importlib.metadata import version as _version

from nwa_lightning.alignment import edit_distances, nw_matrices, nw_matrix
from nwa_lightning.augment import Augment
from nwa_lightning.batch import PairBatch
from nwa_lightning.callbacks import NWACallback, NWAWeightSchedule
from nwa_lightning.datamodule import NWADataModule
from nwa_lightning.distances import (
    CosineDistance,
    EuclideanDistance,
    HyperbolicDistance,
    ManhattanDistance,
    SquaredEuclideanDistance,
    cosine_distance,
    euclidean_distance,
    hyperbolic_distance,
    manhattan_distance,
    squared_euclidean_distance,
    suitable_power,
)
from nwa_lightning.encoders import (
    CNNED,
    DSEECNN,
    SENSE,
    Encoder,
    GRUEncoder,
    KmerEncoder,
    LinearEncoder,
    MLPEncoder,
    NeuroSEEDCNN,
    NeuroSEEDTransformer,
    ResidualCNN,
)
from nwa_lightning.errors import InputError
from nwa_lightning.export import load_encoder
from nwa_lightning.functional import nw_target, row_jsd
from nwa_lightning.head import FeatureHead, NWAHead
from nwa_lightning.map_logger import AttentionMapLogger
from nwa_lightning.mixin import NWAMixin
from nwa_lightning.model import EditDistanceModel
from nwa_lightning.muon import Muon
from nwa_lightning.simulate import evolve_tree
from nwa_lightning.storage import storage_strands

__version__ = _version("nwa-lightning")

__all__ = [
    "CNNED",
    "DSEECNN",
    "SENSE",
    "AttentionMapLogger",
    "Augment",
    "CosineDistance",
    "EditDistanceModel",
    "Encoder",
    "EuclideanDistance",
    "FeatureHead",
    "GRUEncoder",
    "HyperbolicDistance",
    "InputError",
    "KmerEncoder",
    "LinearEncoder",
    "MLPEncoder",
    "ManhattanDistance",
    "Muon",
    "NWACallback",
    "NWADataModule",
    "NWAHead",
    "NWAMixin",
    "NWAWeightSchedule",
    "NeuroSEEDCNN",
    "NeuroSEEDTransformer",
    "PairBatch",
    "ResidualCNN",
    "SquaredEuclideanDistance",
    "__version__",
    "cosine_distance",
    "edit_distances",
    "euclidean_distance",
    "evolve_tree",
    "hyperbolic_distance",
    "load_encoder",
    "manhattan_distance",
    "nw_matrices",
    "nw_matrix",
    "nw_target",
    "row_jsd",
    "squared_euclidean_distance",
    "storage_strands",
    "suitable_power",
]
