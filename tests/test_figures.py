import numpy as np

from nwa_lightning.figures import attention_figure, prediction_figure
from nwa_lightning.functional import nw_target


def test_attention_figure_shows_map_target_and_matrix(tmp_path):
    import torch

    from nwa_lightning import nw_matrix

    matrix = nw_matrix("ACGTACGT", "ACGTTCG")
    target = nw_target(torch.from_numpy(matrix)[None])[0].numpy()
    figure = attention_figure(np.full_like(target, 1 / 8), target, matrix, ("one", "two"))
    panels = figure.axes[:3]
    assert [panel.images[0].get_array().shape for panel in panels] == [(9, 8)] * 3
    assert panels[0].images[0].get_clim() == panels[1].images[0].get_clim()
    assert "two" in panels[0].get_xlabel()
    assert "one" in panels[0].get_ylabel()
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_prediction_figure_counts_every_pair():
    distance = np.arange(1, 60)
    figure = prediction_figure({"a": distance.astype(np.float32), "b": np.full(59, 7, np.float32)}, distance)
    panels = [axis for axis in figure.axes if axis.get_title() in "ab" and axis.get_title()]
    assert [int(panel.collections[0].get_array().sum()) for panel in panels] == [59, 59]
