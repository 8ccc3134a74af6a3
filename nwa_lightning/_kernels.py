"""The compiled kernels, and the threads that share their work. Nothing here loads torch, which takes seconds."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

try:
    import nwa_lightning._nw as compiled
except ModuleNotFoundError as error:
    raise ImportError(
        "the compiled part of nwa_lightning is missing; build it with: python -m pip install -e ."
    ) from error

__all__ = ["compiled", "default_threads", "parallel_slices", "processors", "set_threads"]


def parallel_slices(work: Callable[[slice], None], count: int, *, threads: int, group: int = 1) -> None:
    """Do ``work`` on consecutive slices of ``count`` items, one slice per thread, including the calling thread.

    Args:
        work: Called with a slice; releases the interpreter lock where it matters.
        count: Number of items.
        threads: Number of threads, at least 1.
        group: Slices begin at multiples of this number.

    Raises:
        Exception: The exception that ``work`` raised, after all slices have ended.
    """
    groups = -(-count // group)
    edges = [groups * part // threads * group for part in range(threads)] + [count]
    slices = [slice(*ends) for ends in pairwise(edges) if ends[0] < ends[1]]
    if len(slices) < 2:
        work(slice(None))
        return
    waiting = [_helpers(threads - 1).submit(work, part) for part in slices[1:]]
    try:
        work(slices[0])
    finally:
        wait(waiting)
    for helper in waiting:
        helper.result()  # raises what the helper raised


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Threads if none are asked for: as many as torch was told to use, or else ``OMP_NUM_THREADS``, or else all processors."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # one number per level of nested loops
    return int(wanted) if wanted.isdecimal() and int(wanted) else processors()


def set_threads(count: int) -> None:
    """Let torch use so many threads; if it is loaded later, no more than there are cores."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    else:
        os.environ["OMP_NUM_THREADS"] = str(count)  # torch reads it when it is loaded


@cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="nwa_kernels")


if hasattr(os, "register_at_fork"):
    # A forked data-loader worker inherits the pools but not their threads, and would wait for them forever.
    os.register_at_fork(after_in_child=_helpers.cache_clear)
