"""Other programs for search and clustering, with their seconds and memory: vsearch, MMseqs2, swarm and CD-HIT.

Each function runs one program on a file of reads. The program gets a copy of the reads that are named by number, so that no
name in the file can confuse it; the copy is not timed. The Debian packages ``vsearch``, ``mmseqs2``, ``swarm`` and ``cd-hit``
contain the programs. Defaults are the best settings that we found for nanopore reads with 6 % of errors. All functions take

- files that ``load_sequences`` reads; queries need distinct names,
- ``threads`` of the program, and ``identity``, the smallest of a hit or of a read and its cluster, from 0 to 1,
- ``options`` of the program, which replace those of the function or add to them; None for one without a value,

and raise ``InputError`` if a file cannot be read, or the program is not installed or fails.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning import InputError, Sequences, load_sequences
from nwa_lightning.sequences.alphabet import DNA
from nwa_lightning.sequences.packed import Packed

Options = Mapping[str, object]

#: Debian package of each program.
PACKAGES: Final = {"vsearch": "vsearch", "mmseqs": "mmseqs2", "swarm": "swarm", "cd-hit-est": "cd-hit"}

#: Scores of vsearch whose best alignment has almost the fewest edits, and the identity over all columns. A gap has to cost
#: something to open: without that, vsearch 2.22 finds fewer of the nearest targets.
UNIT_COSTS: Final[Options] = {"--match": 2, "--mismatch": -2, "--gapopen": 2, "--gapext": 2, "--iddef": 1}

#: Options of vsearch for each effort of a search.
EFFORTS: Final[dict[str, Options]] = {
    "default": {},
    "careful": {"--maxaccepts": 64, "--maxrejects": 256, "--qmask": "none", "--dbmask": "none", **UNIT_COSTS},
    "exhaustive": {"--maxaccepts": 0, "--maxrejects": 0, "--qmask": "none", "--dbmask": "none", **UNIT_COSTS},
}

#: Options of vsearch that also cluster reads with 15 % of errors, with an identity of 0.65.
MANY_ERRORS: Final[Options] = {"--wordlength": 6, "--minwordmatches": 6}

#: Options of MMseqs2 for clusters of noisy reads: many short words per read, cheap gaps, and connected components.
_NOISY_READS: Final[Options] = {
    **{"--kmer-per-seq": 100, "--spaced-kmer-mode": 0},
    **{"--gap-open": 3, "--gap-extend": 2, "--cluster-mode": 1},
}

#: The word length that the guide of CD-HIT recommends from each identity on.
_WORDS: Final = ((0.95, 10), (0.9, 8), (0.88, 7), (0.85, 6), (0.8, 5))

#: A program is stopped after so many seconds.
MOST_SECONDS: Final = 600

#: A small process starts the program: on Linux, a program reports at least the peak memory of the process that started it.
_LAUNCHER: Final = """
import json, os, signal, sys, time
silent = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=silent, setpgroup=0)
signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
signal.alarm(int(sys.argv[1]))
_, status, usage = os.wait4(child, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss]))
"""


class Found(NamedTuple):
    """Name of the best target for the name of each query with a hit; wall seconds and peak MB of the program, as in ``run``."""

    nearest: dict[str, str]
    seconds: float
    peak_mb: float


class Clustering(NamedTuple):
    """Clusters of N reads; wall seconds and peak MB of the program, as in ``run``.

    ``labels`` are ``(N,)`` numbers of clusters, in the order of the file. A read that the program left out has its own.
    """

    labels: NDArray[np.int64]
    seconds: float
    peak_mb: float


class TooSlowError(Exception):
    """A program was stopped after ``MOST_SECONDS``."""


def run(command: Sequence[object]) -> tuple[float, float]:
    """Wall seconds and peak memory of a program, given with its arguments.

    The memory, in MB (10^6 bytes), is the resident memory of the largest process among the program and all that it started. No
    result is below about 10 MB, the memory of the small process that starts the program. Raises ``TooSlowError``.
    """
    program = str(command[0])
    if shutil.which(program) is None:
        package = PACKAGES.get(program, program)
        raise InputError(f"{program}: expected this program, found none; install the Debian package {package}")
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(MOST_SECONDS), *map(str, command)]
    done = subprocess.run(launch, capture_output=True, text=True, errors="replace")
    status, seconds, peak = json.loads(done.stdout) if done.returncode == 0 else (done.returncode, 0.0, 0)
    if seconds >= MOST_SECONDS:
        raise TooSlowError(program)
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
    options: Options | None = None,
) -> Found:
    """The best global alignment of each query (``vsearch --usearch_global``).

    The effort ``"default"`` is that of the program, which takes the first target that is similar enough. ``"careful"`` aligns up
    to 64 of them, and ``"exhaustive"`` all, both with almost unit costs.
    """
    with _numbered(queries, targets) as (folder, (asked, known)):
        files = {"--usearch_global": folder / "0.fasta", "--db": folder / "1.fasta", "--userout": folder / "hits"}
        shape = {"--userfields": "query+target", "--maxhits": 1, "--minseqlength": 1, "--quiet": None}
        chosen = {"--threads": threads, "--id": identity, **EFFORTS[effort], **(options or {})}
        cost = run(["vsearch", *_flat({**files, **shape, **chosen})])
        return Found(_nearest(_rows(folder / "hits"), asked, known), *cost)


def mmseqs_search(
    queries: str | Path,
    targets: str | Path,
    *,
    threads: int,
    identity: float = 0.0,
    word: int = 11,
    candidates: int = 50,
    options: Options | None = None,
) -> Found:
    """The best local alignment of each query (``mmseqs easy-search`` of nucleotides, on the forward strand).

    ``word`` is the length of the words of its index; by default the program takes 15, and 8 GB for the index. ``candidates`` are
    the most targets that it aligns per query, by default 300. Its sensitivity ``-s`` has no effect on nucleotides.
    """
    with _numbered(queries, targets) as (folder, (asked, known)):
        files = ["easy-search", folder / "0.fasta", folder / "1.fasta", folder / "hits", folder / "scratch"]
        shape = {"--search-type": 3, "--strand": 1, "--format-output": "query,target", "-v": 1, "--threads": threads}
        effort = {"--min-seq-id": identity, "-k": word, "--max-seqs": candidates, "--gap-open": 3, "--gap-extend": 2}
        cost = run(["mmseqs", *files, *_flat({**shape, **effort, **(options or {})})])
        return Found(_nearest(_rows(folder / "hits"), asked, known), *cost)


def vsearch_clusters(
    reads: str | Path,
    *,
    threads: int,
    identity: float = 0.75,
    method: Literal["cluster_size", "cluster_fast"] = "cluster_fast",
    maxaccepts: int = 8,
    maxrejects: int = 128,
    strand: Literal["plus", "both"] = "plus",
    tuned: bool = True,
    options: Options | None = None,
) -> Clustering:
    """Greedy clusters around centroids, which are the longest or the most frequent reads (vsearch).

    The search for a centroid stops after ``maxaccepts`` similar and ``maxrejects`` other ones; by default, the program takes 1
    and 32. ``tuned`` aligns with almost unit costs and without masks, instead of as the program does by default. For reads with
    15 % of errors, take an identity of 0.65 and the options ``MANY_ERRORS``.
    """
    with _numbered(reads) as (folder, (known,)):
        files = {f"--{method}": folder / "0.fasta", "--uc": folder / "clusters", "--minseqlength": 1, "--quiet": None}
        effort = {"--id": identity, "--maxaccepts": maxaccepts, "--maxrejects": maxrejects, "--strand": strand}
        scores = {"--qmask": "none", **UNIT_COSTS} if tuned else {}
        cost = run(["vsearch", *_flat({**files, "--threads": threads, **effort, **scores, **(options or {})})])
        members = ((int(row[8]), int(row[1])) for row in _rows(folder / "clusters") if row[0] in "SH")
        return Clustering(_labels(len(known), members), *cost)


def mmseqs_clusters(
    reads: str | Path,
    *,
    threads: int,
    identity: float = 0.5,
    coverage: float = 0.92,
    mode: Literal["easy-cluster", "easy-linclust"] = "easy-cluster",
    tuned: bool = True,
    options: Options | None = None,
) -> Clustering:
    """Clusters of reads by local alignments that cover a fraction of both, ``coverage`` (MMseqs2).

    ``easy-cluster`` compares more pairs than ``easy-linclust``, which takes linear time. ``tuned`` means more and shorter words
    and cheaper gaps than the program takes by default, and connected components.
    """
    with _numbered(reads) as (folder, (known,)):
        files = [mode, folder / "0.fasta", folder / "found", folder / "scratch"]
        plain = {"--dbtype": 2, "-v": 1, "--threads": threads, "--min-seq-id": identity, "-c": coverage}
        words = {"-k": 9 if mode == "easy-cluster" else 13, **_NOISY_READS} if tuned else {}
        cost = run(["mmseqs", *files, *_flat({**plain, **words, **(options or {})})])
        members = ((int(member), int(first)) for first, member in _rows(folder / "found_cluster.tsv"))
        return Clustering(_labels(len(known), members), *cost)


def swarm_clusters(
    reads: str | Path, *, threads: int, differences: int = 12, options: Options | None = None
) -> Clustering:
    """Clusters that grow from read to read by at most some ``differences`` (swarm).

    One difference has a fast algorithm of its own. Copies of a read are counted before, which is not timed.
    """
    known = load_sequences(reads)
    _, first, copy, sizes = np.unique(known.hashes, return_index=True, return_inverse=True, return_counts=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "0.fasta", known.bases.take(first), (f"{row};size={size}" for row, size in enumerate(sizes)))
        plain = {"-z": None, "-o": folder / "clusters", "-l": folder / "log", "-d": differences, "-t": threads}
        cost = run(["swarm", *_flat({**plain, **(options or {})}), folder / "0.fasta"])
        lines = enumerate(row[0].split() for row in _rows(folder / "clusters"))
        members = ((int(one.partition(";")[0]), number) for number, line in lines for one in line)
        return Clustering(_labels(len(first), members)[copy], *cost)


def cdhit_clusters(
    reads: str | Path, *, threads: int, identity: float = 0.82, best: bool = True, options: Options | None = None
) -> Clustering:
    """Greedy clusters around long reads (``cd-hit-est``, forward strand); the identity is at least 0.8.

    With ``best``, a read joins the most similar cluster and not the first one, which takes longer.
    """
    with _numbered(reads) as (folder, (known,)):
        plain = {"-i": folder / "0.fasta", "-o": folder / "found", "-d": 0, "-M": 0, "-r": 0, "-T": threads}
        word = next((length for least, length in _WORDS if identity >= least), 4)
        chosen = {"-c": identity, "-n": word, "-g": int(best), **(options or {})}
        cost = run(["cd-hit-est", *_flat({**plain, **chosen})])
        return Clustering(_labels(len(known), _cdhit_members(folder / "found.clstr")), *cost)


def _cdhit_members(path: Path) -> Iterator[tuple[int, int]]:
    """Reads and their clusters. ``>Cluster 5`` is above its reads, such as ``0	110nt, >17... at 95.45%``."""
    cluster = -1
    for row in _rows(path):
        if len(row) == 1:
            cluster += 1
        else:
            yield int(row[1].partition(">")[2].partition("...")[0]), cluster


def _flat(options: Options) -> Iterator[object]:
    """Options and their values, for a command."""
    for name, value in options.items():
        yield from (name,) if value is None else (name, value)


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
