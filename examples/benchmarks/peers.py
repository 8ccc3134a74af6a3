"""Other programs for search and clustering, with their seconds and memory: vsearch, MMseqs2, swarm and CD-HIT.

Each function runs one program on a file of reads and returns its result, the wall seconds of the program and its peak memory.
The program gets a copy of the reads that are named by number, so no name in the file can confuse it; the copy is not timed.
The Debian packages ``vsearch``, ``mmseqs2``, ``swarm`` and ``cd-hit`` contain the programs.

Sources: Rognes et al., 2016, doi 10.7717/peerj.2584 (vsearch); Steinegger & Söding, 2017, doi 10.1038/nbt.3988, and 2018, doi
10.1038/s41467-018-04964-5 (MMseqs2); Mahé et al., 2022, doi 10.1093/bioinformatics/btab493 (swarm 3); Fu et al., 2012, doi
10.1093/bioinformatics/bts565 (CD-HIT).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning import InputError, Sequences, load_sequences
from nwa_lightning.sequences.alphabet import DNA
from nwa_lightning.sequences.packed import Packed

#: Debian package of each program.
PACKAGES: Final = {"vsearch": "vsearch", "mmseqs": "mmseqs2", "swarm": "swarm", "cd-hit-est": "cd-hit"}

#: Alignment scores of ``vsearch_search(effort="careful")``: close to unit costs, and no masking, so that the best hit has the
#: smallest edit distance.
_CAREFUL: Final = (
    *("--maxaccepts", "32", "--maxrejects", "256", "--iddef", "1", "--qmask", "none", "--dbmask", "none"),
    *("--match", "2", "--mismatch", "-2", "--gapopen", "2", "--gapext", "2"),
)

#: Options of vsearch for each effort; its own defaults are one accepted and 32 rejected targets per query.
EFFORTS: Final[dict[str, tuple[str, ...]]] = {
    "default": (),
    "careful": _CAREFUL,
    "exhaustive": ("--maxaccepts", "0", "--maxrejects", "0"),
}

#: The word length that the guide of CD-HIT recommends from each identity on.
_WORDS: Final = ((0.95, 10), (0.9, 8), (0.88, 7), (0.85, 6), (0.8, 5))

#: A small process starts the program: on Linux, a program reports at least the peak memory of the process that started it.
_LAUNCHER: Final = """
import json, os, sys, time
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=silent)
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss]))
"""


class Found(NamedTuple):
    """The result of a search.

    Attributes:
        nearest: Name of the best target for the name of each query that has a hit.
        seconds: Wall time of the program.
        peak_mb: Peak memory of the program, in MB.
    """

    nearest: dict[str, str]
    seconds: float
    peak_mb: float


class Clustering(NamedTuple):
    """The result of a clustering.

    Attributes:
        labels: ``(N,)`` number of the cluster of each read, in the order of the file. A read that the program left out has a
            cluster of its own.
        seconds: Wall time of the program.
        peak_mb: Peak memory of the program, in MB.
    """

    labels: NDArray[np.int64]
    seconds: float
    peak_mb: float


def run(command: Sequence[str | Path]) -> tuple[float, float]:
    """Run a program to its end.

    Args:
        command: The program and its arguments.

    Returns:
        Wall seconds, and the peak resident memory in MB (10^6 bytes) of the largest process among the program and all that it
        started. No result is below about 10 MB, the memory of the small process that starts the program.

    Raises:
        InputError: If the program is not installed, or fails.
    """
    program = str(command[0])
    if shutil.which(program) is None:
        package = PACKAGES.get(program, program)
        raise InputError(f"{program}: expected this program, found none; install the Debian package {package}")
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(str, command)]
    done = subprocess.run(launch, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    status, seconds, peak = json.loads(done.stdout) if done.returncode == 0 else (done.returncode, 0.0, 0)
    if status != 0:
        said = " ".join(done.stderr.split())[-300:] or "no message"
        raise InputError(f"{program}: expected exit status 0, found {status}: {said}; check its input and options")
    return seconds, peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def vsearch_search(
    queries: str | Path,
    targets: str | Path,
    *,
    threads: int,
    effort: Literal["default", "careful", "exhaustive"] = "default",
    identity: float = 0.5,
    options: Sequence[str] = (),
) -> Found:
    """The best global alignment of each query (``vsearch --usearch_global``).

    Args:
        queries: File of queries, with distinct names.
        targets: File of targets.
        threads: Threads of the program.
        effort: ``"default"`` stops at the first target that is similar enough, ``"careful"`` aligns up to 32 similar ones with
            almost unit costs, and ``"exhaustive"`` aligns all targets.
        identity: The smallest identity of a hit, from 0 to 1.
        options: Further options of the program.

    Raises:
        InputError: If a file cannot be read, or the program is not installed or fails.
    """
    with _numbered(queries, targets) as (folder, (asked, known)):
        hits = folder / "hits"
        files = ["--usearch_global", folder / "0.fasta", "--db", folder / "1.fasta", "--userout", hits]
        plain = ["--userfields", "query+target", "--maxhits", "1", "--minseqlength", "1", "--quiet"]
        chosen = ["--id", str(identity), "--threads", str(threads), *EFFORTS[effort], *options]
        cost = run(["vsearch", *files, *plain, *chosen])
        return Found(_nearest(_rows(hits), asked, known), *cost)


def mmseqs_search(
    queries: str | Path,
    targets: str | Path,
    *,
    threads: int,
    identity: float = 0.0,
    word: int = 11,
    candidates: int = 20,
    options: Sequence[str] = (),
) -> Found:
    """The best local alignment of each query (``mmseqs easy-search`` of nucleotides, on the forward strand).

    Args:
        queries: File of queries, with distinct names.
        targets: File of targets.
        threads: Threads of the program.
        identity: The smallest identity of a hit, from 0 to 1.
        word: Length of the words that queries and targets share; 0 for its default, 15.
        candidates: The most targets that are aligned per query; the default of the program is 300.
        options: Further options of the program. Its sensitivity ``-s`` has no effect on nucleotides.

    Raises:
        InputError: If a file cannot be read, or the program is not installed or fails.
    """
    with _numbered(queries, targets) as (folder, (asked, known)):
        hits = folder / "hits"
        files = ["easy-search", folder / "0.fasta", folder / "1.fasta", hits, folder / "scratch"]
        plain = ["--search-type", "3", "--strand", "1", "--format-output", "query,target", "-v", "1"]
        chosen = ["-k", str(word), "--max-seqs", str(candidates), "--min-seq-id", str(identity), "--threads", str(threads)]
        cost = run(["mmseqs", *files, *plain, *chosen, *options])
        return Found(_nearest(_rows(hits), asked, known), *cost)


def vsearch_clusters(
    reads: str | Path,
    *,
    threads: int,
    identity: float,
    method: Literal["cluster_size", "cluster_fast"] = "cluster_fast",
    iddef: int = 2,
    maxaccepts: int = 1,
    maxrejects: int = 32,
    strand: Literal["plus", "both"] = "plus",
    options: Sequence[str] = (),
) -> Clustering:
    """Greedy clusters around centroids (vsearch).

    Args:
        reads: File of reads.
        threads: Threads of the program.
        identity: The smallest identity of a read and its centroid, from 0 to 1.
        method: Whether frequent or long reads become centroids first.
        iddef: Definition of the identity: 0 of CD-HIT, 1 of all columns, 2 without the gaps at the ends.
        maxaccepts: Centroids that are similar enough, after which the search stops; 0 for no limit.
        maxrejects: Centroids that are not similar enough, after which the search stops; 0 for no limit.
        strand: Strands to compare.
        options: Further options of the program.

    Raises:
        InputError: If the file cannot be read, or the program is not installed or fails.
    """
    with _numbered(reads) as (folder, (known,)):
        out = folder / "clusters"
        plain = [f"--{method}", folder / "0.fasta", "--uc", out, "--minseqlength", "1", "--quiet", "--threads", str(threads)]
        chosen = ["--id", str(identity), "--iddef", str(iddef), "--strand", strand]
        effort = ["--maxaccepts", str(maxaccepts), "--maxrejects", str(maxrejects)]
        cost = run(["vsearch", *plain, *chosen, *effort, *options])
        members = ((int(row[8]), int(row[1])) for row in _rows(out) if row[0] in "SH")
        return Clustering(_labels(len(known), members), *cost)


def mmseqs_clusters(
    reads: str | Path,
    *,
    threads: int,
    identity: float,
    coverage: float = 0.8,
    mode: Literal["easy-cluster", "easy-linclust"] = "easy-cluster",
    options: Sequence[str] = (),
) -> Clustering:
    """Clusters around representatives (MMseqs2).

    Args:
        reads: File of reads.
        threads: Threads of the program.
        identity: The smallest identity of a local alignment, from 0 to 1.
        coverage: The smallest fraction of both reads that the alignment covers, from 0 to 1.
        mode: Search of all reads, or the faster one in linear time.
        options: Further options of the program.

    Raises:
        InputError: If the file cannot be read, or the program is not installed or fails.
    """
    with _numbered(reads) as (folder, (known,)):
        files = [mode, folder / "0.fasta", folder / "found", folder / "scratch"]
        chosen = ["--min-seq-id", str(identity), "-c", str(coverage), "--threads", str(threads)]
        cost = run(["mmseqs", *files, "--dbtype", "2", "-v", "1", *chosen, *options])
        members = ((int(member), int(first)) for first, member in _rows(folder / "found_cluster.tsv"))
        return Clustering(_labels(len(known), members), *cost)


def swarm_clusters(
    reads: str | Path, *, threads: int, differences: int = 1, options: Sequence[str] = ()
) -> Clustering:
    """Clusters that grow from read to similar read (swarm); copies of a read are counted before, which is not timed.

    Args:
        reads: File of reads.
        threads: Threads of the program.
        differences: The most differences of two reads that are linked; 1 has a fast algorithm of its own.
        options: Further options of the program, such as ``--fastidious`` with one difference.

    Raises:
        InputError: If the file cannot be read, or the program is not installed or fails.
    """
    sequences = load_sequences(reads)
    _, first, copy, sizes = np.unique(sequences.hashes, return_index=True, return_inverse=True, return_counts=True)
    with tempfile.TemporaryDirectory() as name:
        path, out = Path(name) / "reads.fasta", Path(name) / "clusters"
        headers = [f"{number};size={size}" for number, size in enumerate(sizes.tolist())]
        _write(path, sequences.take(first).bases, headers)
        chosen = ["-d", str(differences), "-t", str(threads), *options]
        cost = run(["swarm", "-z", "-o", out, "-l", Path(name) / "log", *chosen, path])
        lines = (row[0].split() for row in _rows(out))
        members = ((int(one.partition(";")[0]), number) for number, line in enumerate(lines) for one in line)
        return Clustering(_labels(len(first), members)[copy], *cost)


def cdhit_clusters(
    reads: str | Path,
    *,
    threads: int,
    identity: float,
    word: int | None = None,
    best: bool = False,
    options: Sequence[str] = (),
) -> Clustering:
    """Greedy clusters around long reads (``cd-hit-est``, forward strand).

    Args:
        reads: File of reads.
        threads: Threads of the program.
        identity: The smallest identity of a read and its representative, at least 0.8.
        word: Length of the words that both share; None for the recommended one.
        best: Whether a read joins the most similar representative instead of the first one.
        options: Further options of the program.

    Raises:
        InputError: If the file cannot be read, or the program is not installed or fails.
    """
    length = word or next((length for least, length in _WORDS if identity >= least), 4)
    with _numbered(reads) as (folder, (known,)):
        files = ["-i", folder / "0.fasta", "-o", folder / "found"]
        chosen = ["-c", str(identity), "-n", str(length), "-g", str(int(best)), "-T", str(threads)]
        cost = run(["cd-hit-est", *files, "-d", "0", "-M", "0", "-r", "0", *chosen, *options])
        members: list[tuple[int, int]] = []
        cluster = -1
        for row in _rows(folder / "found.clstr"):
            if row[0].startswith(">"):
                cluster += 1
            else:  # 0	110nt, >17... at 95.45%
                members.append((int(row[1].partition(">")[2].partition("...")[0]), cluster))
        return Clustering(_labels(len(known), members), *cost)


@contextmanager
def _numbered(*sources: str | Path) -> Iterator[tuple[Path, list[Sequences]]]:
    """A folder with the copies ``0.fasta``, ``1.fasta``, ... of some files, whose reads are named 0, 1, ...; and the reads."""
    known = [load_sequences(source) for source in sources]
    with tempfile.TemporaryDirectory() as name:
        for number, sequences in enumerate(known):
            _write(Path(name) / f"{number}.fasta", sequences.bases, range(len(sequences)))
        yield Path(name), known


def _write(path: Path, bases: Packed, headers: Iterable[object]) -> None:
    with path.open("wb") as file:
        for header, codes in zip(headers, bases, strict=True):
            file.write(b">%s\n%s\n" % (str(header).encode(), codes.translate(DNA.letters_of_codes)))


def _rows(path: Path) -> Iterator[list[str]]:
    """The fields of each line."""
    with path.open() as file:
        for line in file:
            yield line.rstrip("\n").split("\t")


def _nearest(rows: Iterable[list[str]], queries: Sequences, targets: Sequences) -> dict[str, str]:
    """The first target of each query."""
    asked, known = queries.names, targets.names
    if len(set(asked)) < len(asked):
        raise InputError("queries: expected distinct names, found one that occurs twice; rename the reads")
    found: dict[str, str] = {}
    for query, target in rows:
        found.setdefault(asked[int(query)], known[int(target)])
    return found


def _labels(count: int, members: Iterable[tuple[int, int]]) -> NDArray[np.int64]:
    """``(count,)`` clusters, counted from 0, from pairs of a read and any number of its cluster."""
    labels = -1 - np.arange(count)  # reads that no pair names
    for read, cluster in members:
        labels[read] = cluster
    return np.unique(labels, return_inverse=True)[1]
