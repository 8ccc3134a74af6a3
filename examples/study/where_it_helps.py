"""Where might NWA help, if not in the plain error? One table: without NWA, as published, and other ways to apply it.

Run it with ``python examples/study/where_it_helps.py``. Every cell trains one encoder from one seed on 1,000 sequences. It is
measured on the test set of these sequences and, with the same weights, on the test set of another, unseen set. Each finished
cell is a line of the CSV file, so interrupted runs resume. A table next to that file has the mean and standard deviation over
seeds, and the change against the same training without NWA.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import time
import warnings
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from finished import add_cell, find_cell, read_cells
from lightning.pytorch import Callback, Trainer, seed_everything
from reproduce import fitted
from reproduce_tables import spread, verdict
from rich.progress import track
from torch import Tensor

from nwa_lightning import (
    EditDistanceModel,
    Encoder,
    NeuroSEEDCNN,
    NeuroSEEDTransformer,
    NWADataModule,
    NWAWeightSchedule,
    PairBatch,
)
from nwa_lightning.models.edit_distance import PUBLISHED, predictor
from nwa_lightning.models.metrics import LengthRMSE, evaluate

TRAIN_SIZE = 1000
#: Sets that stand for one another's unknown: real reads, and strands of DNA storage with their noisy copies.
SETS = ("human16s", "storage")
MAX_LENGTH = 160
#: Standard deviation of the error of a noisy label, in edits.
NOISE = 15.0
ENCODERS: dict[str, type[Encoder]] = {"transformer": NeuroSEEDTransformer, "cnn": NeuroSEEDCNN}
#: Part of each encoder that a map can be drawn from, its channels, and the weight that was best on validation sets.
FEATURES: dict[str, tuple[str, int, float]] = {
    "transformer": ("encoder.features", 16, 1e-3),
    "cnn": ("encoder.features.11", 64, 1e-3),
}
#: Baselines with one fitted line, by their names in ``reproduce.py``; without labels that are noisy.
BASELINES = {"constant": "constant", "k-mer, cosine": "kmer_cosine"}
BASELINE_CONDITIONS = ("plain", "trained on storage")
#: What is other than usual, by its name: training set, dimension of the embeddings, error of the labels in edits.
CONDITIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noisy labels": {"noise": NOISE},
    "m = 16": {"dim": 16},
    "m = 32": {"dim": 32},
    "trained on storage": {"data": "storage"},
}
#: The ways to apply NWA that are tried under every condition, and those tried under the first one only.
TERMS = ("without", "published", "features")
MORE_TERMS = ("early", "projected")
#: A stronger lambda of the published term: a hundred times that of the paper.
STRONG = 1e-3

FIGURES = ("rmse", "rmse_homologous", "near", "top1", "elsewhere", "seconds")
COLUMNS = ("encoder", "condition", "term", "seed", "steps", *FIGURES)


class NoisyLabels(NWADataModule):
    """Adds a normal error to the edit distances of training pairs, never below 0; validation and test stay exact."""

    def __init__(self, *args: Any, noise: float, seed: int, **kwargs: Any) -> None:
        super().__init__(*args, seed=seed, **kwargs)
        self.noise = noise
        self.generator = torch.Generator().manual_seed(seed)

    def on_before_batch_transfer(self, batch: PairBatch, dataloader_idx: int) -> PairBatch:
        if not (self.noise and self.trainer is not None and self.trainer.training):
            return batch
        error = self.noise * torch.randn(len(batch.distance), generator=self.generator)
        return batch._replace(distance=(batch.distance + error.round().long()).clamp(min=0))


class ProjectedModel(EditDistanceModel):
    """Removes from the term's gradient, embedding by embedding, the part that opposes the gradient of the encoder loss.

    After "Gradient surgery" (Yu et al., 2020), which projects the gradients of both losses; here only the term is projected.
    """

    def nwa_loss(self, embeddings: Tensor, batch: PairBatch, encoder_loss: Tensor | None = None) -> Tensor:
        assert encoder_loss is not None
        (wanted,) = torch.autograd.grad(encoder_loss, embeddings, retain_graph=True)

        def project(gradient: Tensor) -> Tensor:
            against = (gradient * wanted).sum(dim=1, keepdim=True).clamp(max=0)
            return gradient - against / wanted.square().sum(dim=1, keepdim=True).clamp(min=1e-30) * wanted

        seen = embeddings.clone()
        seen.register_hook(project)
        return super().nwa_loss(seen, batch, encoder_loss)


def build(encoder: str, term: str, dim: int) -> EditDistanceModel:
    made = ENCODERS[encoder](max_length=MAX_LENGTH, embedding_dim=dim)  # type: ignore[call-arg]
    if term == "features":
        part, channels, weight = FEATURES[encoder]
        return EditDistanceModel(made, nwa_weight=weight, nwa_features=part, nwa_channels=channels, **PUBLISHED)
    model = ProjectedModel if term == "projected" else EditDistanceModel
    weights = {"without": None, "published": 1e-5, "early": STRONG, "projected": STRONG}
    return model(made, nwa_weight=weights[term], **PUBLISHED)


def cell(encoder: str, condition: str, term: str, seed: int, steps: int) -> dict[str, Any]:
    unusual = CONDITIONS[condition]
    here = unusual.get("data", SETS[0])
    start = time.process_time()
    if encoder in BASELINES:
        data = NWADataModule(here, seed=seed, train_size=TRAIN_SIZE, nwa_batch_size=0)
        predict: Any = fitted(BASELINES[encoder], data)
    else:
        predict = trained(encoder, here, unusual, term, seed, steps)
    seconds = time.process_time() - start
    batches = test_batches(here, seed)
    found = evaluate(predict, batches)
    near = LengthRMSE(10)
    for batch in batches:
        near.update(predict(batch), batch.distance, batch.longest)
    return dict(
        zip(COLUMNS, (encoder, condition, term, seed, steps), strict=False),
        rmse=found["rmse"],
        rmse_homologous=found["rmse_homologous"],
        near=float(near.compute()),
        top1=top1(predict, batches),
        elsewhere=evaluate(predict, test_batches(SETS[1 - SETS.index(here)], seed))["rmse"],
        seconds=seconds,
    )


def trained(encoder: str, here: str, unusual: dict[str, Any], term: str, seed: int, steps: int) -> Any:
    """Train a model; returns a function that predicts edit distances."""
    seed_everything(seed, verbose=False)
    data = NoisyLabels(
        here,
        seed=seed,
        train_size=TRAIN_SIZE,
        noise=unusual.get("noise", 0.0),
        nwa_batch_size={"without": 0, "features": 16}.get(term, 8),
        nwa_kind="best_through" if term == "features" else "prefix",
    )
    model = build(encoder, term, unusual.get("dim", 128))
    # The whole weight for a quarter of the steps, none from the middle on.
    callbacks: list[Callback] = [NWAWeightSchedule(hold=steps // 4, decay=steps // 4)] if term == "early" else []
    trainer = Trainer(
        max_steps=steps,
        max_epochs=-1,
        limit_val_batches=0,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(model, data)
    return predictor(model.eval())


@lru_cache(maxsize=len(SETS))
def test_batches(name: str, seed: int) -> list[PairBatch]:
    """The test set, with the same split for every cell of a seed."""
    return list(NWADataModule(name, seed=seed, train_size=TRAIN_SIZE).test_dataloader())


def top1(predict: Any, batches: list[PairBatch]) -> float:
    """Percent of sequences whose predicted nearest neighbour in their group is one of the true nearest neighbours."""
    right = total = 0
    for batch in batches:
        count = len(batch.tokens)
        tables = []
        for values in (predict(batch), batch.distance.float()):
            table = torch.full((count, count), torch.inf)
            one, two = batch.pairs.T
            table[one, two] = table[two, one] = values
            tables.append(table)
        chosen = tables[0].argmin(dim=1, keepdim=True)
        right += int((tables[1].gather(1, chosen)[:, 0] == tables[1].amin(dim=1)).sum())
        total += count
    return 100 * right / total


def report(rows: list[dict[str, Any]], steps: int) -> str:
    """The table, a line per encoder, condition and term."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        if int(row["steps"]) == steps:
            groups[row["encoder"], row["condition"], row["term"]].append(row)
    heads = [
        "encoder",
        "condition",
        "NWA",
        "seeds",
        "RMSE %",
        "at ED <= 40",
        "at ED <= 10",
        "top-1 %",
        "other set",
        "s",
    ]
    heads += ["RMSE less that without", "other set, less that without"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    for (encoder, condition, term), found in sorted(groups.items(), key=lambda item: item[0][0] not in BASELINES):
        line = [encoder, condition, term, str(len(found))]
        line += [spread([float(row[name]) for row in found]) for name in FIGURES]
        plain = {row["seed"]: row for row in groups.get((encoder, condition, "without"), [])}
        for name in ("rmse", "elsewhere"):
            both = [row for row in found if row["seed"] in plain and term != "without"]
            pair = [float(row[name]) for row in both], [float(plain[row["seed"]][name]) for row in both]
            line.append(verdict(*pair) if both else "")
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS))
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("examples/results/where_it_helps.csv"))
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec")  # Lightning 2.6 on torch 2.13

    wanted = [
        (baseline, condition, "without", seed, options.steps)
        for seed, baseline, condition in itertools.product(range(options.seeds), BASELINES, BASELINE_CONDITIONS)
    ]
    wanted += [
        (encoder, condition, term, seed, options.steps)
        for seed, encoder, condition in itertools.product(range(options.seeds), options.encoders, options.conditions)
        for term in (*TERMS, *(MORE_TERMS if condition == "plain" else ()))
    ]
    for key in track(wanted, f"training {len(wanted)} cells"):
        if find_cell(read_cells(options.out), dict(zip(COLUMNS, key, strict=False))) is None:
            add_cell(options.out, COLUMNS, cell(*key))
    text = report(read_cells(options.out), options.steps)
    options.out.with_suffix(".md").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
