"""Protein families: models of the alignment score under BLOSUM62, against k-mers, at equal seconds of one core.

Run it with ``python examples/study/protein.py`` for simulated families, and with ``--table`` for the table. Real hemopexin-like
repeats, of HomFam (Sievers et al., 2011, doi 10.1038/msb.2011.75), come with the package pyfamsa::

    pip install pyfamsa
    python examples/study/protein.py --data "$(python -c 'import pyfamsa; print(*pyfamsa.__path__)')/tests/data/hemopexin.faa"

There, no test sequence has an identity of 70 % or more with a training sequence.

A simulated ancestor has 80 to 250 residues drawn by their frequencies in proteins (Robinson and Robinson, 1991, doi
10.1073/pnas.88.20.8880). A member has 5 to 60 % of its residues drawn again: a becomes b with a probability in proportion to
q_b exp(S_ab ln(2) / 2), q_b the frequency of b and S_ab the score of BLOSUM62, in half bits (Henikoff and Henikoff, 1992, doi
10.1073/pnas.89.22.10915). A twentieth as many are deleted, and as many inserted. All members of a family are in one set.

Rows are those of ``landmarks.py``, and ``kmer2``: counts of pairs of residues and the best of three distances, by validation.
Finished cells are lines of the CSV file.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from baselines import best_kmers, fitting_batches
from finished import finish_cells, read_cells, study_parser, table
from landmarks import ENCODERS, machine, train_cell

from nwa_lightning import NWADataModule, Scoring
from nwa_lightning.models.baselines import ConstantBaseline
from nwa_lightning.models.edit_distance import predictor
from nwa_lightning.models.metrics import evaluate
from nwa_lightning.sequences.alphabet import PROTEIN

RESULTS: Final = Path(__file__).parents[1] / "results" / "protein.csv"
ENCODERS |= {"pooled": ["--model.encoder=PooledCNN"]}
ROWS: Final = ("constant", "kmer1", "kmer2", "pooled", "pooled+nwa+s5", "pooled+l128", "counts+k2", "counts+k2+l128")
METRICS: Final = ("val_rmse", "rmse", "rmse_score", "spearman")
#: Columns of the table, and their titles.
KEYS: Final = {"data": "data", "budget": "s", "row": "row"}
SHOWN: Final = {"rmse": "RMSE %", "rmse_score": "in units of the score", "spearman": "Spearman"}
COLUMNS: Final = ("data", "row", "budget", "seed", "steps", "seconds", *METRICS, "machine")
#: Percent of the residues of proteins.
FREQUENCIES: Final = {
    "A": 7.805, "C": 1.925, "D": 5.364, "E": 6.295, "F": 3.856, "G": 7.377, "H": 2.199, "I": 5.142, "K": 5.744, "L": 9.019,
    "M": 2.243, "N": 4.487, "P": 5.203, "Q": 4.264, "R": 5.129, "S": 7.120, "T": 5.841, "V": 6.441, "W": 1.330, "Y": 3.216,
}  # fmt: skip
SETTINGS: Final[dict[str, Any]] = {
    "alphabet": "protein",
    "target": "score",
    "substitution": "BLOSUM62",
    "gap": -11,
    "gap_extend": -1,
    "on_invalid": "drop",
}


def write_families(path: Path, families: int, members: int) -> None:
    """Write a FASTA file of families, with ``family=...`` in the headers."""
    generator = np.random.default_rng(0)
    letters = np.array(list(FREQUENCIES))
    frequencies = np.array(list(FREQUENCIES.values())) / sum(FREQUENCIES.values())
    codes = [PROTEIN.codes[ord(letter)] for letter in letters]
    scores = Scoring.named("BLOSUM62", PROTEIN).substitution[np.ix_(codes, codes)]
    exchanges = frequencies * np.exp(scores * np.log(2) / 2)
    edges = np.cumsum(exchanges / exchanges.sum(axis=1, keepdims=True), axis=1)
    edges[:, -1] = 1
    lines = []
    for family in range(families):
        ancestor = generator.choice(20, generator.integers(80, 251), p=frequencies)
        for _ in range(members):
            rate = generator.uniform(0.05, 0.6)
            drawn = (edges[ancestor] < generator.random((len(ancestor), 1))).sum(axis=1)
            member = np.where(generator.random(len(ancestor)) < rate, drawn, ancestor)
            member = member[generator.random(len(member)) >= rate / 20]
            places = np.flatnonzero(generator.random(len(member)) < rate / 20)
            member = np.insert(member, places, generator.choice(20, len(places), p=frequencies))
            lines.append(f">{len(lines)} family={family}\n{''.join(letters[member])}\n")
    path.write_text("".join(lines))


def run_cell(row: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train and test one cell."""
    settings = SETTINGS | options.split
    if row.startswith(("constant", "kmer")):
        data = NWADataModule(str(options.data), seed=seed, nwa_batch_size=0, **settings)
        start = time.process_time()
        predict = baseline(row, data)
        steps, seconds = 0, time.process_time() - start
    else:
        more = [f"--data.{name}={value}" for name, value in settings.items()]
        cli, steps, seconds = train_cell(row, options, seed, *more)
        predict, data = predictor(cli.model.eval()), cli.datamodule
    target = target_of(data)
    found = {"val_rmse": evaluate(predict, data.val_dataloader(), **target)["rmse"]}
    found |= evaluate(predict, data.test_dataloader(), **target)
    return {"steps": steps, "seconds": round(seconds, 1)} | {name: round(found[name], 4) for name in METRICS}


def baseline(row: str, data: NWADataModule) -> Any:
    """A predictor that is fitted without training."""
    if row == "constant":
        return ConstantBaseline().fit(fitting_batches(data))
    return best_kmers(data, int(row.removeprefix("kmer")), **target_of(data))


def target_of(data: NWADataModule) -> dict[str, Any]:
    """The target and its scale, as ``evaluate`` takes them."""
    return {"target": data.target, "scale": data.target_scale / data.max_length}


def main() -> None:
    parser = study_parser(__doc__, rows=ROWS, seconds=40, out=RESULTS)
    parser.add_argument("--data", type=Path, help="a file of proteins, instead of simulated families")
    parser.add_argument("--families", type=int, default=200)
    parser.add_argument("--members", type=int, default=15)
    options = parser.parse_args()
    if options.table:
        print(table(read_cells(options.out), KEYS, SHOWN))
        return
    torch.set_num_threads(1)
    options.train_size = None
    simulated = options.data is None
    name = f"families:{options.families}x{options.members}" if simulated else options.data.name
    options.split = {"split_by": "family"} if simulated else {"split_by": "clusters", "split_identity": 0.7}
    with tempfile.TemporaryDirectory() as folder:
        if simulated:
            options.data = Path(folder) / "proteins.fasta"
            write_families(options.data, options.families, options.members)

        def about(row: str, seed: int) -> dict[str, Any]:
            budget = "" if row.startswith(("constant", "kmer")) else f"{options.seconds:g}"
            return {"data": name, "row": row, "budget": budget, "seed": seed}

        def run(row: str, seed: int) -> dict[str, Any]:
            return run_cell(row, options, seed) | {"machine": machine()}

        finish_cells(options, COLUMNS, about, run)


if __name__ == "__main__":
    main()
