"""A progress bar for work of more than a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

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


class _Rate(ProgressColumn):
    """How many are done per second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Part of the interface of ``ProgressColumn``."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} {self._unit}/s")


@contextmanager
def counted(what: str, total: int, *, worth: bool = True, unit: str = "") -> Iterator[Callable[[int], None]]:
    """A bar on the error stream; none if the error stream is not a terminal.

    Args:
        what: Word to put before the bar.
        total: Value at the end.
        worth: Whether to show one at all.
        unit: What is counted, to show how many of it are done per second; nothing for no rate.

    Yields:
        A function that tells the bar how much of the total is done.
    """
    console = Console(stderr=True)
    columns = [TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    if unit:
        columns.append(_Rate(unit))
    with Progress(*columns, console=console, transient=True, disable=not (worth and console.is_terminal)) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)
        progress.update(task, completed=total)
