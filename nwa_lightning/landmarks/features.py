"""Landmarks: edit distances to a few sequences of the training set, as features of any model."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from nwa_lightning.errors import InputError
from nwa_lightning.landmarks.distances import distance_table, landmark_distances
from nwa_lightning.sequences.alphabet import SOS
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: Number of sequences that standardise the features, and that show how near the nearest landmark usually is.
SAMPLE: Final = 2000

#: Fraction of these sequences that count as usual; the rest is as far away as foreign sequences.
USUAL: Final = 0.99


#: A larger fraction of foreign sequences than this causes a warning.
MANY: Final = 0.1


class Landmarks(nn.Module):
    r"""Edit distances of a sequence to K landmarks, standardised: alignment knowledge that needs no training.

    The distances to some points are a Lipschitz embedding (Bourgain, 1985, doi 10.1007/BF02776078): by the triangle inequality,
    the distances of two sequences to a landmark differ by at most their own edit distance. Landmarks are drawn at random from
    the training set. ``NWADataModule`` draws them at the start of ``fit``; with your own loader, call ``draw``. They are
    buffers, so a checkpoint holds them.

    Args:
        count: K, number of landmarks.
        max_length: The most bases of a landmark.

    Attributes:
        landmarks: ``(K, max_length)`` uint8 codes, then padding.
        lengths: ``(K,)`` bases of each; -1 before they are drawn.
        mean: ``(K,)`` mean edit distance of training sequences to each.
        deviation: ``(K,)`` standard deviation of the same, at least 1 edit.
        reach: Edits within which 99 % of the training sequences have their nearest landmark.

    Raises:
        InputError: If a number is below 1.

    Example:
        >>> landmarks = Landmarks(count=2, max_length=8)
        >>> landmarks.draw(Sequences.from_strings(["ACGT", "ACGA", "TTTT"]))
        >>> landmarks(pair_batch(["ACGT", "AAAA"]).tokens).shape
        torch.Size([2, 2])
    """

    landmarks: Tensor
    lengths: Tensor
    mean: Tensor
    deviation: Tensor
    reach: Tensor

    def __init__(self, count: int = 128, max_length: int = 150) -> None:
        super().__init__()
        for name, value in (("count", count), ("max_length", max_length)):
            if value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}; give a larger number")
        self.register_buffer("landmarks", torch.zeros(count, max_length, dtype=torch.uint8))
        self.register_buffer("lengths", torch.full((count,), -1))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("deviation", torch.ones(count))
        self.register_buffer("reach", torch.zeros(()))
        self.drawn = False

    @property
    def count(self) -> int:
        """K, number of landmarks."""
        return len(self.lengths)

    @property
    def sequences(self) -> Sequences:
        """The landmarks, as sequences."""
        codes, lengths = self.landmarks.cpu().numpy(), self.lengths.cpu().numpy()
        return Sequences.from_padded(codes, lengths, Packed.of([b""] * self.count))

    def draw(self, sequences: Sequences, seed: int = 0) -> None:
        """Draw the landmarks, and compute the numbers that standardise the features.

        Args:
            sequences: The training set; copies count once.
            seed: Seed of the draw.

        Raises:
            InputError: If there are fewer distinct sequences than landmarks, or a drawn sequence is too long.
        """
        distinct = sequences.unique()
        if len(distinct) < self.count:
            raise InputError(
                f"landmarks: expected at least {self.count} distinct training sequences to draw them from, found "
                f"{len(distinct)}; ask for fewer landmarks"
            )
        order = np.random.default_rng(seed).permutation(len(distinct))
        chosen, sample = distinct.take(order[: self.count]), distinct.take(order[::-1][:SAMPLE])
        width = self.landmarks.shape[1]
        if chosen.max_length > width:
            raise InputError(
                f"landmarks: expected training sequences of at most {width} bases (max_length), found one of "
                f"{chosen.max_length}; build the model with a larger max_length"
            )
        distances = torch.from_numpy(distance_table(chosen, sample, threads=torch.get_num_threads())).double()
        self.landmarks.copy_(torch.from_numpy(chosen.padded(width)))
        self.lengths.copy_(torch.from_numpy(chosen.lengths))
        self.mean.copy_(distances.mean(dim=1))
        # If all sequences are about equally far from a landmark, a smaller deviation would only amplify noise.
        self.deviation.copy_(distances.std(dim=1, correction=0).clamp(min=1))
        self.reach.copy_(distances.amin(dim=0).quantile(USUAL))
        self.drawn = True

    def forward(self, tokens: Tensor) -> Tensor:
        """``(U, K)`` features of ``(U, L)`` tokens: ``<sos>``, codes, then padding.

        Raises:
            RuntimeError: If the landmarks are not drawn yet.
        """
        return ((self.distances(tokens) - self.mean) / self.deviation).to(self.mean.dtype)

    def distances(self, tokens: Tensor) -> Tensor:
        """``(U, K)`` float32 edit distances to the landmarks, in edits, of ``(U, L)`` tokens.

        Raises:
            RuntimeError: If the landmarks are not drawn yet.
        """
        if not self.drawn:
            raise RuntimeError(
                "Expected landmarks but none are drawn yet; call draw(sequences) with the training set, or train with an "
                "NWADataModule, which does so."
            )
        return landmark_distances(tokens, self.landmarks, self.lengths)

    def foreign(self, tokens: Tensor) -> Tensor:
        """``(U,)`` bool: true for sequences that are farther from every landmark than 99 % of the training sequences."""
        nearest: Tensor = self.distances(tokens).amin(dim=1)
        return nearest > self.reach

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.drawn = bool((self.lengths >= 0).all())


def warn_of_foreign(model: nn.Module, sequences: Sequences) -> None:
    """Warn if many sequences are far from all landmarks of a model: its distances are less exact for them."""
    sample = sequences.take(np.random.default_rng(0).permutation(len(sequences))[:SAMPLE])
    for module in model.modules():
        if not isinstance(module, Landmarks) or not len(sample):
            continue
        width = sample.max_length
        tokens = np.pad(sample.padded(width).astype(np.int64), ((0, 0), (1, 0)), constant_values=SOS)
        foreign = module.foreign(torch.from_numpy(tokens).to(module.lengths.device)).float().mean().item()
        if foreign > MANY:
            rank_zero_warn(
                f"{foreign:.0%} of the sequences are more than {module.reach:.0f} edits from every landmark, but only 1 % of "
                f"the training sequences were; their distances are less exact. Train on sequences such as these."
            )


def draw_landmarks(model: nn.Module, sequences: Sequences, seed: int) -> None:
    """Draw all landmarks of a model that are not drawn yet."""
    for module in model.modules():
        if isinstance(module, Landmarks) and not module.drawn:
            module.draw(sequences, seed)
