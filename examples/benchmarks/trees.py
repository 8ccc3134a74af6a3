"""How near trees of V4 reads come to the reference tree of their genes: from exact distances, embeddings and k-mers.

Run it with ``python examples/benchmarks/trees.py``; it takes a few minutes and writes examples/results/trees.md. It needs the
reads and the tree of Greengenes 13_8, which come with the package ``qiime-default-reference``::

    python -m pip install --no-deps qiime-default-reference
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from skbio import TreeNode

from nwa_lightning import Sequences, load_sequences, pair_batch
from nwa_lightning.models.baselines import KmerBaseline, KmerDistance
from nwa_lightning.search.distance_matrix import Distances, EmbeddedDistances, ExactDistances
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.trees import METHODS, build_tree, newick
from nwa_lightning.sequences.alphabet import DNA
from nwa_lightning.sequences.packed import Packed

sys.path.append(str(Path(__file__).parents[1] / "study"))
from greengenes import INSTALL, PACKAGE, PRIMER_515F, v4_reads
from labels_report import machine

RESULTS: Final = Path(__file__).parents[1] / "results" / "trees.md"
TREE: Final = "97_otus.tree"
GENES: Final = "97_otus.fasta"
#: Reads to which landmarks are fitted; none of them is in a tree.
FITTED: Final = 5000
#: Bases of a gene before and after primer 515F that are compared with V4 alone.
BEFORE: Final = 300
AFTER: Final = 700
#: Bases of a read, and reads, for the seconds.
SIZES: Final = ((150, 4000), (500, 2000), (1500, 1000))
#: Reads for the seconds of the methods.
COUNTS: Final = (500, 2000, 5000)


class Draw(NamedTuple):
    """Some OTUs: their V4 reads, long parts of their genes and the reference tree of them; and V4 reads of others."""

    reads: Sequences
    parts: Sequences
    reference: TreeNode
    others: Sequences


class Given(Distances):
    """Distances that are known already."""

    def __init__(self, sequences: Sequences, table: NDArray[Any]) -> None:
        super().__init__(sequences)
        self.table = table

    @property
    def unit(self) -> np.dtype[Any]:
        return self.table.dtype

    def edits(self, rows: slice, columns: slice) -> NDArray[Any]:
        return self.table[rows, columns]


def find(name: str) -> Path:
    """A file of Greengenes."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{PACKAGE}: expected the package, found none; install it: {INSTALL}")
    return next(Path(spec.submodule_search_locations[0]).rglob(name))


def draw(reads: dict[str, str], whole: TreeNode, genes: dict[str, str], count: int, seed: int) -> Draw:
    """``count`` OTUs whose V4 reads differ, drawn at random."""
    order = np.random.default_rng(seed).permutation(len(reads)).tolist()
    texts, names = list(reads), list(reads.values())
    kept = [names[row] for row in order[:count]]
    codes = Sequences.from_strings([texts[row] for row in order[:count]])
    labels = Packed.of(name.encode() for name in kept)
    reference = whole.shear(kept)
    reference.prune()
    return Draw(
        Sequences(codes.bases, labels),
        Sequences(Packed.of(long_part(genes[name]) for name in kept), labels),
        reference,
        Sequences.from_strings([texts[row] for row in order[count : count + FITTED]]),
    )


def long_part(gene: str) -> bytes:
    """1,000 bases around V4, and the primer; letters, not codes, because some are N."""
    primer = PRIMER_515F.search(gene)
    assert primer is not None  # every V4 read follows it
    return gene[max(primer.start() - BEFORE, 0) : primer.end() + AFTER].encode()


def read_genes() -> dict[str, str]:
    lines = find(GENES).read_text().split("\n")
    return {header[1:].split()[0]: gene for header, gene in zip(lines[::2], lines[1::2], strict=False) if header}


def by_kmers(reads: Sequences, k: int, distance: KmerDistance) -> Distances:
    batch = pair_batch(reads, pairs=np.stack(np.triu_indices(len(reads), 1), axis=1), nwa_batch_size=0)
    table = np.zeros((len(reads), len(reads)), dtype=np.float32)
    first, second = batch.pairs.T.numpy()
    table[first, second] = table[second, first] = KmerBaseline(DNA.size, k, distance).distances(batch).numpy()
    return Given(reads, table)


def by_chance(reads: Sequences, seed: int) -> Distances:
    table = np.random.default_rng(seed).random((len(reads), len(reads)), dtype=np.float32)
    return Given(reads, table + table.T)


def rows(drawn: Draw, seed: int) -> dict[str, Callable[[], Distances]]:
    """What to compare."""
    reads = drawn.reads
    pretrained = ReadEmbedder.from_checkpoint("human16s-v4")
    landmarks = ReadEmbedder.from_landmarks(drawn.others, 512)
    found: dict[str, Callable[[], Distances]] = {
        "random distances (control)": lambda: by_chance(reads, seed),
        "exact edit distances": lambda: ExactDistances(reads, threads=1),
        "embedded, `human16s-v4`": lambda: EmbeddedDistances(reads, pretrained),
        "embedded, 512 landmarks without training": lambda: EmbeddedDistances(reads, landmarks),
    }
    for k in (4, 6):
        found[f"{k}-mers, Euclidean"] = lambda k=k: by_kmers(reads, k, "euclidean")
        found[f"{k}-mers, cosine"] = lambda k=k: by_kmers(reads, k, "cosine")
    found["exact, 1,000 bases of the gene around V4"] = lambda: ExactDistances(drawn.parts, threads=1)
    return found


class Likeness(NamedTuple):
    """How like the reference a tree is.

    Attributes:
        splits: Normalised Robinson-Foulds distance, without root: 0 for the same splits, 1 if none is shared.
        paths: Correlation (Pearson) of the lengths of the paths between any two leaves.
    """

    splits: float
    paths: float


def compare(drawn: Draw, table: Distances, method: str) -> Likeness:
    tree = TreeNode.read([newick(build_tree(table, method), table.names)])
    above = np.triu_indices(len(table), 1)
    paths = [one.cophenet().filter(table.names).data[above] for one in (tree, drawn.reference)]
    splits = drawn.reference.compare_rfd(tree, proportion=True, rooted=False)
    return Likeness(float(splits), float(np.corrcoef(*paths)[0, 1]))


def measure(count: int, seeds: int) -> tuple[dict[tuple[str, str], list[Likeness]], dict[str, list[float]]]:
    """Likeness of the trees of each row and method, and CPU seconds of each row."""
    whole = TreeNode.read(str(find(TREE)), convert_underscores=False)
    genes, reads = read_genes(), v4_reads(find(GENES).parents[1])
    found: dict[tuple[str, str], list[Likeness]] = defaultdict(list)
    seconds: dict[str, list[float]] = defaultdict(list)
    for seed in track(range(seeds), "draws"):
        drawn = draw(reads, whole, genes, count, seed)
        for name, make in rows(drawn, seed).items():
            start = time.process_time()
            made = make()
            table = Given(drawn.reads, np.concatenate([block for _, block in made.blocks()]))
            seconds[name].append(time.process_time() - start)
            for method in METHODS:
                found[name, method].append(compare(drawn, table, method))
    return found, seconds


def speed(length: int, count: int) -> list[float]:
    """CPU microseconds a pair of exact and of embedded distances, and a read of embedding: the least of three runs."""
    reads = load_sequences(f"tree:{count}x{length}")
    embedder = ReadEmbedder.from_landmarks(reads, 512)
    return np.min([speed_once(reads, embedder) for _ in range(3)], axis=0).tolist()


def speed_once(reads: Sequences, embedder: ReadEmbedder) -> list[float]:
    start = time.process_time()
    exact = ExactDistances(reads, threads=1)
    list(exact.blocks())
    middle = time.process_time()
    embedded = EmbeddedDistances(reads, embedder)
    vectors = time.process_time()
    list(embedded.blocks())
    end, each = time.process_time(), 1e6 / len(reads)
    return [(middle - start) * each / len(reads), (end - vectors) * each / len(reads), (vectors - middle) * each]


def method_seconds(count: int) -> list[float]:
    reads = load_sequences(f"tree:{count}x150")
    table = Given(reads, np.concatenate([block for _, block in ExactDistances(reads, threads=1).blocks()]))
    found = []
    for method in METHODS:
        gc.collect()  # trees of nodes, which would be collected in the next run
        start = time.process_time()
        build_tree(table, method)
        found.append(time.process_time() - start)
    return found


def spread(values: list[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values) if len(values) > 1 else 0:.3f}"


def report(options: argparse.Namespace) -> str:
    """Markdown tables."""
    found, seconds = measure(options.reads, options.seeds)
    lines = [
        "# Trees",
        "",
        f"`python examples/benchmarks/trees.py` ({machine()}).",
        "",
        f"{options.reads} OTUs of Greengenes 13_8 (97 %) whose V4 reads differ; mean and standard deviation of {options.seeds}",
        "draws. A tree of their V4 reads is compared with the reference tree of the same OTUs. RF is the normalised",
        "Robinson-Foulds distance (1981, doi 10.1016/0025-5564(81)90043-2) without root: 0 is the same tree, and 1 shares no",
        "split with it. Paths is the correlation of the path lengths between any two leaves with those of the reference.",
        f"Landmarks are fitted to {FITTED:,} other reads. Seconds are CPU seconds of the distances, with the embedding.",
        "",
        f"| distances | {' | '.join(f'RF, {method}' for method in METHODS)} | paths, nj | seconds |",
        f"| --- |{' ---: |' * (len(METHODS) + 2)}",
    ]
    for name, times in seconds.items():
        cells = [spread([one.splits for one in found[name, method]]) for method in METHODS]
        cells.append(spread([one.paths for one in found[name, "nj"]]))
        lines.append(f"| {name} | {' | '.join(cells)} | {mean(times):.2f} |")
    lines += [
        "",
        "CPU microseconds, reads of a simulated tree; embedded by 512 landmarks into 128 numbers:",
        "",
        "| bases | reads | exact, a pair | embedded, a pair | to embed, a read |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for length, count in SIZES:
        exact, embedded, each = speed(length, count)
        lines.append(f"| {length:,} | {count:,} | {exact:.3f} | {embedded:.3f} | {each:,.0f} |")
    lines += ["", "CPU seconds of a tree, from distances in memory:", ""]
    lines += [f"| reads | {' | '.join(METHODS)} |", f"| ---: |{' ---: |' * len(METHODS)}"]
    for count in COUNTS:
        lines.append(f"| {count:,} | {' | '.join(f'{value:.2f}' for value in method_seconds(count))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=500, help="reads of a tree (500)")
    parser.add_argument("--seeds", type=int, default=3, help="draws (3)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where to write the tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.write_text(report(options))
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
