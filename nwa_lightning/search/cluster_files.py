"""Files of clusters: centroids and consensus sequences as FASTA, members and samples as tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.progress import track
from nwa_lightning.search.clusters import Clusters
from nwa_lightning.search.consensus import consensus
from nwa_lightning.search.files import replaced
from nwa_lightning.search.format_rows import Hit, Member
from nwa_lightning.search.reads import name_and_size
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.packed import Packed

#: The sample of a read in its name, as vsearch finds it; without one, the letters that the name begins with.
_SAMPLE: Final = re.compile(r"(?:\A|;)(?:sample|barcodelabel)=([^;]+)")
_BEGINNING: Final = re.compile(r"\A\w*", re.ASCII)

#: Cells of an OTU table that fits into memory.
_MOST_CELLS: Final = 100_000_000


class Records(NamedTuple):
    """The records of the file that was clustered, copies included.

    Attributes:
        labels: Their names as in the file.
        row: ``(N,)`` distinct read of each.
    """

    labels: Packed
    row: NDArray[np.int64]


def write_centroids(clusters: Clusters, path: Path, alphabet: Alphabet = DNA) -> None:
    """FASTA of the centroids, with ``;size=N``, reads of the cluster.

    Raises:
        InputError: If the file cannot be written.
    """
    chosen = clusters.reads.sequences.take(clusters.centroids)
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for name, letters, size in zip(
            _names(chosen), chosen.to_strings(alphabet), clusters.sizes.tolist(), strict=True
        ):
            file.write(f">{name};size={size}\n{letters}\n")


def write_consensus(clusters: Clusters, path: Path, alphabet: Alphabet = DNA) -> None:
    """FASTA of the consensus of every cluster, named after the centroid.

    Raises:
        InputError: If the file cannot be written.
    """
    names = _names(clusters.reads.sequences.take(clusters.centroids))
    sizes = clusters.sizes.tolist()
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for number, rows in enumerate(track(list(_rows_of(clusters)), "consensus", worth=len(clusters) > 500)):
            some = clusters.reads.take(rows)
            # Commonest first, then in an order that depends on the reads alone: the result may depend on it.
            reads = some.take(np.lexsort((some.sequences.hashes, -some.sizes)))
            found = consensus(reads.sequences.to_strings(alphabet), reads.sizes.tolist())
            file.write(f">{names[number]};size={sizes[number]}\n{found}\n")


def write_members(clusters: Clusters, records: Records, diameters: NDArray[np.int64], path: Path) -> None:
    """A table with a line for every record of the file, in its order.

    Columns: ``read``; ``cluster``, from 0; ``centroid``; ``edits`` to the centroid; ``size`` of the cluster; ``diameter``, the
    largest edit distance between two reads of the cluster, empty for clusters that are too large to compare all pairs.

    Raises:
        InputError: If the file cannot be written.
    """
    names = _names(clusters.reads.sequences.take(clusters.centroids))
    sizes = clusters.sizes.tolist()
    wide = ["" if value < 0 else str(value) for value in diameters.tolist()]
    cluster, edits = clusters.cluster[records.row].tolist(), clusters.edits[records.row].tolist()
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write("read\tcluster\tcentroid\tedits\tsize\tdiameter\n")
        for label, number, far in zip(records.labels, cluster, edits, strict=True):
            name = _cell(name_and_size(label)[0].decode())
            file.write(f"{name}\t{number}\t{names[number]}\t{far}\t{sizes[number]}\t{wide[number]}\n")


def write_otu_table(clusters: Clusters, records: Records, path: Path) -> None:
    """A table of reads per cluster and sample, in the form of vsearch's ``--otutabout``.

    The sample of a read is ``;sample=X`` or ``;barcodelabel=X`` in its name, or the letters, digits and underscores with
    which the name begins.

    Raises:
        InputError: If the file cannot be written, or there are too many samples.
    """
    samples: dict[str, int] = {}
    places, sizes = [], []
    for label in records.labels:
        name, size = label.decode(), name_and_size(label)[1]
        found = _SAMPLE.search(name)
        sample = _cell(found[1] if found else _BEGINNING.findall(name)[0])
        places.append(samples.setdefault(sample, len(samples)))
        sizes.append(size)
    if len(samples) * len(clusters) > _MOST_CELLS:
        raise InputError(
            f"--otutab: expected names with samples, found {len(samples):,} different ones; write ;sample=X into the names"
        )
    counts = np.zeros((len(clusters), len(samples)), dtype=np.int64)
    np.add.at(counts, (clusters.cluster[records.row], np.array(places, dtype=np.int64)), sizes)
    order = sorted(samples)
    columns = counts[:, [samples[sample] for sample in order]].tolist()
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(["#OTU ID", *order]) + "\n")
        for name, row in zip(_names(clusters.reads.sequences.take(clusters.centroids)), columns, strict=True):
            file.write("\t".join([name, *map(str, row)]) + "\n")


def members(clusters: Clusters, alphabet: Alphabet = DNA) -> Iterator[Member]:
    """The distinct reads of every cluster, centroid first, for ``write_cluster_uc``."""
    reads = clusters.reads
    for number, rows in enumerate(_rows_of(clusters)):
        centroid = int(clusters.centroids[number])
        ordered = [centroid, *(row for row in rows.tolist() if row != centroid)]
        some = reads.take(np.array(ordered))
        letters, names = some.sequences.to_strings(alphabet), _names(some.sequences)
        for place, row in enumerate(ordered):
            hit = None
            if place:
                hit = Hit(names[place], names[0], letters[place], letters[0], int(clusters.edits[row]), "+", number)
            yield Member(number, names[place], len(letters[place]), int(some.sizes[place]), hit)


def _names(sequences: Sequences) -> list[str]:
    return [_cell(name) for name in sequences.names]


def _cell(name: str) -> str:
    """A name without tabs and line ends, which a table may have; `nwa embed` writes it in the same way."""
    return b" ".join(name.encode().split()).decode()


def _rows_of(clusters: Clusters) -> list[NDArray[np.int64]]:
    order = np.argsort(clusters.cluster, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(clusters.cluster, minlength=len(clusters)))[:-1])
    return parts[: len(clusters)]  # without clusters there is one part, which is empty
