"""Reads, loaders, models and training runs as somebody without this package has them."""

import numpy as np
import oracle
import torch
from lightning.pytorch import LightningModule, Trainer
from quiet import QUIET_TRAINER
from torch import nn
from torch.nn.functional import mse_loss, one_hot

from nwa_lightning.nwa.functional import row_jsd

LENGTH, DIM = 32, 16


def random_reads(count, seed=0, shortest=20, longest=LENGTH):
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(list("ACGT"), size)) for size in generator.integers(shortest, longest + 1, count)]


def one_hot_letters(reads):
    """``(U, 32 * 5)``: their encoder gets no tokens of ours."""
    codes = torch.zeros(len(reads), LENGTH, dtype=torch.int64)
    for row, read in zip(codes, reads, strict=True):
        row[: len(read)] = torch.tensor(["ACGT".index(letter) + 1 for letter in read])
    return one_hot(codes, 5).float().flatten(1)


class Reads(LightningModule):
    """Embeds lists of strings; subclasses say what a batch is."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(LENGTH * 5, DIM)

    def embed(self, reads):
        return self.encoder(one_hot_letters(reads))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class PairModel(Reads):
    """Batches of an ordinary loader: (a, b, distance)."""

    def training_step(self, batch, batch_idx):
        first, second, distance = batch
        return mse_loss((self.embed(first) - self.embed(second)).norm(dim=1), distance / LENGTH)


class TripletModel(Reads):
    """Batches of (anchor, positive, negative): three calls of the encoder."""

    def training_step(self, batch):
        return nn.functional.triplet_margin_loss(*(self.embed(reads) for reads in batch))


class Classifier(Reads):
    """Batches of {"sequence": ..., "label": ...}, and a loss in a dict."""

    def __init__(self):
        super().__init__()
        self.classes = nn.Linear(DIM, 3)

    def training_step(self, batch, batch_idx):
        return {"loss": nn.functional.cross_entropy(self.classes(self.embed(batch["sequence"])), batch["label"])}


def pair_samples(count=48):
    reads = random_reads(2 * count)
    return [(one, two, oracle.edit_distance(one, two)) for one, two in zip(reads[::2], reads[1::2], strict=True)]


def term_of(nwa, embeddings, reads, pairs):
    """L_nw of ``embeddings``, one a read, with matrices from the slow recurrence."""
    size = max(map(len, reads)) + 1
    pairs = torch.as_tensor(pairs)
    matrices = torch.zeros(len(pairs), size, size, dtype=torch.int16)
    for matrix, (one, two) in zip(matrices, pairs.tolist(), strict=True):
        matrix[: len(reads[one]) + 1, : len(reads[two]) + 1] = torch.from_numpy(
            oracle.nw_matrix(reads[one], reads[two])
        )
    lengths = torch.tensor([len(read) for read in reads])
    inside = torch.arange(size) <= lengths[:, None]
    logits = nwa.head(embeddings, lengths, pairs, size)
    return row_jsd(logits, matrices, inside[pairs[:, 0]], inside[pairs[:, 1]]).mean()


def quiet_trainer(*callbacks, steps=4, **options):
    defaults = {**QUIET_TRAINER, "max_steps": steps, "max_epochs": -1, "limit_val_batches": 0}
    return Trainer(callbacks=list(callbacks), **{**defaults, **options})


def fit(model, data, *callbacks, steps=4, ckpt_path=None, **options):
    trainer = quiet_trainer(*callbacks, steps=steps, **options)
    trainer.fit(model, data, ckpt_path=ckpt_path)
    return trainer


def attach(callback, model):
    """The model, with the term in its step, as during fit."""
    callback.setup(quiet_trainer(), model, "fit")
    return model
