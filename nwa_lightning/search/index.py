"""Index: reads to search by embeddings and by exact edit distance."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning._kernels import default_threads
from nwa_lightning.errors import InputError
from nwa_lightning.search.exact import exact_hits, letters_of
from nwa_lightning.search.hits import Hits, joined
from nwa_lightning.search.index_files import read_folder, write_folder
from nwa_lightning.search.limits import Limit
from nwa_lightning.search.reads import Reads, concatenated, distinct_reads
from nwa_lightning.search.recall import Effort, Recall, efforts, measure, sample_size
from nwa_lightning.search.vectors import (
    Kind,
    cells_of,
    extend,
    filled,
    nearest_vectors,
    suitable_kind,
    trained,
    wanted_sample,
)
from nwa_lightning.sequences.alphabet import DNA, Alphabet
from nwa_lightning.sequences.collection import Sequences
from nwa_lightning.sequences.strands import reverse_complement

if TYPE_CHECKING:
    from typing_extensions import Self

    from nwa_lightning.search.embedder import ReadEmbedder

#: Queries that are searched at a time.
_QUERIES: Final = 4096


class Found(NamedTuple):
    """What ``Index.search`` returns.

    Attributes:
        hits: The nearest targets of each query.
        recall: What was measured on a sample of the queries; None if all targets were compared.
    """

    hits: Hits
    recall: Recall | None


class Index:
    """Reads and their vectors. Vectors find candidates; exact edit distances decide.

    Make one by ``build`` or ``load``.

    Args:
        reads: The reads to be found.
        embedder: The model of the vectors; None for a search without vectors, which compares all pairs.
        vectors: A FAISS index of the reads, in their order; None without a model.
        alphabet: Alphabet of the reads.

    Example:
        >>> index = Index.build(Sequences.from_strings(["ACGTACGT", "ACGTTCGT", "GGGGCCCC"]))
        >>> index.search(Sequences.from_strings(["ACGTACGA"])).hits.edits.tolist()
        [1]
    """

    def __init__(
        self, reads: Reads, embedder: ReadEmbedder | None, vectors: Any | None, alphabet: Alphabet = DNA
    ) -> None:
        self.reads = reads
        self.embedder = embedder
        self.vectors = vectors
        self.alphabet = alphabet if embedder is None else embedder.alphabet
        self.deleted = np.zeros(len(reads), dtype=bool)

    @classmethod
    def build(
        cls,
        sequences: Sequences,
        embedder: ReadEmbedder | None = None,
        *,
        alphabet: Alphabet = DNA,
        kind: Kind | None = None,
    ) -> Self:
        """Index sequences in memory; copies count once.

        Args:
            sequences: The sequences to be found.
            embedder: The model; None for a search that compares all pairs.
            alphabet: Alphabet of the sequences, if there is no model.
            kind: Kind of the FAISS index; None chooses by the number of reads.

        Raises:
            InputError: If a sequence is too long for the model.
        """
        reads = distinct_reads(sequences).reads
        if embedder is None:
            return cls(reads, None, None, alphabet)
        vectors = embedder.embed(reads.sequences)
        chosen = kind or suitable_kind(len(reads))
        sample = np.random.default_rng(0).permutation(len(reads))[: wanted_sample(chosen, len(reads))]
        return cls(reads, embedder, filled(trained(chosen, vectors[np.sort(sample)], len(reads)), vectors))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read an index that ``nwa index`` or ``save`` wrote.

        Raises:
            InputError: If there is none, a file is damaged, or reads were added since it was made.
        """
        found = read_folder(Path(folder))
        index = cls(found.reads, found.embedder, found.vectors)
        index.deleted[found.deleted] = True
        return index

    def save(self, folder: str | Path) -> None:
        """Write the index with its reads, vectors and model, in the form of ``nwa embed`` and ``nwa index``.

        The kind of the index and its cells stay the same; reads that were deleted are left out.

        Raises:
            InputError: If the folder cannot be written, or there is no model.
        """
        if self.embedder is None:
            raise InputError("save: expected an index with a model, found one without; build it with an embedder")
        write_folder(Path(folder), self.reads.take(np.flatnonzero(~self.deleted)), self.embedder, self.vectors)

    def add(self, sequences: Sequences) -> None:
        """Add sequences; copies of one another count once, a copy of a read that is there already is another read.

        Raises:
            InputError: If a sequence is too long for the model.
        """
        new = distinct_reads(sequences).reads
        if self.embedder is not None and self.vectors is not None:
            extend(self.vectors, self.embedder.embed(new.sequences))
        self.reads = concatenated([self.reads, new])
        self.deleted = np.concatenate([self.deleted, np.zeros(len(new), dtype=bool)])

    def delete(self, names: Iterable[str]) -> int:
        """Leave out all reads of these names from now on.

        Returns:
            Number of reads that were deleted.

        Raises:
            InputError: If there is no read of one of the names.
        """
        wanted = {name.encode() for name in names}
        labels = list(self.reads.sequences.labels)
        unknown = wanted - set(labels)
        if unknown:
            raise InputError(
                f"delete: expected names of reads in the index, found {min(unknown).decode()} ({len(unknown)} unknown names); a "
                f"read that was embedded as a copy has the name of the first copy"
            )
        rows = np.array([label in wanted for label in labels], dtype=bool) & ~self.deleted
        self.deleted |= rows
        return int(rows.sum())

    def search(
        self,
        queries: Sequences,
        most: int = 1,
        *,
        maxdist: int | None = None,
        identity: float | None = None,
        recall: float = 0.99,
        effort: Effort | None = None,
        exact: bool = False,
        both_strands: bool = False,
        threads: int | None = None,
    ) -> Found:
        """The nearest reads of every query by edit distance.

        Edit distances of all hits are exact, and so are ``maxdist`` and ``identity``. Only the choice of the candidates is
        approximate: their number is the smallest with which the true nearest reads of a sample of the queries are found.

        Args:
            queries: Sequences to look for.
            most: The most hits of a query.
            maxdist: The most edits of a hit.
            identity: The lowest identity of a hit: 1 minus edits over the longer length.
            recall: Fraction of the sample whose nearest read has to be found.
            effort: Candidates and cells, in place of a measurement.
            exact: Compare every query with every read.
            both_strands: Also look for the reverse complement of every query.
            threads: Threads that share the queries; None for all processors.

        Raises:
            InputError: If a query is too long for the model, or a number is out of range.
        """
        if most < 1:
            raise InputError(f"hits: expected at least 1, found {most}; give a larger number")
        if not 0 < recall <= 1:
            raise InputError(f"recall: expected more than 0 and at most 1, found {recall}; write 99 % as 0.99")
        limit = Limit(maxdist, identity)
        threads = threads or default_threads()
        live = np.flatnonzero(~self.deleted)
        exact = exact or self.vectors is None or self.embedder is None
        job = _Search(self, live, most, limit, threads, queries)
        if exact:
            hits, measured = job.exact(queries), None
        else:
            measured = Recall(effort, 0, 0) if effort is not None else job.measured(recall)
            hits = job.by_vectors(queries, measured.effort)
        if both_strands:
            others = reverse_complement(queries, self.alphabet)
            found = job.exact(others) if measured is None else job.by_vectors(others, measured.effort)
            hits = joined(hits, Hits(found.query, found.target, found.edits, np.ones(len(found), dtype=bool)))
        return Found(hits.best(most), measured if effort is None else None)


class _Search:
    """One search: an index, the limits, and the queries."""

    def __init__(
        self, index: Index, live: NDArray[np.int64], most: int, limit: Limit, threads: int, queries: Sequences
    ) -> None:
        limit.check()
        self.index = index
        self.live = live
        self.most = most
        self.limit = limit
        self.threads = threads
        self.queries = queries
        self.targets = index.reads.sequences

    def exact(self, queries: Sequences) -> Hits:
        """All pairs."""
        targets = self.targets if len(self.live) == len(self.targets) else self.targets.take(self.live)
        hits = exact_hits(queries, targets, most=self.most, limit=self.limit, threads=self.threads)
        return Hits(hits.query, self.live[hits.target], hits.edits, hits.reverse)

    def by_vectors(self, queries: Sequences, effort: Effort) -> Hits:
        """Candidates of the index, ranked by exact distance; queries are embedded block by block."""
        assert self.index.embedder is not None
        found = Hits.of_table(np.empty((0, 1), dtype=np.int64), np.empty((0, 1), dtype=np.int64))
        for start in range(0, len(queries), _QUERIES):
            part = queries.take(np.arange(start, min(start + _QUERIES, len(queries))))
            hits = self.ranked(part, self.index.embedder.embed(part), effort)
            found = joined(found, Hits(hits.query + start, hits.target, hits.edits, hits.reverse))
        return found

    def ranked(self, queries: Sequences, vectors: NDArray[np.float32], effort: Effort) -> Hits:
        """The nearest of the candidates of some queries."""
        candidates = nearest_vectors(
            self.index.vectors,
            vectors,
            effort.candidates,
            cells=effort.cells,
            deleted=np.flatnonzero(self.index.deleted),
            threads=self.threads,
        )
        query, place = np.nonzero(candidates >= 0)
        rows, used = np.unique(candidates[query, place], return_inverse=True)
        letters = letters_of(queries, self.targets.take(rows), threads=self.threads)
        edits = letters.pairs(np.stack([query, len(queries) + used], axis=1), threads=self.threads)
        hits = Hits(query, rows[used], edits.astype(np.int64), np.zeros(len(query), dtype=bool))
        return hits.take(self.limit.keeps(hits, queries.lengths, self.targets.lengths)).best(self.most)

    def measured(self, wanted: float) -> Recall:
        """The least effort that finds the nearest reads of a sample of the queries."""
        assert self.index.embedder is not None
        count = sample_size(len(self.queries), len(self.live))
        rows = np.sort(np.random.default_rng(0).permutation(len(self.queries))[:count])
        sample = self.queries.take(rows)
        vectors = self.index.embedder.embed(sample)
        nearest = _Search(self.index, self.live, 1, self.limit, self.threads, sample)
        ladder = efforts(len(self.live), cells_of(self.index.vectors), self.most)
        return measure(
            rows, nearest.exact(sample), lambda _, effort: nearest.ranked(sample, vectors, effort), ladder, wanted
        )
