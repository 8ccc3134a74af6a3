"""Search: how often the true nearest read is found, and how fast, against vsearch, MMseqs2 and the exact kernel.

    python examples/benchmarks/search.py human16s                       # 1,501 test reads among all others
    python examples/benchmarks/search.py scale --sizes 10000 100000 1000000   # 16S-like reads, simulated

The first times what happens within one process (ours) and the whole program (the others), as medians of several runs that
take turns; the time in which ``nwa`` loads torch and Lightning, which it needs for a model, is a row of its own. The second runs
every method in a process of its own, stops other programs after ten minutes, and draws the seconds
(``examples/results/search.png``). Cells are added to ``examples/results/search.csv``; finished ones are not run again.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.figure import Figure
from peers import MOST_SECONDS, Found, TooSlowError, mmseqs_search, run, vsearch_search
from simulated_reads import like16s_origin, write_reads

from nwa_lightning import NWADataModule, load_sequences
from nwa_lightning.search.embed import embed_reads
from nwa_lightning.search.embedder import ReadEmbedder
from nwa_lightning.search.exact import exact_hits, letters_of
from nwa_lightning.search.index import Index
from nwa_lightning.search.index_files import index_here
from nwa_lightning.search.recall import Effort
from nwa_lightning.search.shards import open_shards
from nwa_lightning.sequences.collection import Sequences

sys.path.insert(0, str(Path(__file__).parents[1] / "study"))
from finished import add_cell, find_cell, read_cells

RESULTS = Path(__file__).parents[1] / "results" / "search.csv"
PICTURE = RESULTS.with_suffix(".png")
COLUMNS = ("task", "references", "queries", "method", "seconds", "peak_mb", "recall", "threads", "machine")
MODEL = "human16s-v4"

#: Pairs that are compared to know the nearest targets.
_PAIRS = 2_000_000_000

#: Queries of the picture.
_DRAWN = 10_000


def machine() -> str:
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def write_fasta(path: Path, sequences: Sequences) -> None:
    """Reads with their names."""
    with path.open("w") as file:
        file.writelines(
            f">{name}\n{letters}\n" for name, letters in zip(sequences.names, sequences.to_strings(), strict=True)
        )


def recall_of(nearest: dict[str, str], queries: Sequences, targets: Sequences, truth: np.ndarray) -> float:
    """Fraction of the queries whose reported target is as near as the nearest one."""
    row_of = {name: row for row, name in enumerate(targets.names)}
    rows = np.array([row_of.get(nearest.get(name, ""), -1) for name in queries.names])
    asked = np.flatnonzero(rows >= 0)
    letters = letters_of(queries, targets.take(rows[asked]), threads=1)
    edits = letters.pairs(np.stack([asked, len(queries) + np.arange(len(asked))], axis=1))
    return float((edits == truth[asked]).sum() / len(queries))


def human16s(threads: int, repeats: int) -> None:
    """The published split: test reads as queries, all others as targets."""
    data = NWADataModule("human16s")
    queries = data.split.test
    targets = data.sequences.take(np.flatnonzero(~np.isin(data.sequences.hashes, queries.hashes)))
    truth = exact_hits(queries, targets, threads=threads).edits
    index = Index.build(targets, ReadEmbedder.from_checkpoint(MODEL))
    plain = Index.build(targets)
    found: dict[str, list[tuple[float, float, float]]] = {}

    def ours(name: str, index: Index, **options: object) -> None:
        started = time.perf_counter()
        hits = index.search(queries, threads=threads, **options).hits  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        best = np.full(len(queries), -1)
        best[hits.query] = hits.edits
        found.setdefault(name, []).append((seconds, 0.0, float((best == truth).mean())))

    def whole(queries: Path, targets: Path) -> Found:
        hits = targets.with_name("hits.tsv")
        command = [sys.executable, "-m", "nwa_lightning", "search", queries, targets, "--threads", threads]
        cost = run([*command, "--blast6out", hits])
        return Found(dict(line.split("\t")[:2] for line in hits.read_text().splitlines()), *cost)

    def theirs(name: str, result: Found) -> None:
        found.setdefault(name, []).append(
            (result.seconds, result.peak_mb, recall_of(result.nearest, queries, targets, truth))
        )

    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "queries.fasta", Path(folder) / "targets.fasta"
        write_fasta(one, queries)
        write_fasta(two, targets)
        for number in range(repeats):
            ours("exact, all pairs", plain)
            ours("index, 16 candidates", index, effort=Effort(16, 1))
            ours("index, --recall 0.99", index, recall=0.99)
            ours("index, --recall 0.995", index, recall=0.995)
            theirs("nwa search, the whole program", whole(one, two))
            theirs("vsearch, default", vsearch_search(one, two, threads=threads))
            theirs("vsearch, careful", vsearch_search(one, two, threads=threads, effort="careful"))
            theirs("MMseqs2", mmseqs_search(one, two, threads=threads))
            if not number:
                theirs("vsearch, exhaustive", vsearch_search(one, two, threads=threads, effort="exhaustive"))
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", "import nwa_lightning.cli.main, nwa_lightning.search.embedder"], check=True
            )
            found.setdefault("start of nwa", []).append((time.perf_counter() - started, 0.0, 0.0))
    for name, runs in found.items():
        seconds, peak, recall = (median(values) for values in zip(*runs, strict=True))
        cell = {"task": "human16s", "references": len(targets), "queries": len(queries), "method": name}
        save({**cell, "seconds": seconds, "peak_mb": peak, "recall": recall, "threads": threads})


def scale(sizes: list[int], count: int, threads: int, work: Path, reference: Path | None) -> None:
    """16S-like reads: an index made by ``embed`` and ``index``, and searches with it and with the others."""
    work.mkdir(parents=True, exist_ok=True)
    cells = read_cells(RESULTS)
    for size in sizes:
        targets, asked = work / f"{size}.fasta", work / f"{size}.queries.fasta"
        if not asked.exists():
            write_reads(like16s_origin(size, reference, 0.1, 0), 0, targets, asked, min(count, size))
        folder = work / f"{size}.index"
        truth = work / f"{size}.truth.npy"
        compared = min(count, _PAIRS // size)  # queries whose nearest target is computed by comparing all pairs
        steps = {
            "embed": (count, ["embed", targets, folder]),
            "index": (count, ["index", folder]),
            "exact, all pairs": (compared, ["search", folder, asked, "exact", truth, compared]),
            "index, --recall 0.99": (count, ["search", folder, asked, "0.99", truth, count]),
        }
        for method, (queries, arguments) in steps.items():
            key = {"task": "like16s", "references": size, "queries": queries, "method": method, "threads": threads}
            if find_cell(cells, key) is None:
                save({**key, **child([*map(str, arguments), "--threads", str(threads)])})
        # With words of 11 letters and a million targets, MMseqs2 of Debian 12 ends with a segmentation fault.
        word = 11 if size < 1_000_000 else 13
        for method, program in (("vsearch, default", vsearch_search), ("MMseqs2", partial(mmseqs_search, word=word))):
            key = {"task": "like16s", "references": size, "queries": count, "method": method, "threads": threads}
            if find_cell(cells, key) is None:
                try:
                    result = program(asked, targets, threads=threads)
                except TooSlowError:
                    save({**key, "seconds": f"> {MOST_SECONDS}"})
                    continue
                nearest = np.load(truth)
                some = load_sequences(asked).take(np.arange(len(nearest)))
                known = recall_of(result.nearest, some, load_sequences(targets), nearest)
                save({**key, "seconds": result.seconds, "peak_mb": result.peak_mb, "recall": known})


def draw() -> None:
    """Seconds of each method for 10,000 queries against the number of references."""
    cells = [
        cell for cell in read_cells(RESULTS) if cell["task"] == "like16s" and cell["method"] not in ("embed", "index")
    ]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xscale="log", yscale="log", xlabel="references", ylabel=f"seconds for {_DRAWN:,} queries, two threads"
    )
    for method in dict.fromkeys(cell["method"] for cell in cells):
        mine = sorted((int(cell["references"]), cell) for cell in cells if cell["method"] == method)
        known = [(size, cell) for size, cell in mine if not cell["seconds"].startswith(">")]
        seconds = [float(cell["seconds"]) * _DRAWN / int(cell["queries"]) for _, cell in known]
        (line,) = axes.plot([size for size, _ in known], seconds, marker="o", label=method)
        for size, cell in mine:
            if cell["seconds"].startswith(">"):
                most = float(cell["seconds"].removeprefix(">")) * _DRAWN / int(cell["queries"])
                axes.plot(
                    [size], [most], marker="^", color=line.get_color(), linestyle="none", label=f"{method}: stopped"
                )
    axes.legend()
    figure.savefig(PICTURE, dpi=120)


def child(arguments: list[str]) -> dict[str, float]:
    """Run one step in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "step", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def step(what: str, rest: list[str], threads: int) -> None:
    """One step of ``scale``; prints its seconds, without the start of Python, its peak memory and its recall as JSON."""
    started = time.perf_counter()
    recall = ""
    if what == "embed":
        embed_reads([rest[0]], rest[1], MODEL)
    elif what == "index":
        index_here(open_shards(rest[0]))
    else:
        folder, asked, way, truth, count = rest
        index = Index.load(folder)
        queries = load_sequences(asked).take(np.arange(int(count)))
        started = time.perf_counter()  # an index is loaded once for many searches
        options = {"exact": True} if way == "exact" else {"recall": float(way)}
        hits = index.search(queries, threads=threads, **options).hits  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        if way == "exact":
            np.save(truth, hits.edits)
        else:
            best = np.full(len(queries), -1)
            best[hits.query] = hits.edits
            known = np.load(truth)
            recall = float((best[: len(known)] == known).mean())
        started = time.perf_counter() - seconds
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps({"seconds": seconds, "peak_mb": peak, "recall": recall}))


def save(cell: dict[str, object]) -> None:
    """Add a cell to the table, and print it."""
    rounded = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in cell.items()}
    add_cell(RESULTS, COLUMNS, {**rounded, "machine": machine()})
    print(rounded, flush=True)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("human16s", "scale", "step"))
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("search_work"), help="folder for reads and indexes")
    parser.add_argument("--reference", type=Path, help="FASTA of more reads to vary, such as Greengenes V4")
    chosen = parser.parse_args()
    if chosen.what == "human16s":
        human16s(chosen.threads, chosen.repeats)
    elif chosen.what == "scale":
        scale(chosen.sizes, chosen.queries, chosen.threads, chosen.work, chosen.reference)
        draw()
    else:
        step(chosen.rest[0], chosen.rest[1:], chosen.threads)


if __name__ == "__main__":
    main()
