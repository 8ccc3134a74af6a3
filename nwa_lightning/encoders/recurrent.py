"""The recurrent encoder of NeuroSEED (Corso et al., NeurIPS 2021), after Zhang, Yuan & Indyk (2019)."""

from __future__ import annotations

from torch import Tensor, nn

from nwa_lightning.encoders.base import Encoder, OneHot
from nwa_lightning.encoders.checks import at_least_one
from nwa_lightning.sequences.alphabet import DNA, PADDING


class GRUEncoder(Encoder):
    """Gated recurrent units over one-hot letters; two linear layers over the last state.

    The last state is the one after the last letter, so padding has no influence. ``<sos>`` is a step of zeros, which gives a
    state to a sequence without letters too. Sizes are the defaults of the published code of NeuroSEED.

    Args:
        max_length: The most bases a sequence may have.
        embedding_dim: m, the dimension of the embeddings.
        vocabulary: Number of token values, padding and ``<sos>`` included.
        hidden_dim: Dimension of the state, and between the two linear layers.
        layers: Number of recurrent layers.

    Raises:
        InputError: If a number does not fit.
    """

    any_length = True

    def __init__(
        self,
        max_length: int,
        embedding_dim: int = 128,
        vocabulary: int = DNA.size,
        hidden_dim: int = 100,
        layers: int = 1,
    ) -> None:
        super().__init__(max_length, embedding_dim, vocabulary)
        at_least_one(hidden_dim=hidden_dim, layers=layers)
        self.one_hot = OneHot(vocabulary)
        self.features = nn.GRU(self.one_hot.letters, hidden_dim, layers, batch_first=True)
        self.readout = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, embedding_dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, m)`` embeddings of ``(U, L)`` tokens; see ``Encoder``."""
        letters = self.one_hot(tokens)
        # Zeros are the default too, but with the default torch.export would fix the number of sequences.
        start = letters.new_zeros(self.features.num_layers, letters.shape[0], self.features.hidden_size)
        states, _ = self.features(letters, start)
        last = (tokens != PADDING).sum(dim=1) - 1
        state = states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2])).squeeze(1)
        embeddings: Tensor = self.readout(state)
        return embeddings
