"""Two coordinates for each vector, to draw a map of reads."""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.progress import counted, track
from nwa_lightning.search.extra import optional
from nwa_lightning.search.vectors import filled, nearest_vectors, trained

Method = Literal["tsne", "pca"]

#: The most points of a map.
MOST_POINTS: Final = 100_000

#: Effective number of neighbours of a point.
PERPLEXITY: Final = 30.0

#: The fewest distinct vectors for t-SNE; fewer have too few neighbours to choose from.
_FEWEST: Final = 8

#: Steps of t-SNE with enlarged attraction, and after that.
_STEPS: Final = (250, 500)

#: Steps between two updates of the progress bar.
_SHOWN: Final = 10

#: Vectors whose neighbours are searched for at a time.
_BLOCK: Final = 2048


def layout(
    vectors: NDArray[np.float32], *, seed: int = 0, method: Method = "tsne", threads: int = 1
) -> NDArray[np.float32]:
    """Coordinates of a map in which near points are near vectors.

    ``tsne`` is t-SNE (van der Maaten and Hinton, 2008, "Visualizing data using t-SNE") as openTSNE computes it (Policar et
    al., 2024, doi 10.18637/jss.v109.i03). It keeps neighbours together; large distances and the sizes of clusters mean
    little. It starts from the principal components, which keeps maps alike (Kobak and Berens, 2019, doi
    10.1038/s41467-019-13056-x). Up to 10,000 vectors, repulsion is computed by a tree (Barnes and Hut), and beyond by FFT
    (Linderman et al., 2019, doi 10.1038/s41592-018-0308-4). ``pca`` gives the first two principal components, a linear
    projection. Fewer than 8 distinct vectors are always projected. Equal vectors get one point.

    Args:
        vectors: ``(N, m)`` embeddings, compared by Euclidean distance.
        seed: Seed of the small noise that is added to the start of t-SNE.
        method: ``tsne`` or ``pca``.
        threads: Threads of t-SNE; the result does not depend on them.

    Returns:
        ``(N, 2)`` coordinates.

    Raises:
        InputError: If the method is unknown or a vector is not finite.
    """
    if method not in get_args(Method):
        raise InputError(f"method: expected one of {', '.join(get_args(Method))}, found {method}; give one of them")
    infinite = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(infinite):
        raise InputError(
            f"vectors: expected finite numbers, found others in {len(infinite):,} vectors, the first in row "
            f"{infinite[0] + 1}; train the model again with a lower learning rate"
        )
    distinct, which = _distinct(vectors)
    found = _principal(distinct)
    if method == "tsne" and len(distinct) >= _FEWEST:
        found = _tsne(distinct, found, seed, threads)
    return found.astype(np.float32)[which]


def sample_rows(count: int, seed: int = 0) -> NDArray[np.int64]:
    """The rows to draw: all, or a random sample of ``MOST_POINTS`` of them; in ascending order."""
    if count <= MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, MOST_POINTS, replace=False))


def _distinct(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The distinct vectors in order of first occurrence, and the ``(N,)`` row in them of each vector.

    Copies would fill the list of neighbours of a point, so that t-SNE could not see any other.
    """
    rows = np.ascontiguousarray(vectors + np.float32(0))  # -0.0 becomes 0.0
    if not rows.size:
        return rows[:1], np.zeros(len(rows), dtype=np.int64)
    as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).reshape(-1)
    _, first, which = np.unique(as_bytes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return rows[first[order]], place[which]


def _principal(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """``(N, 2)`` principal components; the largest weight of each axis is positive, for the sign is arbitrary."""
    out = np.zeros((len(vectors), 2))
    if len(vectors) < 2:
        return out
    centred = vectors.astype(np.float64)
    centred -= centred.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.where(largest < 0, -1.0, 1.0)
    out[:, : len(axes)] = centred @ axes.T
    return out


def _tsne(vectors: NDArray[np.float32], principal: NDArray[np.float64], seed: int, threads: int) -> NDArray[np.float64]:
    """t-SNE of distinct vectors, from their principal components."""
    opentsne = optional("openTSNE")
    affinity, neighbours = optional("openTSNE.affinity"), optional("openTSNE.nearest_neighbors")
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    rows, distances = _neighbours(vectors, min(len(vectors) - 1, int(3 * perplexity)), threads)
    attraction = affinity.PerplexityBasedNN(
        knn_index=neighbours.PrecomputedNeighbors(rows, distances), perplexity=perplexity, n_jobs=threads
    )
    start = principal * (1e-4 / principal[:, 0].std())
    # Points on a line, or in one place, would stay there without noise.
    start += np.random.default_rng(seed).normal(scale=1e-6, size=start.shape)
    calls = iter(range(sum(_STEPS)))
    with counted("t-SNE", sum(_STEPS), worth=len(vectors) > 1000) as done:
        found = opentsne.TSNE(
            early_exaggeration_iter=_STEPS[0],
            n_iter=_STEPS[1],
            perplexity=perplexity,
            n_jobs=threads,
            random_state=seed,
            callbacks=[lambda *_: done(_SHOWN * (next(calls) + 1))],
            callbacks_every_iters=_SHOWN,
        ).fit(affinities=attraction, initialization=start)
    return np.asarray(found, dtype=np.float64)


def _neighbours(
    vectors: NDArray[np.float32], count: int, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """``(N, k)`` rows of the nearest other vectors, and their distances, in units of the mean distance."""
    total = len(vectors)
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    scaled = (centred / np.abs(centred).max()).astype(np.float32)  # FAISS subtracts squares of 32 bits
    index = filled(trained("flat", scaled, total), scaled)
    rows, distances = np.empty((total, count), dtype=np.int64), np.empty((total, count))
    for start in track(range(0, total, _BLOCK), "neighbours", worth=total > 10_000):
        part = np.arange(start, min(start + _BLOCK, total))
        found = nearest_vectors(index, scaled[part], count + 1, threads=threads)
        # The vector itself may not come first, or not at all, where rounding hides a small distance.
        others = found != part[:, None]
        others[others.all(axis=1), -1] = False
        rows[part] = found[others].reshape(-1, count)
        distances[part] = np.linalg.norm(scaled[rows[part]] - scaled[part, None], axis=2)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1) / distances.mean()
