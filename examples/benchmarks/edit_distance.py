"""The number of reads from which an embedding is faster than exact edit distances.

Run it with ``python examples/benchmarks/edit_distance.py``; edlib is timed too if it is installed. We embed the 1,500 test
reads of human16s and compute all distances, and compare this with the exact distances by this package, rapidfuzz and edlib.
Embedding takes a time per read, distances take a time per pair; from both follows the number of reads from which the embedding
wins. The model is untrained: the time does not depend on the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from timing import interleaved_medians

from nwa_lightning import EditDistanceModel, NeuroSEEDCNN, NWADataModule, edit_distances
from nwa_lightning.levenshtein import Strings

try:
    import edlib
except ModuleNotFoundError:
    edlib = None

EDLIB_READS = 150
BATCH = 100  # reads whose activations stay in the cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()

    data = NWADataModule()
    test = data.split.test
    reads = test.bytes_of(np.arange(len(test)))
    texts = [data.alphabet.decode(row) for row in test.padded()]
    model = EditDistanceModel(NeuroSEEDCNN(data.max_length), nwa_weight=None).eval()
    tokens = torch.nn.functional.pad(torch.from_numpy(test.padded().astype(np.int64)), (1, 0), value=1)
    with torch.inference_mode():
        embeddings = model(tokens)

        def edlib_all() -> None:
            for first in texts[:EDLIB_READS]:
                for second in texts[:EDLIB_READS]:
                    edlib.align(first, second)

        rows: dict[str, tuple[Callable[[], object], int]] = {
            "embed the reads": (lambda: [model(part) for part in tokens.split(BATCH)], len(reads)),
            "all distances of embeddings": (lambda: model.distance.all_pairs(embeddings, embeddings), len(reads) ** 2),
            "all edit distances": (lambda: edit_distances(reads, workers=2), len(reads) ** 2),
            "all edit distances, rapidfuzz": (lambda: Strings(reads).all_pairs(threads=2), len(reads) ** 2),
        }
        if edlib is not None:
            rows[f"all edit distances of {EDLIB_READS} reads, edlib"] = (edlib_all, EDLIB_READS**2)
        seconds = interleaved_medians({name: run for name, (run, _) in rows.items()}, options.repeats)

    table = Table(title=f"{len(reads)} reads of {data.max_length} bases, {torch.get_num_threads()} threads, medians")
    for title in ("work", "s", "ns a read or pair", "embedding wins from (reads)"):
        table.add_column(title, justify="left" if title == "work" else "right")
    each = {name: seconds[name] / count for name, (_, count) in rows.items()}
    embed, vector = list(each.values())[:2]
    for number, (name, value) in enumerate(each.items()):
        # N embed + N^2 vector = N^2 exact
        wins = f"{embed / (value - vector):,.0f}" if number > 1 and value > vector else ""
        table.add_row(name, f"{value * rows[name][1]:.3f}", f"{1e9 * value:,.1f}", wins)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
