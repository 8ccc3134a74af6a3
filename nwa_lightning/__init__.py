"""Needleman-Wunsch Attention for any Lightning model that embeds sequences."""

from importlib.metadata import version as _version

from nwa_lightning.alignment import edit_distances, nw_matrices, nw_matrix
from nwa_lightning.callbacks.map_logger import AttentionMapLogger
from nwa_lightning.callbacks.weight_schedule import NWAWeightSchedule
from nwa_lightning.data.augment import Augment
from nwa_lightning.data.batch import PairBatch, pair_batch
from nwa_lightning.data.collate import CollatedBatch, NWACollate
from nwa_lightning.data.datamodule import NWADataModule
from nwa_lightning.data.near import NearPairs
from nwa_lightning.encoders.asmac import AsMac
from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.cnned import CNNED
from nwa_lightning.encoders.dense import LinearEncoder, MLPEncoder
from nwa_lightning.encoders.dsee import DSEECNN
from nwa_lightning.encoders.einn import EINN
from nwa_lightning.encoders.kmer import KmerEncoder
from nwa_lightning.encoders.landmark_mds import LandmarkMDS
from nwa_lightning.encoders.landmarks import LandmarkEncoder
from nwa_lightning.encoders.neuroseed import NeuroSEEDCNN, NeuroSEEDTransformer
from nwa_lightning.encoders.recurrent import GRUEncoder
from nwa_lightning.encoders.residual import ResidualCNN
from nwa_lightning.encoders.sense import SENSE
from nwa_lightning.errors import InputError
from nwa_lightning.landmarks.features import Landmarks
from nwa_lightning.models.distances import (
    CosineDistance,
    EmbeddingDistance,
    EuclideanDistance,
    HyperbolicDistance,
    ManhattanDistance,
    SquaredEuclideanDistance,
)
from nwa_lightning.models.edit_distance import EditDistanceModel
from nwa_lightning.models.export import load_encoder
from nwa_lightning.models.functional import (
    cosine_distance,
    euclidean_distance,
    hyperbolic_distance,
    manhattan_distance,
    squared_euclidean_distance,
)
from nwa_lightning.models.landmark_mds import LandmarkMDSModel
from nwa_lightning.models.losses import (
    AbsoluteLoss,
    ChiSquareLoss,
    EditDistanceLoss,
    PoissonLoss,
    SquaredLoss,
    TripletLoss,
)
from nwa_lightning.models.pretrained import load_pretrained
from nwa_lightning.nwa.callback import NWACallback
from nwa_lightning.nwa.functional import nw_target, row_jsd
from nwa_lightning.nwa.heads import FeatureHead, NWAHead
from nwa_lightning.nwa.loss import NWALoss
from nwa_lightning.nwa.mixin import NWAMixin
from nwa_lightning.optim.muon import Muon
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.index import Index
from nwa_lightning.sequences.alphabet import Alphabet
from nwa_lightning.sequences.catalog import load_sequences
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.simulate.dna_storage import storage_strands
from nwa_lightning.sequences.simulate.tree import evolve_tree

__version__ = _version("nwa-lightning")

__all__ = [
    "CNNED",
    "DSEECNN",
    "EINN",
    "SENSE",
    "AbsoluteLoss",
    "Alphabet",
    "AsMac",
    "AttentionMapLogger",
    "Augment",
    "ChiSquareLoss",
    "CollatedBatch",
    "CosineDistance",
    "EditDistanceLoss",
    "EditDistanceModel",
    "EmbeddingDistance",
    "Encoder",
    "EuclideanDistance",
    "FeatureHead",
    "GRUEncoder",
    "HyperbolicDistance",
    "Index",
    "InputError",
    "KmerEncoder",
    "LandmarkEncoder",
    "LandmarkMDS",
    "LandmarkMDSModel",
    "Landmarks",
    "LinearEncoder",
    "MLPEncoder",
    "ManhattanDistance",
    "Muon",
    "NWACallback",
    "NWACollate",
    "NWADataModule",
    "NWAHead",
    "NWALoss",
    "NWAMixin",
    "NWAWeightSchedule",
    "NearPairs",
    "NeuroSEEDCNN",
    "NeuroSEEDTransformer",
    "PairBatch",
    "PoissonLoss",
    "ReadEmbedder",
    "ResidualCNN",
    "Sequences",
    "SquaredEuclideanDistance",
    "SquaredLoss",
    "TripletLoss",
    "__version__",
    "cosine_distance",
    "edit_distances",
    "euclidean_distance",
    "evolve_tree",
    "hyperbolic_distance",
    "load_encoder",
    "load_pretrained",
    "load_sequences",
    "manhattan_distance",
    "nw_matrices",
    "nw_matrix",
    "nw_target",
    "pair_batch",
    "row_jsd",
    "squared_euclidean_distance",
    "storage_strands",
]
