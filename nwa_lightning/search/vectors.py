"""FAISS indexes of vectors: how to choose, train, fill, merge and search one.

Vectors are compared by Euclidean distance. Small sets are searched whole (flat); larger ones are divided into cells by
k-means, and only the cells nearest to a query are searched (IVF; Jegou et al., 2011, doi 10.1109/TPAMI.2010.57), with 32 or
8 bits per number. Graph indexes (HNSW) are left out: many near copies of a read make a sink that their search cannot leave.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError, one_line
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import replaced

Kind = Literal["flat", "ivf", "ivf8"]
KINDS: Final = ("flat", "ivf", "ivf8")

#: The most vectors that are searched whole, and that are kept with 32 bits per number.
MOST_FLAT: Final = 20_000
MOST_WIDE: Final = 4_000_000

#: Vectors per cell that k-means sees.
_TRAINED: Final = 50

#: Queries of one thread at a time. The same for any number of threads: the last bits of a distance may depend on it.
_CHUNK: Final = 512


def suitable_kind(count: int) -> Kind:
    """The kind of index for a number of vectors."""
    return "flat" if count <= MOST_FLAT else "ivf" if count <= MOST_WIDE else "ivf8"


def suitable_cells(count: int) -> int:
    """Number of cells for a number of vectors: about twice its square root."""
    return max(1, min(1 << 16, 2 * round(math.sqrt(count)), count // _TRAINED))


def wanted_sample(kind: Kind, count: int) -> int:
    """Number of vectors that ``trained`` needs for a set of ``count``."""
    return 1 if kind == "flat" else min(count, _TRAINED * suitable_cells(count))


def trained(kind: Kind, sample: NDArray[np.float32], count: int) -> Any:
    """An empty index.

    Args:
        kind: Kind of index.
        sample: ``(S, m)`` vectors to train on, a random sample of all.
        count: Number of vectors that the index is for.
    """
    faiss = optional("faiss")
    dim = sample.shape[1]
    if kind == "flat":
        return faiss.IndexFlatL2(dim)
    cells = min(suitable_cells(count), len(sample))
    quantizer = faiss.IndexFlatL2(dim)
    if kind == "ivf":
        index = faiss.IndexIVFFlat(quantizer, dim, cells)
    else:
        index = faiss.IndexIVFScalarQuantizer(quantizer, dim, cells, faiss.ScalarQuantizer.QT_8bit)
    index.cp.min_points_per_centroid = 1  # no warning about a small set
    index.cp.seed = 0
    with _one_thread():
        index.train(np.ascontiguousarray(sample))
    return index


def filled(empty: Any, vectors: NDArray[np.float32]) -> Any:
    """A copy of an empty index, with vectors; they are numbered from 0."""
    faiss = optional("faiss")
    index = faiss.clone_index(empty)
    extend(index, vectors)
    return index


def extend(index: Any, vectors: NDArray[np.float32]) -> None:
    """Add vectors to the end of an index."""
    with _one_thread():
        index.add(np.ascontiguousarray(vectors))


def merge(whole: Any, other: Any) -> None:
    """Add the vectors of another index of the same training to the end of the first."""
    if other.ntotal:
        whole.merge_from(other, 0 if _is_flat(whole) else whole.ntotal)


def kind_of(index: Any) -> Kind:
    """The kind of an index."""
    return "flat" if _is_flat(index) else "ivf8" if hasattr(index, "sq") else "ivf"


def emptied(index: Any) -> Any:
    """A copy of an index without its vectors, with the same training."""
    empty = optional("faiss").clone_index(index)
    empty.reset()
    return empty


def cells_of(index: Any) -> int:
    """Number of cells; 1 for a flat index."""
    return 1 if _is_flat(index) else int(index.nlist)


def nearest_vectors(
    index: Any,
    vectors: NDArray[np.float32],
    count: int,
    *,
    cells: int = 1,
    deleted: NDArray[np.int64] | None = None,
    threads: int = 1,
) -> NDArray[np.int64]:
    """Numbers of the nearest vectors.

    Args:
        index: A FAISS index.
        vectors: ``(Q, m)`` queries.
        count: k, how many to return for each.
        cells: Cells that are searched for each query.
        deleted: Numbers to leave out.
        threads: Threads that share the queries; the result does not depend on it.

    Returns:
        ``(Q, k)``, nearest first; -1 where there are no more.
    """
    faiss = optional("faiss")
    out = np.full((len(vectors), count), -1, dtype=np.int64)
    if not index.ntotal or not out.size:  # FAISS refuses to look for nothing
        return out
    options: dict[str, Any] = {}
    if deleted is not None and len(deleted):
        options["sel"] = faiss.IDSelectorNot(faiss.IDSelectorBatch(deleted))
    params = (
        faiss.SearchParameters(**options) if _is_flat(index) else faiss.SearchParametersIVF(nprobe=cells, **options)
    )
    vectors = np.ascontiguousarray(vectors)

    def search(start: int) -> None:
        faiss.omp_set_num_threads(1)
        part = slice(start, start + _CHUNK)
        _, out[part] = index.search(vectors[part], count, params=params)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, range(0, len(vectors), _CHUNK)))
    return out


def write_index(index: Any, path: Path) -> None:
    """Write a FAISS index.

    Raises:
        InputError: If it cannot be written.
    """
    faiss = optional("faiss")
    with replaced(path) as part:
        content = faiss.serialize_index(index)
        part.write_bytes(content.data)


def read_index(path: Path) -> Any:
    """Read a FAISS index.

    Raises:
        InputError: If it cannot be read.
    """
    faiss = optional("faiss")
    try:
        return faiss.deserialize_index(np.fromfile(path, dtype=np.uint8))
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{path}: expected an index, found a damaged file or none ({one_line(error)}); run `nwa index` again"
        ) from None


def _is_flat(index: Any) -> bool:
    return not hasattr(index, "nlist")


class _one_thread:
    """FAISS with one thread, so that its result does not depend on the machine."""

    def __enter__(self) -> None:
        faiss = optional("faiss")
        self._threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        optional("faiss").omp_set_num_threads(self._threads)
