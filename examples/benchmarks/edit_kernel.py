"""Speed of edit distances: this package's kernel, rapidfuzz, and edlib and parasail if they are installed.

Run it with ``python examples/benchmarks/edit_kernel.py``; it writes examples/results/edit_kernel.md. Every instruction set is
measured in its own process. There, all runs take turns, and each number is a ratio of two medians, so that other work on the
machine affects both sides. Sequences are in memory already; the time includes turning them into bit planes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist, cpdist
from timing import interleaved_medians

from nwa_lightning import _nw
from nwa_lightning.levenshtein import take_strings

try:
    import edlib
except ModuleNotFoundError:
    edlib = None
try:
    import parasail
except ModuleNotFoundError:
    parasail = None

RESULTS = Path(__file__).parent.parent / "results" / "edit_kernel.md"
LENGTHS = [50, 150, 250, 500, 1500]
THREADS = [1, 2]
MANY = 10  # times all sequences that one is compared with
FEW = 300  # pairs for edlib and parasail, which are called pair by pair


def relatives(count: int, length: int, changed: float, rng: np.random.Generator) -> list[bytes]:
    """Descendants of one sequence with changed letters; a third of them also has one deletion and one insertion."""
    ancestor = rng.integers(0, 4, length)
    made = []
    for _ in range(count):
        row = np.where(rng.random(length) < changed, rng.integers(0, 4, length), ancestor)
        if rng.random() < 1 / 3:
            row = np.insert(np.delete(row, rng.integers(length)), rng.integers(length), rng.integers(4))
        made.append(np.frombuffer(b"ACGT", dtype=np.uint8)[row].tobytes())
    return made


def runs(strings: list[bytes], pairs: np.ndarray, threads: int) -> dict[str, tuple[Callable[[], object], int]]:
    """The runs to time, and the number of pairs that each compares."""
    first, second = ([strings[row] for row in side] for side in pairs.T)
    many = strings * MANY
    every = np.arange(len(many))
    options = {"scorer": Levenshtein.distance, "dtype": np.int32, "workers": threads}
    found: dict[str, tuple[Callable[[], object], int]] = {
        "pairs": (lambda: take_strings(strings).pairs(pairs, threads=threads), len(pairs)),
        "all": (lambda: take_strings(strings).all_pairs(threads=threads), len(strings) ** 2),
        "one": (lambda: take_strings(many).block(every[:1], every, threads=threads), len(many)),
        "rapidfuzz pairs": (lambda: cpdist(first, second, **options), len(pairs)),
        "rapidfuzz all": (lambda: cdist(strings, strings, **options), len(strings) ** 2),
        "rapidfuzz one": (lambda: cdist(many[:1], many, **options), len(many)),
    }
    if threads == 1 and edlib is not None:
        found["edlib pairs"] = (
            lambda: [edlib.align(*both) for both in zip(first[:FEW], second[:FEW], strict=True)],
            FEW,
        )
    if threads == 1 and parasail is not None:
        texts = [(a.decode(), b.decode()) for a, b in zip(first[:FEW], second[:FEW], strict=True)]
        costs = parasail.matrix_create("ACGT", 0, -1)
        found["parasail pairs"] = (lambda: [parasail.nw_striped_16(a, b, 1, 1, costs) for a, b in texts], FEW)
    return found


def measure(repeats: int) -> dict[str, dict[str, float]]:
    """Nanoseconds per pair of every run, by the sequences compared."""
    rng = np.random.default_rng(0)
    result = {}
    for length in LENGTHS:
        count = 400 if length < 500 else 100
        for name, changed in (("related", 0.1), ("unrelated", 1.0)):
            strings = relatives(count, length, changed, rng)
            pairs = rng.integers(0, count, (20 * count, 2))
            for threads in THREADS:
                timed = runs(strings, pairs, threads)
                seconds = interleaved_medians({key: run for key, (run, _) in timed.items()}, repeats)
                result[f"{length} {name} {threads}"] = {key: 1e9 * seconds[key] / timed[key][1] for key in seconds}
    return result


def report(measured: dict[str, dict[str, dict[str, float]]], processor: str) -> str:
    """Markdown tables."""
    lines = [
        "# Edit distances: times as fast as others",
        "",
        f"{processor}, {os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}; by",
        "`python examples/benchmarks/edit_kernel.py`. DNA; each cell is for related / unrelated sequences, in which 10 % / all",
        "of the letters of a common ancestor were drawn again. 400 sequences (100 from 500 letters on), 20 times as many listed",
        "pairs, all to all, and one to 10 times all. Ratios of medians, with the making of bit planes, to `cpdist` (pairs) and",
        "`cdist` (all, one) of rapidfuzz on as many threads. rapidfuzz takes AVX2 for up to 64 letters in `cdist`, whatever set",
        "this package was told to use.",
    ]
    for threads in THREADS:
        lines += [
            "",
            f"## {threads} thread{'s' * (threads > 1)}",
            "",
            "| instructions | letters | pairs | all | one to many |",
        ]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for name, result in measured.items():
            for length in LENGTHS:
                both = [result[f"{length} {kind} {threads}"] for kind in ("related", "unrelated")]
                cells = [
                    " / ".join(f"{one[f'rapidfuzz {way}'] / one[way]:.2g}" for one in both)
                    for way in ("pairs", "all", "one")
                ]
                lines.append(f"| {name} | {length} | {' | '.join(cells)} |")
    name, result = list(measured.items())[-1]
    others = [key for key in ("edlib pairs", "parasail pairs") if key in next(iter(result.values()))]
    lines += ["", f"## Nanoseconds a pair, {name}, 1 thread", ""]
    columns = ["pairs", "all", "one", "rapidfuzz pairs", "rapidfuzz all", *others]
    lines += [f"| letters | {' | '.join(columns)} |", "| ---: |" + " ---: |" * len(columns)]
    for length in LENGTHS:
        both = [result[f"{length} {kind} 1"] for kind in ("related", "unrelated")]
        cells = [" / ".join(f"{one[key]:,.0f}" for one in both) for key in columns]
        lines.append(f"| {length} | {' | '.join(cells)} |")
    lines += ["", "All to all counts every cell of the symmetric matrix, half of which is mirrored."]
    if others:
        lines += ["edlib and parasail (`nw_striped_16`) are called pair by pair from Python."]
    return "\n".join(lines) + "\n"


def processor_name() -> str:
    """Name of the processor, from the system."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help="print the times of the instruction set in use, as JSON")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.repeats)))
        return
    measured = {}
    for name in _nw.instruction_sets:
        command = [sys.executable, __file__, "--measure", "--repeats", str(options.repeats)]
        ran = subprocess.run(
            command, env={**os.environ, "NWA_LIGHTNING_ISA": name}, stdout=subprocess.PIPE, text=True, check=True
        )
        measured[name] = json.loads(ran.stdout)
    text = report(measured, processor_name())
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
