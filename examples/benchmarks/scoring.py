"""Speed of global alignment scores: this package, and parasail with the same scores.

Run it with ``python examples/benchmarks/scoring.py``; parasail comes with the ``test`` extra. All rows of a table take turns many
times, so that other work on the machine affects all of them; the medians are printed. parasail is called pair by pair from
Python; its profiles are made once per query, outside the time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import parasail
from rich.console import Console
from rich.table import Table
from timing import interleaved_medians

from nwa_lightning import _nw
from nwa_lightning.alignment import nw_matrices
from nwa_lightning.scoring import Scoring, alignment_scores, strided_matrices
from nwa_lightning.sequences.alphabet import DNA, PROTEIN
from nwa_lightning.sequences.collection import Sequences

SEQUENCES = 24
#: Cells of the matrices of one run, about.
CELLS = 1e8
STRIDE = 16


def related(letters: str, length: int, rng: np.random.Generator) -> list[str]:
    """Descendants of one sequence: a fifth of the letters drawn again, up to a tenth deleted."""
    ancestor = rng.integers(0, len(letters), length)
    made = []
    for _ in range(SEQUENCES):
        row = np.where(rng.random(length) < 0.2, rng.integers(0, len(letters), length), ancestor)
        row = np.delete(row, rng.integers(0, length, rng.integers(0, length // 10 + 1)))
        made.append("".join(letters[code] for code in row))
    return made


def runs(
    texts: list[str], pairs: np.ndarray, scoring: Scoring, reads: Sequences, matrix: parasail.Matrix
) -> dict[str, Callable[[], object]]:
    """What takes turns."""
    gaps = -scoring.gap_open, -scoring.gap_extend
    written = [(texts[first], texts[second]) for first, second in pairs]
    codes, lengths = reads.padded(), reads.lengths

    def pair_by_pair(function: Callable[..., object]) -> None:
        for first, second in written:
            function(first, second, *gaps, matrix)

    def by_profile(make: Callable[..., object], function: Callable[..., object]) -> Callable[[], None]:
        profiles = {text: make(text, matrix) for text in texts}

        def run() -> None:
            for first, second in written:
                function(profiles[first], second, *gaps)

        return run

    found: dict[str, Callable[[], object]] = {
        "alignment_scores": partial(alignment_scores, reads.bases, pairs, scoring=scoring),
        "alignment_scores, 2 threads": partial(alignment_scores, reads.bases, pairs, scoring=scoring, threads=2),
        f"strided_matrices, s = {STRIDE}": partial(
            strided_matrices, codes, lengths, pairs, scoring=scoring, stride=STRIDE
        ),
        "parasail nw_scan_32": partial(pair_by_pair, parasail.nw_scan_32),
        "parasail nw_striped_32": partial(pair_by_pair, parasail.nw_striped_32),
        "parasail nw_striped_16": partial(pair_by_pair, parasail.nw_striped_16),
        "parasail nw_striped_profile_32": by_profile(parasail.profile_create_32, parasail.nw_striped_profile_32),
        "parasail nw_striped_profile_16": by_profile(parasail.profile_create_16, parasail.nw_striped_profile_16),
    }
    if scoring.linear:
        found[f"strided_matrices, s = {STRIDE}, through"] = partial(
            strided_matrices, codes, lengths, pairs, scoring=scoring, stride=STRIDE, kind="best_through"
        )
        if len(texts[0]) < 1000:
            found["nw_matrices, whole, int16"] = partial(nw_matrices, codes, lengths, pairs)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--cells", type=float, default=CELLS)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    dna, protein = parasail.matrix_create("ACGT", 1, -1), parasail.blosum62
    linear, blosum = Scoring.simple(size=DNA.size), Scoring.named("BLOSUM62", PROTEIN)
    affine = Scoring(linear.substitution, -4, -1)
    console = Console(width=110)
    for alphabet, length, scoring, matrix in [
        (DNA, 150, linear, dna),
        (DNA, 150, affine, dna),
        (DNA, 1500, linear, dna),
        (DNA, 1500, affine, dna),
        (DNA, 10000, linear, dna),
        (PROTEIN, 350, blosum, protein),
    ]:
        texts = related(alphabet.letters, length, rng)
        reads = Sequences.from_strings(texts, alphabet)
        pairs = rng.integers(0, SEQUENCES, (max(2, int(options.cells / length**2)), 2))
        cells = int((reads.lengths[pairs[:, 0]] * reads.lengths[pairs[:, 1]]).sum())
        seconds = interleaved_medians(runs(texts, pairs, scoring, reads, matrix), options.repeats)
        ours = seconds["alignment_scores"]
        gaps = "linear" if scoring.linear else "affine"
        table = Table(
            title=f"{len(pairs)} pairs of {alphabet.name}, up to {length} letters, {gaps} gaps, {_nw.instruction_set}, "
            f"median of {options.repeats} runs"
        )
        for heading in ("", "µs a pair", "million cells/s", "time / alignment_scores"):
            table.add_column(heading, justify="right" if heading else "left")
        for name, time in seconds.items():
            each = f"{1e6 * time / len(pairs):,.1f}", f"{1e-6 * cells / time:,.0f}", f"{time / ours:.2f}"
            table.add_row(name, *each)
        console.print(table)


if __name__ == "__main__":
    main()
