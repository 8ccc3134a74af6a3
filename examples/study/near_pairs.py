"""Near pairs in training (``--data.near``): is the nearest read found more often, and is the error of near pairs smaller?

Run it with ``python examples/study/near_pairs.py``, and with ``--table`` for the table of the finished cells. A row is an
encoder and its changes, joined by ``+``::

    landmarks, residual, pooled     examples/configs/landmarks.yaml, residual.yaml and pooled.yaml
    constant                the same distance for every pair
    v                       a quarter of each batch variants with up to 5 % edits (landmarks.yaml has them anyway)
    n0.25                   a fraction of 0.25 of each batch are near partners: copies with up to 5 % edits
    g0.25                   near partners are reads of the same cluster
    r0.98                   first radius of the sphere, for unrelated reads

The first cell of an encoder trains for the given CPU seconds; the time of a step is measured over 60 steps first. All other
cells of this encoder have as many steps. A step with near pairs takes 0.3 ms more.

Queries are the test reads, 1,500 of them; candidates are all other reads of the file. A query is a hit if one of its candidates
at rank 1, or among the first ten, is as near by exact edit distance as the nearest of all reads. ``--data`` is human16s, storage
with a size, or a file of clustered nanopore reads (columns cluster_index and read). Of the last two, no cluster is in two sets.
In the file, a query is also a hit if the first candidate is from its cluster. Settings are chosen on validation reads, whose
candidates are all reads but those of the test set. Finished cells are lines of the CSV file, so an interrupted study resumes.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
import torch
from baselines import fitting_batches
from finished import add_cell, find_cell, grouped, read_cells, spread, study_parser
from landmarks import QUIET, Clock, machine
from numpy.typing import NDArray

from nwa_lightning import EditDistanceModel, NWADataModule, Sequences
from nwa_lightning.cli.lightning_cli import NWACLI
from nwa_lightning.data.datasets import SingleSequences
from nwa_lightning.levenshtein import take_flat
from nwa_lightning.models.baselines import ConstantBaseline
from nwa_lightning.models.edit_distance import predictor
from nwa_lightning.models.metrics import evaluate

RESULTS: Final = Path(__file__).parents[1] / "results" / "near_pairs.csv"
CONFIGS: Final = Path(__file__).parents[1] / "configs"
CLUSTER: Final = "cluster_index"
QUERIES: Final = 1500
#: The most edits of a near pair; two copies of a storage strand have more than 10.
NEAR: Final = 10
NEAR_COPIES: Final = 40
METRICS: Final = ("nearest_1", "nearest_10", "rmse", "rmse_near", "cluster_1", "cluster_all")
COLUMNS: Final = (
    "data", "row", "budget", "seed", "steps", "seconds", *(f"val_{name}" for name in METRICS), *METRICS, "machine",
)  # fmt: skip


def options_of(row: str) -> list[str]:
    """The options of a row on the command line."""
    encoder, *changes = row.split("+")
    found = [f"--config={CONFIGS / encoder}.yaml"]
    for change in changes:
        letter, number = change[0], change[1:]
        if change == "v":
            found += ["--data.augment.fraction=0.25", "--data.augment.edits=0.05"]
        elif letter in "ng":
            found.append(f"--data.near.fraction={number}")
            if letter == "g":
                found.append(f"--data.near.group={CLUSTER}")
        elif letter == "r":
            found.append(f"--model.distance.radius={number}")
        else:
            raise SystemExit(f"{row}: expected changes such as v, n0.25, g0.25 or r0.98, found {change}")
    return found


def split_of(source: str) -> dict[str, Any]:
    """How the reads are split, as arguments of the data module."""
    if source.startswith("storage"):
        return {"split_by": "clusters", "split_identity": 0.75}
    return {"split_by": "content" if source == "human16s" else CLUSTER}


def build(row: str, source: str, seed: int, steps: int) -> NWACLI:
    """The model, data and trainer of ``nwa fit``, without folders for logs and checkpoints."""
    settings = {
        "seed_everything": seed,
        "data.data": source,
        "data.seed": seed,
        **{f"data.{name}": value for name, value in split_of(source).items()},
        "trainer.max_steps": steps,
        **QUIET,
    }
    # The config comes first: later options override it.
    return NWACLI(options_of(row) + [f"--{name}={value}" for name, value in settings.items()], run=False)


def steps_of(row: str, source: str, seed: int, seconds: float, cells: list[dict[str, str]]) -> int:
    """As many steps as the first cell of this encoder had, or as fit into the seconds."""
    encoder = row.split("+")[0]
    for cell in cells:
        if (cell["data"], cell["budget"]) == (name_of(source), f"{seconds:g}") and cell["row"].startswith(encoder):
            return int(cell["steps"])
    clock, cli = Clock(), build(row, source, seed, Clock.LAST)
    cli.trainer.callbacks.append(clock)
    cli.trainer.fit(cli.model, cli.datamodule)
    return round(seconds / clock.seconds_per_step)


def run_cell(row: str, source: str, seed: int, steps: int) -> dict[str, Any]:
    """Train and test one cell."""
    near = NEAR_COPIES if source.startswith("storage") else NEAR
    if row == "constant":
        data = NWADataModule(source, seed=seed, nwa_batch_size=0, **split_of(source))
        predict = ConstantBaseline().fit(fitting_batches(data))
        found = {"steps": 0, "seconds": 0}
        for sign, loader in ("val_", data.val_dataloader()), ("", data.test_dataloader()):
            errors = evaluate(predict, loader, near)
            found |= {f"{sign}rmse": errors["rmse"], f"{sign}rmse_near": errors["rmse_homologous"]}
        return rounded(found)
    cli = build(row, source, seed, steps)
    start = time.process_time()
    cli.trainer.fit(cli.model, cli.datamodule)
    found: dict[str, Any] = {"steps": steps, "seconds": round(time.process_time() - start, 1)}
    model, data = cli.model.eval(), cli.datamodule
    every = data.sequences.unique()
    tested = np.isin(every.hashes, data.split.test.hashes)
    loaders = data.val_dataloader, data.test_dataloader
    candidates = every.take(np.flatnonzero(~tested)), every
    for sign, part, loader, targets in zip(
        ("val_", ""), (data.split.val, data.split.test), loaders, candidates, strict=True
    ):
        errors = evaluate(predictor(model), loader(), near)
        hits = retrieval(model, part.take(np.arange(min(QUERIES, len(part)))), targets)
        found |= {f"{sign}{name}": value for name, value in hits.items()}
        found |= {f"{sign}rmse": errors["rmse"], f"{sign}rmse_near": errors["rmse_homologous"]}
    return rounded(found)


def rounded(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a cell; empty for those that it has not."""
    shown = {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
    return dict.fromkeys(COLUMNS[4:-1], "") | shown


def retrieval(model: EditDistanceModel, queries: Sequences, targets: Sequences) -> dict[str, float | str]:
    """Queries whose nearest target, or a read of their cluster, is found, in %.

    Args:
        model: A trained model.
        queries: Q reads, all of them among the targets.
        targets: N different reads; a query is no candidate for itself.

    Returns:
        ``nearest_1``, ``nearest_10``: queries with a nearest target by edit distance at rank 1, or among the first ten.
        ``cluster_1``: queries whose first candidate is of their cluster; ``cluster_all``: of the k other members of a query's
        cluster, how many are among its first k candidates. Empty without clusters.
    """
    order = np.argsort(targets.hashes)
    rows = order[np.searchsorted(targets.hashes[order], queries.hashes)]
    letters = take_flat(targets.bases.flat, targets.bases.starts, targets.lengths)
    singles = SingleSequences(targets, 500)
    with torch.inference_mode():
        embeddings = torch.cat([model(singles[number].tokens) for number in range(len(singles))])
    columns, names = np.arange(len(targets)), None
    if targets.groups is not None:
        _, names = np.unique(list(targets.groups), return_inverse=True)
    found: list[NDArray[np.float64]] = []
    for part in np.array_split(rows, -(-len(rows) // 100)):
        edits = letters.block(part, columns)
        with torch.inference_mode():
            distances = model.distance.all_pairs(embeddings[part], embeddings).numpy()
        here = np.arange(len(part)), part
        edits[here], distances[here] = np.iinfo(np.int32).max, np.inf
        ranked = np.argsort(distances, axis=1, kind="stable")
        near = np.take_along_axis(edits, ranked[:, :10], axis=1) == edits.min(axis=1, keepdims=True)
        kinds = [near[:, 0], near.any(axis=1)]
        if names is not None:
            its = names[ranked] == names[part, None]
            count = (names == names[part, None]).sum(axis=1) - 1
            first = np.arange(len(targets)) < count[:, None]
            kinds += [its[:, 0], (its & first).sum(axis=1) / np.maximum(count, 1)]
        found.append(np.stack(kinds, axis=1).astype(np.float64))
    means = [float(value) for value in 100 * np.concatenate(found).mean(axis=0)]
    return dict(zip(("nearest_1", "nearest_10", "cluster_1", "cluster_all"), [*means, "", ""][:4], strict=True))


def name_of(source: str) -> str:
    """The name of a set or a file, without its folder."""
    return Path(source).name


def table(cells: list[dict[str, str]]) -> str:
    """Markdown: mean and standard deviation over the seeds; test reads, and the validation reads by which one chooses."""
    shown = ("val_nearest_1", "val_rmse_near", *METRICS)
    lines = ["| data | row | seeds | steps | s | " + " | ".join(shown) + " |"]
    lines.append("| --- | --- | ---: | ---: | ---: |" + " ---: |" * len(shown))
    for (data, _, row), group in grouped(cells, "data", "budget", "row").items():
        steps, seconds = (fmean(float(cell[name]) for cell in group) for name in ("steps", "seconds"))
        numbers = f"{len(group)} | {steps:,.0f} | {seconds:.0f}"
        lines.append(f"| {data} | {row} | {numbers} | " + " | ".join(spread(group, name) for name in shown) + " |")
    return "\n".join(lines)


def main() -> None:
    rows = [f"landmarks{change}" for change in ("", "+n0.25", "+n0.5")]
    rows += [f"residual{change}" for change in ("", "+v", "+n0.25", "+n0.5", "+v+n0.25")]
    parser = study_parser(__doc__, rows=rows, seconds=60, out=RESULTS)
    parser.add_argument("--data", default="human16s", help="human16s, storage, or a file of clustered nanopore reads")
    options = parser.parse_args()
    if options.table:
        print(table(read_cells(options.out)))
        return
    torch.set_num_threads(1)
    source = options.data
    for seed in options.seeds:
        for row in options.rows:
            about = {"data": name_of(source), "row": row, "budget": f"{options.seconds:g}", "seed": seed}
            cells = read_cells(options.out)
            if find_cell(cells, about):
                continue
            steps = 0 if row == "constant" else steps_of(row, source, seed, options.seconds, cells)
            cell = about | run_cell(row, source, seed, steps) | {"machine": machine()}
            add_cell(options.out, COLUMNS, cell)
            hits = f"nearest read found {cell['nearest_1']} %, within ten {cell['nearest_10']} %"
            print(f"{row} seed {seed}: {hits}, RMSE {cell['rmse']:.3f}, near pairs {cell['rmse_near']:.3f}", flush=True)


if __name__ == "__main__":
    main()
