"""Time and memory of a file of a million reads: loading, splitting, prediction and training.

Run it with ``python examples/benchmarks/large_data.py``. It makes FASTA files of simulated reads of 150 bases, and measures
a quarter, a half and all of them. Every row is a separate process that does nothing else, so the peak memory is that of the
row alone. The files, 163 MB for a million reads, stay in ``--folder`` for the next run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

# nwa_lightning is imported by the parts: a process reports at least the peak memory of the one that started it.

#: Reads that are simulated at once; each such tree has a root of its own.
TREE = 100_000

FOLDER = Path(tempfile.gettempdir()) / "nwa_large_data"

PARTS = {
    "make": "simulate, write FASTA",
    "load": "load_sequences",
    "split": "NWADataModule(file).split",
    "predict": "Trainer.predict, EmbeddingWriter",
    "fit": "nwa fit, 500 steps",
}

#: Options of ``nwa fit``.
FIT = (
    "--trainer.max_steps=500",
    "--trainer.logger=CSVLogger",
    "--trainer.logger.save_dir=.",
    "--trainer.enable_progress_bar=false",
)

COLUMNS = ("what", "reads", "seconds", "CPU s", "reads/s", "peak MiB", "beyond MiB", "bytes a read", "remarks")

NOTES = """\
Every row is one process. *Peak* is the most memory that the process held, Python, torch and Lightning included. *Beyond* is
how much of it came on top of what the process held before: for loading and splitting, before the file was opened; for
prediction, after the file was loaded. *Bytes a read* is that divided by the reads. Prediction is by
`NeuroSEEDCNN(channels=8, layers=2)` with random weights; its seconds are those of `Trainer.predict` alone, those of training
are of the whole command. Where other work shares the machine, CPU seconds say more than seconds.
"""


def peak_bytes(who: int = resource.RUSAGE_SELF) -> int:
    return resource.getrusage(who).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> dict[str, float]:
    return {name: end - begin for name, begin, end in zip(("seconds", "cpu"), start, now(), strict=True)}


def make(path: Path, reads: int) -> dict[str, object]:
    """Write the first reads of an endless series, part by part."""
    from nwa_lightning import evolve_tree
    from nwa_lightning.sequences.alphabet import DNA, FIRST_LETTER

    letters = bytes.maketrans(bytes(range(FIRST_LETTER, DNA.size)), DNA.letters.encode())
    part = path.with_suffix(".part")
    start = now()
    with part.open("wb") as file:
        for first in range(0, reads, TREE):
            tree = evolve_tree(min(TREE, reads), 150, seed=first // TREE)
            for number, codes in enumerate(islice(tree.bases, reads - first), start=first + 1):
                file.write(b">read%d\n%s\n" % (number, codes.translate(letters)))
    part.replace(path)
    return {**since(start), "remarks": f"{path.stat().st_size / 1e6:,.0f} MB"}


def load(path: Path, reads: int) -> dict[str, object]:
    from nwa_lightning import load_sequences

    before, start = peak_bytes(), now()
    found = len(load_sequences(path))
    taken = since(start)
    assert found == reads
    return {**taken, "beyond": peak_bytes() - before}


def split(path: Path, reads: int) -> dict[str, object]:
    from nwa_lightning import NWADataModule

    before, start = peak_bytes(), now()
    sizes = [len(part) for part in NWADataModule(str(path)).split]
    return {
        **since(start),
        "beyond": peak_bytes() - before,
        "remarks": " + ".join(f"{size:,}" for size in sizes),
    }


def predict(path: Path, reads: int) -> dict[str, object]:
    import warnings

    import numpy as np
    from lightning.pytorch import Trainer

    from nwa_lightning import EditDistanceModel, NeuroSEEDCNN, NWADataModule
    from nwa_lightning.callbacks.embedding_writer import EmbeddingWriter

    warnings.simplefilter("ignore")
    data = NWADataModule(str(path))
    model = EditDistanceModel(NeuroSEEDCNN(data.max_length, channels=8, layers=2), nwa_weight=None)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        trainer = Trainer(
            callbacks=[EmbeddingWriter(folder)], accelerator="cpu", logger=False, enable_progress_bar=False
        )
        before, start = peak_bytes(), now()
        trainer.predict(model, datamodule=data, return_predictions=False)
        taken, beyond = since(start), peak_bytes() - before
        shape = np.load(Path(folder) / "embeddings.npy", mmap_mode="r").shape
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    assert shape[0] == reads
    return {**taken, "beyond": beyond, "remarks": f"{shape}, {size / 1e6:,.0f} MB"}


def fit(path: Path, reads: int) -> dict[str, object]:
    command = [sys.executable, "-m", "nwa_lightning", "fit", "--data.data", str(path.resolve()), *FIT]
    start = now()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken = {**since(start), "cpu": children.ru_utime + children.ru_stime}
        (metrics,) = Path(folder).rglob("metrics.csv")
        with metrics.open() as file:
            validations = [float(row["val/rmse"]) for row in csv.DictReader(file) if row.get("val/rmse")]
    last = f", the last with RMSE {validations[-1]:.2f}" if validations else ""
    return {
        **taken,
        "peak": peak_bytes(resource.RUSAGE_CHILDREN),
        "remarks": f"{len(validations)} validations{last}",
    }


def measured(part: str, path: Path, reads: int) -> dict[str, object]:
    """The result of a part, measured in a separate process."""
    print(f"{PARTS[part]}: {reads:,} reads", file=sys.stderr)
    command = [sys.executable, __file__, "--point", json.dumps([part, str(path), reads])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def row_of(part: str, reads: int, found: dict) -> list[str]:
    """The cells of a measurement."""
    beyond = found.get("beyond")
    speed = "" if part == "fit" else f"{reads / found['seconds']:,.0f}"
    each = f"{beyond / reads:,.0f}" if part in ("load", "split") else ""
    times = [f"{found[name]:,.1f}" for name in ("seconds", "cpu")]
    cells = [PARTS[part], f"{reads:,}", *times, speed, f"{found['peak'] / 2**20:,.0f}"]
    return [*cells, "" if beyond is None else f"{beyond / 2**20:,.0f}", each, found.get("remarks", "")]


def report(rows: list[list[str]], arguments: list[str]) -> str:
    """The page of results."""
    packages = [f"{name} {version(name)}" for name in ("nwa-lightning", "torch", "lightning", "numpy")]
    threads = os.environ.get("OMP_NUM_THREADS")
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores"
    if threads:
        machine += f", OMP_NUM_THREADS={threads}"
    lines = [f"| {' | '.join(cells)} |" for cells in (COLUMNS, ["---", *["---:"] * 7, "---"], *rows)]
    return "\n".join(
        [
            "# Many reads",
            "",
            f"Written by `{' '.join(['python examples/benchmarks/large_data.py', *arguments])}`.",
            f"{machine}; Python {platform.python_version()}, {', '.join(packages)}.",
            "",
            NOTES,
            *lines,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=1_000_000, help="N; N/4 and N/2 are measured too (1000000)")
    parser.add_argument("--five-million", action="store_true", help="also load and split 5,000,000 reads")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=list(PARTS)[1:],
        default=list(PARTS)[1:],
        metavar="PART",
        help=", ".join(list(PARTS)[1:]),
    )
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"folder for the files of reads ({FOLDER})")
    parser.add_argument("--out", type=Path, help="file to write the table into, such as examples/results/large_data.md")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point is not None:
        part, path, reads = options.point
        found = globals()[part](Path(path), reads)
        print(json.dumps({"peak": peak_bytes(), **found}))
        return
    if options.reads < 1000:
        parser.error(f"--reads: expected at least 1000, found {options.reads}")

    options.folder.mkdir(parents=True, exist_ok=True)
    parts = [part for part in PARTS if part in options.parts]
    several = [part for part in parts if part != "fit"]
    sizes = {options.reads // 4: several, options.reads // 2: several, options.reads: parts}
    if options.five_million:
        sizes.setdefault(5_000_000, [part for part in parts if part in ("load", "split")])
    rows = []
    for reads, chosen in sizes.items():
        path = options.folder / f"reads-{reads}.fasta"
        if not path.exists():
            rows.append(("make", reads, measured("make", path, reads)))
        rows += [(part, reads, measured(part, path, reads)) for part in chosen]
    rows.sort(key=lambda row: (list(PARTS).index(row[0]), row[1]))
    cells = [row_of(*row) for row in rows]

    table = Table(title="large data")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("what", "remarks") else "right")
    for number, line in enumerate(cells):
        table.add_row(*line, end_section=number + 1 < len(cells) and cells[number + 1][0] != line[0])
    Console(width=160).print(table)
    if options.out is not None:
        options.out.write_text(report(cells, sys.argv[1:]))


if __name__ == "__main__":
    main()
