import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import average, cophenet
from scipy.spatial.distance import squareform
from skbio import TreeNode

from nwa_lightning import InputError, load_sequences
from nwa_lightning.search import trees
from nwa_lightning.search.distance_matrix import Distances, ExactDistances
from nwa_lightning.search.trees import METHODS, Tree, build_tree, check_tree, newick, write_tree
from nwa_lightning.sequences.collection import Sequences


class Given(Distances):
    """Distances from a table."""

    unit = np.dtype(np.float64)

    def __init__(self, table, names=None):
        super().__init__(Sequences.from_strings(["A"] * len(table)))
        self.table = np.asarray(table, dtype=np.float64)
        self.names = names or self.names

    def edits(self, rows, columns):
        return self.table[rows, columns]


def random_table(count, seed):
    table = np.random.default_rng(seed).random((count, count)) + 1
    return np.triu(table, 1) + np.triu(table, 1).T


def random_tree(count, seed):
    """A tree with a root of three children and random branch lengths, and the lengths of the paths between its leaves."""
    generator = np.random.default_rng(seed)
    roots, children = list(range(count)), []
    while len(roots) > 3:
        one, two = (roots.pop(int(generator.integers(len(roots)))) for _ in range(2))
        roots.append(count + len(children))
        children.append([one, two])
    children.append(roots)
    lengths = (generator.random(count + len(children)) + 0.1).tolist()
    return Tree(children, lengths), paths(Tree(children, lengths), count)


def paths(tree, count):
    """Length of the path between any two leaves: the branches that have one of them below."""
    below = [{leaf} for leaf in range(count)]
    for children in tree.children:
        below.append(set().union(*(below[child] for child in children)))
    found = np.zeros((count, count))
    for leaves, length in zip(below[:-1], tree.lengths, strict=False):
        inside = np.isin(np.arange(count), list(leaves))
        found += length * (inside[:, None] != inside[None])
    return found


def splits(tree, count):
    """The partitions of the leaves by inner branches, each by the side without leaf 0."""
    below = [frozenset([leaf]) for leaf in range(count)]
    for children in tree.children:
        below.append(frozenset().union(*(below[child] for child in children)))
    every = frozenset(range(count))
    sides = {leaves if 0 not in leaves else every - leaves for leaves in below}
    return {side for side in sides if 1 < len(side) < count - 1}


def neighbour_joining(table):
    """The partitions of neighbour joining (Saitou and Nei, 1987), by plain loops."""
    table = {(i, j): table[i][j] for i in range(len(table)) for j in range(len(table))}
    count = len({i for i, _ in table})
    below = {i: frozenset([i]) for i in range(count)}
    every, found, fresh = frozenset(range(count)), set(), count
    while len(below) > 3:
        sums = {i: sum(table[i, j] for j in below) for i in below}
        one, two = min(
            ((i, j) for i in below for j in below if i < j),
            key=lambda pair: (len(below) - 2) * table[pair] - sums[pair[0]] - sums[pair[1]],
        )
        for other in below:
            table[fresh, other] = table[other, fresh] = (table[one, other] + table[two, other] - table[one, two]) / 2
        table[fresh, fresh] = 0.0
        below[fresh] = below.pop(one) | below.pop(two)
        found.add(below[fresh] if 0 not in below[fresh] else every - below[fresh])
        fresh += 1
    return {side for side in found if 1 < len(side) < count - 1}


def read(text):
    return TreeNode.read(io.StringIO(text), format="newick", verify=False)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("nwa_lightning.search.distance_matrix._MOST_ROWS", 16)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [2, 3, 4, 40])
def test_upgma_is_that_of_scipy(count):
    table = random_table(count, count)
    tree = build_tree(Given(table), "upgma")
    assert len(tree.lengths) == 2 * count - 1
    assert min(tree.lengths) >= 0
    expected = squareform(cophenet(average(squareform(table))))
    np.testing.assert_allclose(paths(tree, count), expected, rtol=1e-9)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("method", ["nj", "gme"])
@pytest.mark.parametrize("count", [3, 4, 5, 40])
def test_additive_distances_give_back_their_tree(method, count):
    for seed in range(3):
        true, distances = random_tree(count, seed)
        found = build_tree(Given(distances), method)
        assert splits(found, count) == splits(true, count)
        np.testing.assert_allclose(paths(found, count), distances, rtol=1e-6)
        assert len(found.children[-1]) == 3  # no root


@pytest.mark.parametrize("seed", range(4))
def test_neighbour_joining_is_that_of_plain_loops(seed):
    table = random_table(25, seed)
    found = build_tree(Given(table), "nj")
    assert splits(found, 25) == neighbour_joining(table)
    assert min(found.lengths) >= 0


@pytest.mark.parametrize("method", METHODS)
def test_the_same_reads_give_the_same_tree(method):
    reads = load_sequences("storage:200x20")  # many ties
    found = [newick(build_tree(ExactDistances(reads, threads=threads), method), reads.names) for threads in (1, 2)]
    assert found[0] == found[1]
    assert sorted(tip.name for tip in read(found[0]).tips()) == sorted(reads.names)


@pytest.mark.parametrize("method", METHODS)
def test_equal_reads(method):
    tree = build_tree(Given(np.zeros((5, 5))), method)
    assert not any(tree.lengths)
    assert read(newick(tree, list("abcde"))).count(tips=True) == 5


def test_newick_to_the_letter():
    tree = Tree([[1, 0], [3, 2]], [1.0, 0.25, 1 / 3, 2e-7, 9.0])
    assert newick(tree, ["a.1", "b|/+-", "a_b"]) == "((b|/+-:0.25,a.1:1):2e-07,'a_b':0.333333);"
    assert newick(Tree([[0, 1]], [0.0, 2.0, 0.0]), ["it's", "x y"]) == "('it''s':0,'x y':2);"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="'"), max_size=8).map("x{}".format),
        min_size=3,
        max_size=6,
        unique=True,
    )
)
def test_names_come_back(names):
    text = newick(Tree([list(range(len(names)))], [1.0] * (len(names) + 1)), names)
    assert [tip.name for tip in read(text).tips()] == names


@pytest.mark.parametrize("name", ["a b", "a_b", "a:b,c;d", "(x)", "[x]", "it's", "''", "OTU_1;size=3"])
def test_a_name_comes_back(name):
    text = newick(Tree([[0, 1]], [1.0, 1.0, 0.0]), [name, "other"])
    if name != "''":  # which scikit-bio 0.7.4 reads, and writes, with a quote too many
        assert [tip.name for tip in read(text).tips()] == [name, "other"]
    quoted = re.match(r"\('((?:[^']|'')*)':1,", text)  # the grammar of other readers
    assert quoted[1].replace("''", "'") == name


@pytest.mark.parametrize("method", METHODS)
def test_a_deep_tree(method, tmp_path):
    # Each read is farther from all before it than these from one another: one comb of 1,500 levels.
    count = 1500
    table = np.maximum.outer(np.arange(count), np.arange(count)).astype(float) + 1
    np.fill_diagonal(table, 0)
    tree = build_tree(Given(table), method)
    write_tree(tree, [str(number) for number in range(count)], tmp_path / "tree.nwk")
    text = (tmp_path / "tree.nwk").read_text()
    depth = np.cumsum([(letter == "(") - (letter == ")") for letter in text])
    assert depth[-1] == 0
    assert depth.max() > (1000 if method == "upgma" else 1)
    assert read(text).count(tips=True) == count


def test_write_tree(tmp_path):
    tree, names = Tree([[0, 1]], [0.5, 0.5, 0.0]), ["ä", "b"]
    write_tree(tree, names, tmp_path / "tree.nwk")
    assert (tmp_path / "tree.nwk").read_bytes() == "('ä':0.5,b:0.5);\n".encode()
    with pytest.raises(InputError, match="expected a folder that can be written"):
        write_tree(tree, names, tmp_path / "none" / "tree.nwk")


@pytest.mark.parametrize(
    ("names", "method", "message"),
    [
        ([], "upgma", "reads: expected at least 2 for a tree by upgma, found 0; add reads"),
        (["a"], "upgma", "reads: expected at least 2 for a tree by upgma, found 1"),
        (["a", "b"], "nj", "reads: expected at least 3 for a tree by nj, found 2"),
        (["a", "b"], "gme", "reads: expected at least 3 for a tree by gme, found 2"),
        (["a", "b", "c", "b", "a"], "nj", "reads: record 4: expected names that differ, found b twice; rename"),
        (["a", "b", "c"], "ml", "--method: expected one of nj, gme, upgma, found ml"),
    ],
)
def test_reads_that_make_no_tree(names, method, message):
    with pytest.raises(InputError, match=f"^{message}"):
        build_tree(Given(np.zeros((len(names), len(names))), names), method)


def test_too_many_reads_for_the_memory(monkeypatch):
    monkeypatch.setattr(trees, "_memory", lambda: 7999)
    names = [str(number) for number in range(32)]
    check_tree(names[:31], "nj")
    with pytest.raises(
        InputError, match=r"memory of 7,999 bytes, found 32 reads, which need 8,192 bytes; .*`nwa cluster`"
    ):
        check_tree(names, "nj")
    monkeypatch.setattr(trees, "_memory", lambda: None)
    check_tree(names, "nj")


def test_the_memory_of_this_machine(monkeypatch):
    assert trees._memory() > 2**28
    monkeypatch.delattr("os.sysconf")
    assert trees._memory() is None
