"""Alignment scores of sequences of any length and alphabet: substitution matrices, linear and affine gaps."""

from nwa_lightning.scoring.alignments import alignment_scores, strided_matrices
from nwa_lightning.scoring.scores import Scoring

__all__ = ["Scoring", "alignment_scores", "strided_matrices"]
