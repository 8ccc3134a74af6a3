"""Encoders: tokens in, embeddings out. One family per file."""

from nwa_lightning.encoders.base import Encoder
from nwa_lightning.encoders.neuroseed import NeuroSEEDCNN, NeuroSEEDTransformer

__all__ = ["Encoder", "NeuroSEEDCNN", "NeuroSEEDTransformer"]
