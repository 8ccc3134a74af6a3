"""The encoder of DSEE (Guo et al., "Deep Squared Euclidean Approximation to the Levenshtein Distance", ICML 2022)."""

from __future__ import annotations

from nwa_lightning.encoders.neuroseed import NeuroSEEDCNN
from nwa_lightning.sequences.alphabet import DNA


class DSEECNN(NeuroSEEDCNN):
    """The CNN of NeuroSEED with one more layer, as Lee & No (2024) trained it for DSEE: 64 channels, 5 layers.

    Use it with the squared Euclidean distance and the chi-square loss. This loss requires a certain scale of the embeddings;
    here the learnt scale of the distance provides it.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        channels: Channels of every convolution.
        layers: Number of convolutions; each halves the length.
        kernel_size: Kernel size of every convolution, in positions; odd.
    """

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        channels: int = 64,
        layers: int = 5,
        kernel_size: int = 3,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary, channels, layers, kernel_size)
