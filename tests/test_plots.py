import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from nwa_lightning import edit_distances, nw_matrix, nw_target
from nwa_lightning.alignment import Scores, optimal_path
from nwa_lightning.plots import attention_figure, prediction_figure

PUBLISHED = {"match": 1, "mismatch": -1, "gap": -1}


def check_path(first, second, scores):
    """Every step is legal and the steps add up to the score of every cell on the way."""
    matrix = nw_matrix(first, second, **scores)
    path = optimal_path(first, second, matrix, **scores)
    assert path.shape[1] == 2
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [len(first), len(second)]
    total = 0
    for (row, column), (below, right) in zip(path[:-1].tolist(), path[1:].tolist(), strict=True):
        step = below - row, right - column
        assert step in ((1, 1), (1, 0), (0, 1))
        if step == (1, 1):
            total += scores["match"] if first[row].upper() == second[column].upper() else scores["mismatch"]
        else:
            total += scores["gap"]
        assert total == matrix[below, right]
    return path.tolist()


def test_paths_of_known_alignments():
    assert check_path("ACGT", "ACGT", PUBLISHED) == [[k, k] for k in range(5)]
    assert check_path("ACGT", "AGT", PUBLISHED) == [[0, 0], [1, 1], [2, 1], [3, 2], [4, 3]]
    assert check_path("AGT", "ACGT", PUBLISHED) == [[0, 0], [1, 1], [1, 2], [2, 3], [3, 4]]
    assert check_path("", "AC", PUBLISHED) == [[0, 0], [0, 1], [0, 2]]
    assert check_path("", "", PUBLISHED) == [[0, 0]]
    assert check_path("acgu", "ACGU", PUBLISHED) == [[k, k] for k in range(5)]


def test_the_path_prefers_the_diagonal():
    # A substitution and two gaps score alike.
    assert check_path("A", "C", {"match": 1, "mismatch": -2, "gap": -1}) == [[0, 0], [1, 1]]
    assert check_path("A", "C", {"match": 1, "mismatch": -3, "gap": -1}) == [[0, 0], [0, 1], [1, 1]]


@given(
    first=st.text("ACGT", max_size=20),
    second=st.text("ACGT", max_size=20),
    match=st.integers(-5, 5),
    mismatch=st.integers(-8, 5),
    gap=st.integers(-5, 3),
)
def test_every_step_of_a_path_is_legal_and_optimal(first, second, match, mismatch, gap):
    check_path(first, second, {"match": match, "mismatch": mismatch, "gap": gap})


def test_with_unit_costs_the_path_counts_the_edits():
    first, second = "ACGTACGTTGCA", "AGGTACCTTTGC"
    unit = {"match": 0, "mismatch": -1, "gap": -1}
    path = np.array(check_path(first, second, unit))
    edits = sum(
        (below, right) != (row + 1, column + 1) or first[row] != second[column]
        for (row, column), (below, right) in zip(path[:-1].tolist(), path[1:].tolist(), strict=True)
    )
    assert edits == edit_distances([first, second], [[0, 1]])[0]


def test_a_matrix_of_other_scores_has_no_path():
    matrix = nw_matrix("ACGT", "AGT", match=2, mismatch=-3, gap=-4)
    with pytest.raises(ValueError, match=r"Expected the matrix of these sequences at match=1.*pass the scores"):
        optimal_path("ACGT", "AGT", matrix)
    with pytest.raises(ValueError, match=r"Expected a matrix of shape \(5, 5\) but got \(5, 4\)"):
        optimal_path("ACGT", "ACGT", matrix)


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts of a figure that lie upon each other."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    texts = [figure._suptitle] if figure._suptitle else []
    for axis in figure.axes:
        texts += [axis.title, axis.xaxis.label, axis.yaxis.label]
        for side in (axis.xaxis, axis.yaxis):
            low, high = sorted(side.get_view_interval())
            texts += [tick.label1 for tick in side.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label2 for tick in side.get_major_ticks() if low <= tick.get_loc() <= high]
    shown = [text for text in texts if text.get_visible() and text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in shown]
    return [
        (shown[one].get_text(), shown[two].get_text())
        for two in range(len(shown))
        for one in range(two)
        if boxes[one].overlaps(boxes[two])
    ]


def test_attention_figure_shows_map_target_matrix_and_alignment(tmp_path):
    first, second = "ACGTACGT", "ACGTTCG"
    matrix = nw_matrix(first, second)
    target = nw_target(torch.from_numpy(matrix)[None])[0].numpy()
    figure = attention_figure(np.full_like(target, 1 / 8), first, second, names=("one", "two"))
    panels = figure.axes[:3]
    images = [panel.images[0].get_array() for panel in panels]
    assert [image.shape for image in images] == [(9, 8)] * 3
    np.testing.assert_array_equal(images[1], target)
    np.testing.assert_array_equal(images[2], matrix)
    assert panels[0].images[0].norm is panels[1].images[0].norm
    path = optimal_path(first, second, matrix)
    for panel in panels:
        assert panel.get_xlabel() == "two (bases)"
        np.testing.assert_array_equal(panel.lines[0].get_xydata(), path[:, ::-1])
    assert panels[0].get_ylabel() == "one (bases)"
    assert figure.get_suptitle() == "one and two: edit distance 2 of 8 bases"
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000
    assert "<sos>" in [label.get_text() for label in panels[0].get_xticklabels()]


def test_the_target_follows_scores_and_temperature():
    scores = Scores(2, -3, -4)
    figure = attention_figure(np.zeros((4, 3), np.float32), "ACG", "AG", scores=scores, temperature=7.0)
    matrix = nw_matrix("ACG", "AG", match=2, mismatch=-3, gap=-4)
    expected = nw_target(torch.from_numpy(matrix)[None], temperature=7.0)[0].numpy()
    np.testing.assert_array_equal(figure.axes[1].images[0].get_array(), expected)


@pytest.mark.parametrize("lengths", [(8, 7), (150, 150), (150, 31), (31, 150), (1000, 900)])
def test_labels_of_the_attention_figure_do_not_overlap(lengths):
    random = np.random.default_rng(0)
    first, second = ("".join(random.choice(list("ACGT"), length)) for length in lengths)
    attention = np.zeros((lengths[0] + 1, lengths[1] + 1), np.float32)
    names = ("sequence 4285", "sequence NR_074334.1")
    assert overlaps(attention_figure(attention, first, second, names=names)) == []


def test_any_name_can_be_drawn():
    """Dollar signs are no mathematics, and a long name is cut."""
    names = ("$a_{", "x" * 80)
    figure = attention_figure(np.zeros((3, 3), np.float32), "AC", "AG", names=names)
    figure.canvas.draw()
    assert figure.axes[0].get_ylabel() == "$a_{ (bases)"
    assert figure.axes[0].get_xlabel() == "x" * 29 + "... (bases)"
    assert overlaps(figure) == []


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"Expected a map of shape \(5, 4\) for 4 and 3 letters but got \(4, 3\)"):
        attention_figure(np.zeros((4, 3), np.float32), "ACGT", "ACG")


def test_prediction_figure_counts_every_pair():
    distance = np.arange(1, 60)
    figure = prediction_figure({"a": distance.astype(np.float32), "b": np.full(59, 7, np.float32)}, distance)
    panels = [axis for axis in figure.axes if axis.get_title() in "ab" and axis.get_title()]
    assert [int(panel.collections[0].get_array().sum()) for panel in panels] == [59, 59]
    assert overlaps(figure) == []


def test_predictions_that_are_no_numbers_are_left_out():
    distance = np.arange(1, 5)
    values = np.array([1.0, np.nan, np.inf, 4.0], np.float32)
    figure = prediction_figure({"a": values, "b": np.full(4, np.nan, np.float32)}, distance)
    figure.canvas.draw()
    assert [int(panel.collections[0].get_array().sum()) for panel in figure.axes[:2]] == [2, 0]
