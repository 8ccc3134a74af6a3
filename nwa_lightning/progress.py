"""A progress bar for work of more than a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_T = TypeVar("_T")


def track(steps: Sequence[_T], what: str, *, worth: bool = True) -> Iterator[_T]:
    """Iterate over some steps with a progress bar.

    Args:
        steps: What to yield.
        what: Word to put before the bar.
        worth: Whether to show one at all.
    """
    with counted(what, len(steps), worth=worth) as done:
        for number, step in enumerate(steps, start=1):
            yield step
            done(number)


@contextmanager
def counted(what: str, total: int, *, worth: bool = True) -> Iterator[Callable[[int], None]]:
    """A bar on the error stream; none if the error stream is not a terminal.

    Args:
        what: Word to put before the bar.
        total: Value at the end.
        worth: Whether to show one at all.

    Yields:
        A function that tells the bar how much of the total is done.
    """
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not (worth and console.is_terminal)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
        progress.update(task, completed=total)
