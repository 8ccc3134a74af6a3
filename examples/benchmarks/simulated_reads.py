"""Large files of simulated reads whose origin is known, and queries for them, as FASTA.

Run it with one of these commands::

    python examples/benchmarks/simulated_reads.py storage reads.fasta --reads 1000000 --copies 10 --errors 0.05
    python examples/benchmarks/simulated_reads.py like16s reads.fasta --reads 1000000 --queries queries.fasta

``storage`` are noisy copies of random DNA-storage strands, in random order: ``>r17 strand=42``. ``like16s`` are variants of the
human16s reads, and of the reads of ``--reference`` if it is given, such as those of ``examples/study/greengenes.py --unseen``:
``>r17 parent=42``, counted from 0 in that order. A query is a noisy copy of a random read of the file, and names it:
``>q3 target=r17 strand=42``.

The same options write the same files. The reads are made block by block: memory grows with the number of strands or parents,
and by 16 bytes a read for the random order.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from nwa_lightning import InputError, Sequences, load_sequences, storage_strands
from nwa_lightning.progress import track
from nwa_lightning.sequences.alphabet import DNA, PADDING
from nwa_lightning.sequences.packed import Packed
from nwa_lightning.sequences.simulate.channel import check_whole, mutate

#: Reads that are made at a time.
BLOCK: Final = 1 << 15

#: Parts of substitutions, insertions and deletions in the errors: those of ``storage_strands`` and of ``evolve_tree``.
STORAGE: Final = np.array([0.022, 0.017, 0.02]) / 0.059
LIKE_16S: Final = np.array([0.9, 0.05, 0.05])


@dataclass(frozen=True)
class Noise:
    """How reads differ from their templates.

    Attributes:
        parts: ``(3,)`` parts of substitutions, insertions and deletions in the errors.
        errors: Errors per base.
        spread: Whether each read draws its own errors per base, between 0 and ``errors``.
        cut: Whether a read is cut to the length of its template, as sequencers read the same number of bases of all.
    """

    parts: NDArray[np.float64]
    errors: float
    spread: bool = False
    cut: bool = False

    def copy(self, templates: Packed, generator: np.random.Generator) -> list[bytes]:
        """One noisy copy of each of N templates."""
        errors = np.full(len(templates), self.errors)
        if self.spread:
            errors *= generator.random(len(errors))
        codes = templates.padded(int(templates.lengths.max()), PADDING)
        rows = mutate(generator, codes, templates.lengths, self.parts[:, None] * errors)
        if self.cut:
            rows = [row[:length] for row, length in zip(rows, templates.lengths.tolist(), strict=True)]
        return rows


@dataclass(frozen=True)
class Origin:
    """What the reads are copies of.

    Attributes:
        word: Attribute of the header that holds the number of the template: ``strand`` or ``parent``.
        templates: The templates, without noise.
        of_read: ``(N,)`` number of the template of each read.
        noise: How the reads differ from them.
    """

    word: str
    templates: Sequences
    of_read: NDArray[np.int64]
    noise: Noise


def storage_origin(reads: int, copies: int, length: int, errors: float, seed: int) -> Origin:
    """Random strands of ``length`` bases, each the template of ``copies`` reads (fewer of the last one), in random order.

    Raises:
        InputError: If a number is out of its domain.
    """
    check_whole(seed=seed, reads=reads, copies=copies, length=length)
    _check_errors(errors)
    strands = storage_strands(-(-reads // copies), 1, length, substitution=0, insertion=0, deletion=0, seed=seed)
    order = _shuffled(reads, np.random.default_rng([seed, 0]))
    return Origin("strand", strands, order // copies, Noise(STORAGE, errors))


def like16s_origin(reads: int, reference: Path | None, errors: float, seed: int) -> Origin:
    """Random reads of human16s, and of the file ``reference`` if there is one; each read draws its own errors.

    Raises:
        InputError: If a number is out of its domain, or the file cannot be read.
    """
    check_whole(seed=seed, reads=reads)
    _check_errors(errors)
    parents = load_sequences("human16s")
    if reference is not None:
        parents = Sequences(*(Packed.of([*one, *two]) for one, two in _columns(parents, load_sequences(reference))))
    drawn = (np.random.default_rng([seed, 0]).random(reads) * len(parents)).astype(np.int64)
    return Origin("parent", parents, drawn, Noise(LIKE_16S, errors, spread=True, cut=True))


def make_reads(origin: Origin, seed: int) -> Iterator[tuple[int, list[bytes]]]:
    """Number of the first read of each block, and the codes of the reads."""
    generator = np.random.default_rng([seed, 1])
    for start in track(range(0, len(origin.of_read), BLOCK), "simulating", worth=len(origin.of_read) > 4 * BLOCK):
        templates = origin.templates.bases.take(origin.of_read[start : start + BLOCK])
        yield start, origin.noise.copy(templates, generator)


def write_reads(origin: Origin, seed: int, out: Path, queries: Path | None = None, count: int = 0) -> None:
    """Write the reads, and queries if they are asked for.

    Args:
        origin: What to copy.
        seed: Seed of all errors.
        out: File for the reads.
        queries: File for the queries; each is a noisy copy of another read.
        count: Number of queries.

    Raises:
        InputError: If there are fewer reads than queries, or a file cannot be written.
    """
    reads = len(origin.of_read)
    if queries is not None and not 1 <= count <= reads:
        raise InputError(f"--query-count: expected 1 to {reads}, the number of reads, found {count}; ask for fewer")
    targets = np.sort(_shuffled(reads, np.random.default_rng([seed, 2]))[: count if queries else 0])
    generator = np.random.default_rng([seed, 3])
    with ExitStack() as stack:
        file = stack.enter_context(_replaced(out))
        asked = stack.enter_context(_replaced(queries)) if queries else None
        written = 0
        for start, rows in make_reads(origin, seed):
            numbers = range(start, start + len(rows))
            of_read = origin.of_read[start : start + len(rows)].tolist()
            _write(file, rows, [f"r{read} {origin.word}={one}" for read, one in zip(numbers, of_read, strict=True)])
            chosen = targets[(targets >= start) & (targets < start + len(rows))] - start
            if asked and len(chosen):
                copies = origin.noise.copy(Packed.of(rows[row] for row in chosen), generator)
                headers = [f"target=r{start + row} {origin.word}={of_read[row]}" for row in chosen.tolist()]
                _write(asked, copies, [f"q{number} {text}" for number, text in enumerate(headers, start=written)])
                written += len(chosen)


def _check_errors(errors: float) -> None:
    if not 0 <= errors <= 1:
        raise InputError(f"--errors: expected a number between 0 and 1, found {errors}; write 5 % as 0.05")


def _shuffled(count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The numbers below ``count`` in random order, from uniform floats, so a seed gives the same order everywhere."""
    return np.argsort(generator.random(count), kind="stable")


def _columns(one: Sequences, two: Sequences) -> Iterator[tuple[Packed, Packed]]:
    yield one.bases, two.bases
    yield one.labels, two.labels


def _write(file: IO[bytes], rows: list[bytes], headers: list[str]) -> None:
    letters = DNA.letters_of_codes
    file.writelines(
        b">%s\n%s\n" % (header.encode(), row.translate(letters)) for header, row in zip(headers, rows, strict=True)
    )


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file that becomes ``path`` at the end."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"{path}: expected a file that can be written, found: {error.strerror}; choose another folder, or free some space"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    storage = kinds.add_parser("storage", help="noisy copies of DNA-storage strands")
    like16s = kinds.add_parser("like16s", help="variants of 16S reads")
    rates = ((storage, 0.05, "errors per base"), (like16s, 0.1, "most errors per base; a read draws its own"))
    for kind, errors, meaning in rates:
        kind.add_argument("out", type=Path, metavar="OUT.fasta", help="file to write")
        kind.add_argument("--reads", type=int, default=1_000_000, help="number of reads (1000000)")
        kind.add_argument("--errors", type=float, default=errors, help=f"{meaning} ({errors})")
        kind.add_argument("--queries", type=Path, metavar="FASTA", help="also write noisy copies of random reads")
        kind.add_argument("--query-count", type=int, default=10_000, help="number of queries (10000)")
        kind.add_argument("--seed", type=int, default=0, help="seed of all random numbers (0)")
    storage.add_argument("--copies", type=int, default=10, help="reads of a strand (10)")
    storage.add_argument("--length", type=int, default=150, help="bases of a strand (150)")
    like16s.add_argument("--reference", type=Path, metavar="FASTA", help="more reads to vary, as of Greengenes")
    options = parser.parse_args()
    try:
        if options.kind == "storage":
            origin = storage_origin(options.reads, options.copies, options.length, options.errors, options.seed)
        else:
            origin = like16s_origin(options.reads, options.reference, options.errors, options.seed)
        write_reads(origin, options.seed, options.out, options.queries, options.query_count)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    print(f"written: {options.reads:,} reads of {len(origin.templates):,} templates to {options.out}")


if __name__ == "__main__":
    main()
