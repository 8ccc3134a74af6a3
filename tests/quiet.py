"""Runs that print little and keep nothing, and runs in a folder of their own."""

import os
from contextlib import contextmanager

#: Arguments of a Trainer.
QUIET_TRAINER = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}

#: Options of a command; its checkpoints are kept.
QUIET = [
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


@contextmanager
def inside(folder):
    """Work in a folder, where fixtures of a whole module cannot use monkeypatch."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
