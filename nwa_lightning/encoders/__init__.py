"""Encoders: tokens in, embeddings out. One family per file."""

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
from nwa_lightning.encoders.pooled import PooledCNN
from nwa_lightning.encoders.recurrent import GRUEncoder
from nwa_lightning.encoders.residual import ResidualCNN
from nwa_lightning.encoders.sense import SENSE
from nwa_lightning.encoders.strands import StrandInvariant

__all__ = [
    "CNNED",
    "DSEECNN",
    "EINN",
    "SENSE",
    "AsMac",
    "Encoder",
    "GRUEncoder",
    "KmerEncoder",
    "LandmarkEncoder",
    "LandmarkMDS",
    "LinearEncoder",
    "MLPEncoder",
    "NeuroSEEDCNN",
    "NeuroSEEDTransformer",
    "PooledCNN",
    "ResidualCNN",
    "StrandInvariant",
]
