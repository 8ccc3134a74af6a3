"""Trees from distances of all reads to all, in Newick format."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nwa_lightning.errors import InputError
from nwa_lightning.search.distance_matrix import Distances, check_names
from nwa_lightning.search.extra import optional
from nwa_lightning.search.files import replaced

#: The methods, with the fewest reads that each needs, and bytes per pair of reads (each pair counts twice).
METHODS: Final = {"nj": (3, 8), "gme": (3, 8), "upgma": (2, 9)}

#: Names that need no quotes in Newick.
_PLAIN: Final = re.compile(r"[A-Za-z0-9.|/+-]+")


class Tree(NamedTuple):
    """A tree of N leaves, whose nodes have numbers: first the leaves, then all others, children before parents.

    Attributes:
        children: Children of node N, node N + 1, ...; the last is the root.
        lengths: Length of the branch above each node, in the unit of the distances; that of the root is unused.
    """

    children: list[list[int]]
    lengths: list[float]


def build_tree(distances: Distances, method: str = "nj") -> Tree:
    """Make a tree of reads.

    - ``nj``: neighbour joining (Saitou and Nei, 1987, doi 10.1093/oxfordjournals.molbev.a040454), by scikit-bio. Its time
      grows with the third power of the reads.
    - ``gme``: greedy minimum evolution (Desper and Gascuel, 2002, doi 10.1089/106652702761034136), by scikit-bio. Its time
      grows with the square.
    - ``upgma``: average linkage (Sokal and Michener, 1958), by SciPy. Its time grows with the square; all leaves are
      equally far from the root.

    The trees of ``nj`` and ``gme`` have no root: the first node has three children. Branches of negative length get
    length 0. Ties fall by the order of the reads, so the same reads in the same order give the same tree.

    Args:
        distances: Of N reads.
        method: One of ``METHODS``.

    Raises:
        InputError: See ``check_tree``.
    """
    check_tree(distances.names, method)
    if method == "upgma":
        return _upgma(_condensed(distances))
    return _by_skbio(_square(distances), method)


def check_tree(names: list[str], method: str) -> None:
    """Make sure, before the work begins, that a tree can be made.

    Args:
        names: Names of the reads.
        method: One of ``METHODS``.

    Raises:
        InputError: If the method is unknown, a name occurs twice, there are too few reads, or so many that their distances
            do not fit in the memory.
    """
    if method not in METHODS:
        raise InputError(f"--method: expected one of {', '.join(METHODS)}, found {method}; name one of them")
    fewest, each = METHODS[method]
    if len(names) < fewest:
        raise InputError(f"reads: expected at least {fewest} for a tree by {method}, found {len(names)}; add reads")
    check_names(names, "reads")
    needed, there = each * len(names) ** 2, _memory()
    if there is not None and needed > there:
        raise InputError(
            f"reads: expected a number whose distances fit in the memory of {there:,} bytes, found {len(names):,} reads, which "
            f"need {needed:,} bytes; make fewer of them by `nwa cluster`, and a tree of its centroids"
        )


def write_tree(tree: Tree, names: list[str], out: Path) -> None:
    """Write a tree in Newick format, in one line.

    Args:
        tree: Of N leaves.
        names: N names.
        out: Where.

    Raises:
        InputError: If the file cannot be written.
    """
    with replaced(out) as part:
        part.write_bytes(f"{newick(tree, names)}\n".encode())


def newick(tree: Tree, names: list[str]) -> str:
    """A tree in Newick format (Archie et al., 1986).

    Names with other letters than those of ``A-Z a-z 0-9 . | / + -`` are in single quotes. So is ``_``, which stands for a
    space elsewhere.

    Args:
        tree: Of N leaves.
        names: N names.
    """
    parts: list[str] = []
    root = len(names) + len(tree.children) - 1
    # What is still to be written, the last first: a node, or text. No recursion: trees of similar reads are deep.
    waiting: list[int | str] = [";", root]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            parts.append(item)
            continue
        length = "" if item == root else f":{tree.lengths[item]:.6g}"
        if item < len(names):
            parts.append(f"{_quoted(names[item])}{length}")
            continue
        parts.append("(")
        waiting.append(f"){length}")
        for child in reversed(tree.children[item - len(names)]):
            waiting += [child, ","]
        waiting.pop()
    return "".join(parts)


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else "'{}'".format(name.replace("'", "''"))


def _memory() -> int | None:
    """Bytes of memory of this machine; None if the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _condensed(distances: Distances) -> NDArray[np.float64]:
    """``(N (N - 1) / 2,)`` distances above the diagonal."""
    count = len(distances)
    found = np.empty(count * (count - 1) // 2)
    place = 0
    for _, block in distances.blocks(upper=True):
        for number, row in enumerate(block, start=1):
            kept = row[number:]
            found[place : place + len(kept)] = kept
            place += len(kept)
    return found


def _square(distances: Distances) -> NDArray[np.float64]:
    """``(N, N)`` distances."""
    count = len(distances)
    found = np.empty((count, count))
    for first, block in distances.blocks(upper=True):
        rows = slice(first, first + len(block))
        found[rows, first:] = block
        found[first:, rows] = block.T
    return found


def _upgma(condensed: NDArray[np.float64]) -> Tree:
    from scipy.cluster.hierarchy import average

    merges = average(condensed)
    count = len(merges) + 1
    # Half of the distance at which two clusters merge is the height of the node above them.
    height = np.concatenate([np.zeros(count), merges[:, 2] / 2])
    children = merges[:, :2].astype(np.int64)
    lengths = np.zeros(2 * count - 1)
    lengths[children] = height[count:, None] - height[children]
    return Tree(children.tolist(), np.maximum(lengths, 0).tolist())


def _by_skbio(square: NDArray[np.float64], method: str) -> Tree:
    trees, count = optional("skbio.tree"), len(square)
    ids = [str(number) for number in range(count)]
    matrix = optional("skbio").DistanceMatrix(square, ids, validate=False)
    root = trees.nj(matrix, inplace=True) if method == "nj" else trees.gme(matrix)
    children: list[list[int]] = []
    lengths = [0.0] * count
    number_of: dict[int, int] = {}
    for node in root.postorder():
        if node.is_tip():
            number = int(node.name)
            lengths[number] = float(node.length)
        else:
            number = count + len(children)
            children.append([number_of[id(child)] for child in node.children])
            lengths.append(float(node.length or 0))
        number_of[id(node)] = number
    return Tree(children, lengths)
