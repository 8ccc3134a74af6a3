"""Does NWA put alignment into the embedding space of a model that is trained on labels, not on edit distance?

A ResidualCNN learns to tell bacterial families apart, with and without NWA. Its embeddings are then evaluated on unseen
families: the Spearman correlation of embedding distance and edit distance over all pairs of reads, how often the nearest read is
a truly nearest one, and how often it is of the right family. Settings are chosen on validation families; the table reports
test families. All rows train for the same CPU seconds of one thread; imports and evaluation are not counted::

    python -m pip install --no-deps qiime-default-reference      # Greengenes 13_8, CC BY-SA
    python examples/study/labels.py
    python examples/study/labels.py --fast                       # simulated families, 2 s a row

A row is ``random``, ``untrained``, ``kmer``, a loss (``plain``: classifier, ``triplet``, ``edits``: edit distance) or a loss
and a term, such as ``triplet+nwa``; ``nwa`` is short for ``plain+nwa``. Options of a term: ``-w`` its weight (lambda), ``-k``
computes it in every k-th step, ``-n`` reads of a batch that feed it; ``-s`` its own number of CPU seconds. Finished cells are
lines of the CSV file: later runs resume.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from finished import add_cell, find_cell, read_cells
from greengenes import Families, load_greengenes, simulate_families, split_families
from labels_report import labels_figure, labels_table, machine
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from nwa_lightning import InputError, KmerEncoder, Muon, NWAHead, NWALoss, ResidualCNN, edit_distances, pair_batch

LENGTH: Final = 150
DIMENSION: Final = 128
BATCH: Final = 64
WEIGHT, EVERY, READS = 0.03, 4, 6  # of a term, where a row does not say
GROUP, MARGIN = 4, 0.2  # triplet loss: reads per family in a batch, and the margin
JUDGED: Final = 1000  # reads of the validation and of the test families, with all their pairs
NO_PAIRS: Final = np.empty((0, 2), dtype=np.int64)
UNTRAINED: Final = ("random", "untrained", "kmer")
LOSSES: Final = ("plain", "triplet", "edits")
DEFAULT_ROWS: Final = [
    *UNTRAINED, "plain", "nwa-w0.03", "nwa-w0.1", "diagonal-w0.1", "autoencoder-w1", "autoencoder-w10", "edits", "triplet",
    "triplet+nwa-w0.03", "plain-s30", "nwa-w0.01", "nwa-w0.3", "nwa-w1", "nwa-w0.03-k1", "nwa-w0.1-k1", "nwa-w0.1-k8",
    "nwa-w0.1-n4", "nwa-w0.1-n8",
]  # fmt: skip
#: Of Muon: the best for ``plain`` on the validation families, of 0.003 and 0.01 (and of 0.001 and 0.003 with Adam).
LEARNING_RATE: Final = 0.003
RUN: Final = ("data", "budget")
FIGURES: Final = ("spearman", "nearest", "family")
JUDGEMENTS: Final = tuple(f"{part}_{name}" for part in ("test", "val") for name in FIGURES)
COLUMNS: Final = (*RUN, "row", "seed", *JUDGEMENTS, "l_nw", "accuracy", "steps", "seconds")


class Row(NamedTuple):
    """The training of a row of the table."""

    name: str
    loss: str
    term: str
    weight: float
    every: int
    reads: int
    #: CPU seconds of training, where they are not those of the other rows.
    seconds: float

    @classmethod
    def parse(cls, name: str) -> Row:
        """Read a name such as ``plain``, ``nwa-w0.1-k4-n8`` or ``triplet+nwa-w0.1``."""
        found = re.fullmatch(
            r"([a-z]+)(?:\+([a-z]+))?(?:-w(\d*\.?\d+))?(?:-k([1-9]\d*))?(?:-n(\d+))?(?:-s(\d+))?", name
        )
        loss, term, weight, every, reads, seconds = found.groups() if found else ("", *[None] * 5)
        if term is None and loss in TERMS:
            loss, term = ("edits" if loss == "edits" else "plain"), loss
        if loss not in (*UNTRAINED, *LOSSES) or (term is not None and term not in TERMS):
            raise InputError(
                f"{name}: expected {', '.join(UNTRAINED)}, a loss ({', '.join(LOSSES)}), a term ({', '.join(TERMS)}) or "
                f"loss+term, and perhaps -w, -k and -n with numbers, such as nwa-w0.1-k4-n8"
            )
        return cls(
            name,
            loss,
            term or "",
            float(weight or WEIGHT),
            int(every or EVERY),
            int(reads or READS),
            float(seconds or 0),
        )


class NWATerm(nn.Module):
    """NWA on the first reads of a batch; as a control, with a target that does not depend on the reads."""

    def __init__(self, row: Row, *, diagonal: bool = False) -> None:
        super().__init__()
        self.reads, self.diagonal = row.reads, diagonal
        self.nwa = NWALoss(DIMENSION, LENGTH, weight=row.weight, every=row.every)

    def forward(self, embeddings: Tensor, reads: list[str], tokens: Tensor) -> Tensor:
        pairs = pair_batch(reads[: self.reads], nwa_batch_size=self.reads)
        if self.diagonal:
            place = torch.arange(pairs.nw.shape[1], dtype=pairs.nw.dtype)
            pairs = pairs._replace(nw=-(place[:, None] - place).abs().expand_as(pairs.nw))
        term: Tensor = self.nwa(embeddings[: self.reads], pairs)
        return term


class Reconstruction(nn.Module):
    """Control: a decoder like that of NWA finds the letters of the first reads from their embeddings."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row, self.step = row, 0
        self.head = NWAHead(DIMENSION, LENGTH)
        self.letters = nn.Linear(self.head.query.in_features, 6)  # padding, <sos>, A, C, G, T

    def forward(self, embeddings: Tensor, reads: list[str], tokens: Tensor) -> Tensor:
        self.step += 1
        if (self.step - 1) % self.row.every:
            return embeddings.new_zeros(())
        seen = tokens[: self.row.reads]
        decoded = self.head.decode(embeddings[: len(seen)], torch.full((len(seen),), LENGTH), LENGTH + 1)
        error = cross_entropy(self.letters(decoded[:, 1:]).flatten(0, 1), seen[:, 1:].flatten())
        return self.row.weight * self.row.every * error


class EditError(nn.Module):
    """Ceiling: squared error of the scaled distance against the edit distance, as fractions of the length, over all pairs."""

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.weight = row.weight
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.pairs = np.stack(np.triu_indices(BATCH, 1), axis=1)

    def forward(self, embeddings: Tensor, reads: list[str], tokens: Tensor) -> Tensor:
        truth = torch.from_numpy(edit_distances(reads, self.pairs) / LENGTH).float()
        predicted = self.scale * cosine_distances(embeddings)[self.pairs[:, 0], self.pairs[:, 1]]
        return self.weight * (predicted - truth).square().mean()


TERMS: Final[dict[str, Callable[[Row], nn.Module]]] = {
    "nwa": NWATerm,
    "diagonal": lambda row: NWATerm(row, diagonal=True),
    "autoencoder": Reconstruction,
    "edits": EditError,
}


class Model(nn.Module):
    """Encoder, classifier and term of a row; ``forward`` returns the loss, the term in it, and the classifier's accuracy."""

    def __init__(self, row: Row, families: int) -> None:
        super().__init__()
        self.row = row
        self.encoder = ResidualCNN(LENGTH, DIMENSION)
        self.classifier = nn.Linear(DIMENSION, families) if row.loss == "plain" else None
        self.term = TERMS[row.term](row) if row.term else None

    def forward(self, reads: list[str], tokens: Tensor, family: Tensor) -> tuple[Tensor, float, float]:
        embeddings = self.encoder(tokens)
        loss, accuracy = embeddings.new_zeros(()), float("nan")
        if self.classifier is not None:
            logits = self.classifier(embeddings)
            loss, accuracy = cross_entropy(logits, family), float((logits.argmax(dim=1) == family).float().mean())
        elif self.row.loss == "triplet":
            # The farthest read of the family against the nearest one of another family.
            distance, same = cosine_distances(embeddings), family[:, None] == family
            farthest, nearest = distance.masked_fill(~same, -1).amax(dim=1), distance.masked_fill(same, 3).amin(dim=1)
            loss = (farthest - nearest + MARGIN).relu().mean()
        term = loss.new_zeros(()) if self.term is None else self.term(embeddings, reads, tokens)
        return loss + term, float(term.detach()), accuracy


def cosine_distances(embeddings: Tensor) -> Tensor:
    unit = normalize(embeddings)
    return 1 - unit @ unit.T


def draw(family: NDArray[np.int64], loss: str, generator: np.random.Generator) -> NDArray[np.int64]:
    """Rows of a batch: any reads, or for the triplet loss GROUP reads of each of some families, shuffled."""
    if loss != "triplet":
        return generator.choice(len(family), BATCH, replace=False)
    families = generator.choice(int(family.max()) + 1, BATCH // GROUP, replace=False)
    members = [generator.choice(np.flatnonzero(family == one), GROUP, replace=False) for one in families]
    return generator.permutation(np.concatenate(members))


def train(row: Row, data: Families, seed: int, budget: float) -> tuple[nn.Module, dict[str, Any]]:
    """Train for some CPU seconds; the learning rate warms up, then falls along half a cosine of the time."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = Model(row, len(data.names))
    if row.loss in UNTRAINED:
        return KmerEncoder(LENGTH, None, k=4) if row.loss == "kmer" else model.encoder, {}
    tokens, family = pair_batch(data.reads, NO_PAIRS).tokens, torch.from_numpy(data.family)
    optimizer = Muon(model.parameters(), lr=LEARNING_RATE)
    divergences, accuracies, steps = [], [], 0
    start = time.process_time()
    while (done := (time.process_time() - start) / budget) < 1:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, done / 0.05 + 0.01) * (0.5 + 0.5 * np.cos(np.pi * done))
        rows = draw(data.family, row.loss, generator)
        loss, term, accuracy = model([data.reads[k] for k in rows.tolist()], tokens[rows], family[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracies.append(accuracy)
        if isinstance(model.term, NWATerm) and steps % row.every == 0:
            divergences.append(term / (row.weight * row.every or 1))
        steps += 1
    found = {"accuracy": 100 * np.mean(accuracies[-100:]), "steps": steps, "seconds": time.process_time() - start}
    return model.encoder, found | ({"l_nw": np.mean(divergences[-20:])} if divergences else {})


def mean_ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Ranks for Spearman's correlation; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - counts / 2)[place]


@torch.no_grad()
def judge(encoder: nn.Module | None, data: Families, edits: NDArray[np.int32]) -> dict[str, float]:
    """Evaluate the embeddings of an encoder, or random embeddings, against the edit distances."""
    tokens = pair_batch(data.reads, NO_PAIRS).tokens
    parts = [torch.randn(len(part), DIMENSION) if encoder is None else encoder(part) for part in tokens.split(250)]
    distance = cosine_distances(torch.cat(parts).double())
    one, two = np.triu_indices(len(distance), 1)
    correlation = np.corrcoef(mean_ranks(distance[one, two].numpy()), mean_ranks(edits[one, two]))[0, 1]
    chosen = distance.fill_diagonal_(torch.inf).argmin(dim=1).numpy()
    others = edits + np.diag(np.full(len(edits), LENGTH + 1))  # no read is its own neighbour
    nearest = others[np.arange(len(others)), chosen] == others.min(axis=1)
    right = data.family[chosen] == data.family
    return dict(zip(FIGURES, (correlation, 100 * nearest.mean(), 100 * right.mean()), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=DEFAULT_ROWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of weights and batches")
    parser.add_argument("--seconds", type=float, default=60.0, dest="budget", help="CPU seconds of training per cell")
    parser.add_argument("--data", choices=("greengenes", "simulated"), default="greengenes")
    parser.add_argument("--greengenes", type=Path, help="folder or source archive, if the package is not installed")
    parser.add_argument("--fast", action="store_true", help="quick check: simulated families, 2 s, one seed")
    parser.add_argument("--out", type=Path, default=Path("examples/results/labels.csv"))
    parser.add_argument("--tables", action="store_true", help="train nothing; only report finished cells")
    options = parser.parse_args()
    if options.fast:
        options.data, options.budget, options.seeds = "simulated", min(2.0, options.budget), options.seeds[:1]
    try:
        cells = [(Row.parse(name), seed) for seed in options.seeds for name in options.rows]
        families = simulate_families() if options.data == "simulated" else load_greengenes(options.greengenes)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    torch.set_num_threads(1)
    split = split_families(families)
    judged = {part: getattr(split, part).sample(JUDGED) for part in ("test", "val")}
    edits = {part: edit_distances(data.reads) for part, data in judged.items()}
    run = {name: str(getattr(options, name)) for name in RUN}
    # A progress bar that refreshes itself would use CPU seconds of the training.
    for row, seed in track([] if options.tables else cells, f"{len(cells)} cells", auto_refresh=False):
        about = {**run, "row": row.name, "seed": seed}
        if find_cell(read_cells(options.out), about) is None:
            encoder, found = train(row, split.train, seed, row.seconds or options.budget)
            for part, data in judged.items():
                figures = judge(None if row.loss == "random" else encoder.eval(), data, edits[part])
                found |= {f"{part}_{name}": value for name, value in figures.items()}
            add_cell(options.out, COLUMNS, about | found)
    done = [line for line in read_cells(options.out) if run.items() <= line.items()]
    lines = [line for line in done if int(line["seed"]) in options.seeds]
    table = labels_table(lines, options.rows, COLUMNS[COLUMNS.index("seed") + 1 :])
    options.out.with_suffix(".md").write_text(f"{table}\n\n`python {' '.join(sys.argv)}`; {machine()}\n")
    labels_figure(lines, options.rows).savefig(options.out.with_suffix(".png"), dpi=100)
    print(table)


if __name__ == "__main__":
    main()
