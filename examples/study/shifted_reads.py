"""Reads that start anywhere: a random part of each sequence of a set, so that alignments leave the diagonal.

Such reads come from randomly cut amplicons, or from primers at different places. ``python examples/study/shifted_reads.py``
writes them; ``nwa fit --data.data shifted.fasta.gz`` and ``reproduce.py --data shifted.fasta.gz`` read them.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np

from nwa_lightning.sequences.catalog import load_sequences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="human16s", help="a named set or a file of sequences")
    parser.add_argument("--length", type=int, default=110, help="bases of a part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("shifted.fasta.gz"))
    options = parser.parse_args()
    found = load_sequences(options.data)
    rng = np.random.default_rng(options.seed)
    with gzip.open(options.out, "wt") as file:
        for name, sequence in zip(found.names, found.to_strings(), strict=True):
            start = rng.integers(max(1, len(sequence) - options.length + 1))
            file.write(f">{name}_{start}\n{sequence[start : start + options.length]}\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
