"""Reads of bacterial families: the V4 region of Greengenes 13_8, or simulated families for a test.

Greengenes comes with the package ``qiime-default-reference`` (CC BY-SA 3.0), which is read and not shipped::

    python -m pip install --no-deps qiime-default-reference
    python examples/study/greengenes.py                          # counts the families
    python examples/study/greengenes.py --unseen unseen.fasta    # writes reads that are far from all of human16s
    python examples/study/greengenes.py --unseen new.fasta --far 0    # all that are not in human16s
    python examples/study/greengenes.py --genes genes.fasta           # writes 20,000 whole genes and their clusters

Every read is the 150 bases after primer 515F of a 97 % OTU. A family is a taxonomy down to a named ``f__``. Whole genes have
1,200 to 1,600 bases; ``cluster=...`` in the header is the same for all genes that chains of 95 % identity connect, and
``near=...`` for chains of 93 %.
"""

from __future__ import annotations

import argparse
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xopen import xopen

from nwa_lightning import InputError, Sequences, evolve_tree, load_sequences
from nwa_lightning.sequences.neighbours import identity_clusters, nearest_edits

PACKAGE: Final = "qiime_default_reference"
INSTALL: Final = "python -m pip install --no-deps qiime-default-reference"
SEQUENCES: Final = "97_otus.fasta"
TAXONOMY: Final = "97_otu_taxonomy.txt"
PRIMER_515F: Final = re.compile("GTG[CT]CAGC[AC]GCCGCGGTAA")
LENGTH: Final = 150
#: The fewest reads of a family; and the most reads drawn from one, so that large families don't dominate the training.
LEAST, MOST = 8, 60
#: Fewest and most bases of a whole gene, and how many are drawn.
WHOLE: Final = (1200, 1600)
GENES: Final = 20_000
#: Identities whose chains connect the genes with the same value in the header.
IDENTITIES: Final = {"cluster": 0.95, "near": 0.93}
#: Parts of the families: training, validation, test.
PARTS: Final = (0.75, 0.1, 0.15)


@dataclass(frozen=True)
class Families:
    """Reads and their families.

    Attributes:
        reads: N distinct reads of ``LENGTH`` bases.
        family: ``(N,)`` numbers of the families, from 0 to ``len(names) - 1``.
        names: Names of the families.
    """

    reads: list[str]
    family: NDArray[np.int64]
    names: list[str]

    def take(self, rows: NDArray[np.int64]) -> Families:
        """The chosen reads, in the order given."""
        return Families([self.reads[row] for row in rows.tolist()], self.family[rows], self.names)

    def of(self, families: NDArray[np.int64]) -> Families:
        """The reads of the chosen families, which get the numbers 0, 1, 2, ..."""
        number = np.full(len(self.names), -1)
        number[families] = np.arange(len(families))
        rows = np.flatnonzero(number[self.family] >= 0)
        kept = self.take(rows)
        return Families(kept.reads, number[kept.family], [self.names[row] for row in families.tolist()])

    def sample(self, most: int, seed: int = 0) -> Families:
        """At most ``most`` reads, drawn from all."""
        drawn = np.random.default_rng(seed).permutation(len(self.reads))[:most]
        return self.take(np.sort(drawn))


class FamilySplit(NamedTuple):
    """Families for training, and two sets of families on which no model is trained."""

    train: Families
    val: Families
    test: Families


def split_families(families: Families, seed: int = 0) -> FamilySplit:
    """Shuffle the families and cut them into three parts; all reads of a family are in one part."""
    order = np.random.default_rng(seed).permutation(len(families.names))
    val, test = (round(part * len(order)) for part in PARTS[1:])
    return FamilySplit(families.of(order[val + test :]), families.of(order[:val]), families.of(order[val : val + test]))


def load_greengenes(source: Path | None = None, seed: int = 0) -> Families:
    """Read the V4 reads of the named families.

    Args:
        source: The folder or the source archive (``.tar.gz``) of ``qiime-default-reference``; by default the installed
            package.
        seed: Seed of the draw from families with more than ``MOST`` reads.

    Raises:
        InputError: If the files do not exist.
    """
    with _open(source, TAXONOMY) as file:
        taxonomy = dict(line.rstrip("\n").split("\t") for line in file)
    of_family: dict[str, list[str]] = defaultdict(list)
    for read, name in v4_reads(source).items():
        ranks = taxonomy[name].split("; ")[:5]
        if len(ranks[-1]) > len("f__"):
            of_family["; ".join(ranks)].append(read)
    generator = np.random.default_rng(seed)
    kept = {family: reads for family, reads in sorted(of_family.items()) if len(reads) >= LEAST}
    drawn = {family: [reads[k] for k in generator.permutation(len(reads))[:MOST]] for family, reads in kept.items()}
    return _families(drawn)


def v4_reads(source: Path | None = None) -> dict[str, str]:
    """The distinct V4 reads of all OTUs, each with the name of the first OTU that has it; see ``load_greengenes``."""
    found: dict[str, str] = {}
    for name, gene in _genes(source):
        read = v4_region(gene)
        if read is not None:
            found.setdefault(read, name)
    return found


def whole_genes(source: Path | None = None, count: int = GENES, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Header and bases of genes drawn from those of ``WHOLE`` bases that are A, C, G and T only."""
    fewest, most = WHOLE
    named = [(name, gene) for name, gene in _genes(source) if fewest <= len(gene) <= most and set(gene) <= set("ACGT")]
    drawn = [named[row] for row in np.random.default_rng(seed).permutation(len(named))[:count]]
    genes = [gene for _, gene in drawn]
    found = Sequences.from_strings(genes)
    headers = [name for name, _ in drawn]
    for column, identity in IDENTITIES.items():
        values = identity_clusters(found, identity).tolist()
        headers = [f"{header} {column}={value}" for header, value in zip(headers, values, strict=True)]
    return zip(headers, genes, strict=True)


def _genes(source: Path | None) -> Iterator[tuple[str, str]]:
    """Name and bases of every OTU."""
    name = ""
    with _open(source, SEQUENCES) as file:
        for line in file:
            if line.startswith(">"):
                name = line[1:].split()[0]
            else:
                yield name, line.strip().upper()


def unseen_reads(source: Path | None = None, known: str = "human16s", far: float = 3) -> Sequences:
    """The V4 reads that are more than ``far`` % of their length away from every read of a known set, in random order."""
    reads = list(v4_reads(source))
    found = Sequences.from_strings(reads)
    edits = nearest_edits(found, load_sequences(known))
    rows = np.flatnonzero(edits > far / 100 * LENGTH)
    return found.take(np.random.default_rng(0).permutation(rows))


def v4_region(sequence: str) -> str | None:
    """The ``LENGTH`` bases after primer 515F, or None if they are missing or not all of them are A, C, G or T.

    Example:
        >>> v4_region("AAGTGCCAGCAGCCGCGGTAA" + "ACGTA" * 40)[:8]
        'ACGTAACG'
    """
    found = PRIMER_515F.search(sequence)
    read = sequence[found.end() : found.end() + LENGTH] if found else ""
    return read if len(read) == LENGTH and set(read) <= set("ACGT") else None


def simulate_families(count: int = 60, size: int = 20, seed: int = 0) -> Families:
    """Families whose ancestors descend from one sequence; a read is its ancestor with 1 to 12 bases drawn again."""
    ancestors = evolve_tree(count, LENGTH, insertion=0.0, deletion=0.0, seed=seed)
    generator = np.random.default_rng(seed)
    letters = np.array(list("ACGT"))
    of_family: dict[str, list[str]] = {}
    for name, codes in zip(ancestors.names, ancestors.padded(), strict=True):
        reads = np.repeat(letters[(codes - codes.min())][None], size, axis=0)
        for read in reads:
            places = generator.choice(LENGTH, generator.integers(1, 13), replace=False)
            read[places] = generator.choice(letters, len(places))
        of_family[name] = sorted({"".join(read) for read in reads})
    return _families(of_family)


def _families(of_family: dict[str, list[str]]) -> Families:
    sizes = [len(reads) for reads in of_family.values()]
    reads = [read for members in of_family.values() for read in members]
    return Families(reads, np.repeat(np.arange(len(sizes)), sizes), list(of_family))


def _open(source: Path | None, name: str) -> IO[str]:
    """Open one of the two files, in the archive, the folder or the installed package."""
    if source is None:
        # The package is located and not imported: its own code is old, and only its files are wanted.
        spec = find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise InputError(f"{PACKAGE}: expected the package, found none; install it: {INSTALL}")
        source = Path(spec.submodule_search_locations[0])
    if source.is_file() and tarfile.is_tarfile(source):
        with tarfile.open(source) as archive:
            for member in archive:
                content = archive.extractfile(member) if Path(member.name).name == f"{name}.gz" else None
                if content is not None:
                    return xopen(BytesIO(content.read()), "rt")
    # Files are compressed in the archive, and no longer so where the package is installed.
    found = next(source.rglob(f"{name}*"), None)
    if found is None:
        raise InputError(
            f"{source}: expected the folder or source archive of qiime-default-reference, found no {name} in it; "
            f"install the package instead: {INSTALL}"
        )
    return xopen(found, "rt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--greengenes", type=Path, help="folder or source archive, if the package is not installed")
    parser.add_argument(
        "--unseen", type=Path, metavar="FASTA", help="write the reads that are far from all of human16s"
    )
    parser.add_argument("--far", type=float, default=3, help="smallest distance in %% of the length, with --unseen (3)")
    parser.add_argument("--genes", type=Path, metavar="FASTA", help=f"write {GENES:,} whole genes, with their clusters")
    options = parser.parse_args()
    try:
        if options.genes:
            lines = [f">{header}\n{gene}\n" for header, gene in whole_genes(options.greengenes)]
            options.genes.write_text("".join(lines))
            print(f"written: {len(lines)} genes to {options.genes}")
            return
        if options.unseen:
            texts = unseen_reads(options.greengenes, far=options.far).to_strings()
            options.unseen.write_text("".join(f">{number}\n{text}\n" for number, text in enumerate(texts)))
            print(f"written: {len(texts)} reads to {options.unseen}")
            return
        split = split_families(load_greengenes(options.greengenes))
    except InputError as error:
        parser.exit(2, f"{error}\n")
    for name, part in split._asdict().items():
        print(f"{name:5} {len(part.names):4} families {len(part.reads):6} reads")


if __name__ == "__main__":
    main()
