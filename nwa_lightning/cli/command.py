"""What a command of ``nwa`` is made of, apart from those of the LightningCLI."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NamedTuple


class Command(NamedTuple):
    """A command.

    Attributes:
        text: One line for ``nwa --help``.
        add_arguments: Adds its arguments to its parser.
        run: Does the work; imports what takes time to load.
    """

    text: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
