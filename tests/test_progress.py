import io

import pytest
from rich.console import Console

from nwa_lightning import load_sequences
from nwa_lightning.progress import counted, track


@pytest.fixture
def shown(monkeypatch):
    """What a terminal shows."""
    file = io.StringIO()
    monkeypatch.setattr("nwa_lightning.progress.Console", lambda **_: Console(file=file, force_terminal=True, width=80))
    return file


def test_a_terminal_shows_how_far_it_is(shown):
    assert list(track(range(5), "clusters")) == list(range(5))
    assert "clusters" in shown.getvalue()
    assert "5/5" in shown.getvalue()


def test_nothing_is_shown_for_short_work(shown):
    assert list(track(range(5), "clusters", worth=False)) == list(range(5))
    assert shown.getvalue() == ""


def test_nothing_is_shown_where_there_is_no_terminal(capfd):
    with counted("reading", 10) as done:
        done(5)
    assert capfd.readouterr() == ("", "")


def test_a_large_file_is_read_under_a_bar(shown, monkeypatch, tmp_path):
    monkeypatch.setattr("nwa_lightning.sequences.catalog._WORTH_A_BAR", 1_000_000)
    path = tmp_path / "reads.txt"
    path.write_text(("ACGT" * 25 + "\n") * 30_000)
    load_sequences(path)
    assert "reading" in shown.getvalue()
    assert f"{path.stat().st_size}/{path.stat().st_size}" in shown.getvalue()
