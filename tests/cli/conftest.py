import sys

import pytest

from nwa_lightning.cli.main import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())  # main adds the current folder
    return tmp_path


@pytest.fixture
def refused(capsys):
    """Run a command that must end in one line and status 2; gives the line."""

    def run(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in args])
        assert stop.value.code == 2
        shown = capsys.readouterr().err.strip().splitlines()
        assert not [line for line in shown if "Traceback" in line or "usage:" in line]
        errors = [line for line in shown if line.startswith("nwa: error: ")]
        assert errors == shown[-1:]
        assert len(errors[0]) < 500
        return errors[0].removeprefix("nwa: error: ")

    return run
