"""Where jobs run: here, one after the other, or on a Ray cluster. A job is a plain function from files to files.

A job names its result ``target`` and writes it at once or not at all. So an executor leaves out jobs whose target exists, an
interrupted run continues by the same call, and every executor writes the same bytes. Ray: Moritz et al., 2018, "Ray: A
Distributed Framework for Emerging AI Applications", doi 10.48550/arXiv.1712.05889.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from nwa_lightning._kernels import processors
from nwa_lightning.errors import InputError, one_line
from nwa_lightning.progress import counted, track
from nwa_lightning.search.extra import optional

if TYPE_CHECKING:
    from typing_extensions import Self

#: Arguments of a function by name; ``target`` is the path of the file that it writes.
Job = Mapping[str, Any]

#: Bytes of Ray's object store on this machine, near the least that Ray accepts: jobs exchange files, not objects.
_OBJECT_STORE: Final = 80 << 20

#: Seconds in which a cluster has to answer.
_PATIENCE: Final = 10


class Executor(Protocol):
    """Runs the same function for many jobs."""

    def __call__(self, function: Callable[..., None], jobs: Sequence[Job], what: str) -> None:
        """Run the jobs whose target does not exist.

        Args:
            function: A function of a module, so that another process can import it.
            jobs: Its arguments, by name.
            what: Word for the progress bar.

        Raises:
            InputError: As the function.
        """
        ...


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs whose target does not exist."""
    return [job for job in jobs if not job["target"].exists()]


def run_here(function: Callable[..., None], jobs: Sequence[Job], what: str) -> None:
    """Run jobs in this process, one after the other; an ``Executor``."""
    for job in track(unfinished(jobs), what, worth=len(jobs) > 1):
        function(**job)


class RayExecutor:
    """Run jobs as tasks of Ray; an ``Executor``, for a ``with`` block.

    Paths must lead to storage that all nodes share, and the package must be installed on all of them, in the same version.

    Args:
        address: Address of a cluster, such as ``auto`` on one of its nodes, or ``10.0.0.1:6379``; None starts Ray on this
            machine and stops it at the end of the block. If Ray is running in this process already, that one is used.
        workers: Jobs that run at a time; None for as many as there are CPUs. On a cluster, one CPU is left free, for that of
            the process that waits.
        cpus: CPUs and threads of a job.

    Raises:
        InputError: If Ray is missing, a number is below 1, or there is no cluster at the address.

    Example:
        ``with RayExecutor(workers=2) as executor: embed_reads(["reads.fasta"], "known", executor=executor)``
    """

    def __init__(self, address: str | None = None, workers: int | None = None, cpus: int = 1) -> None:
        self._ray = optional("ray")
        for name, value in (("workers", workers), ("cpus", cpus)):
            if value is not None and value < 1:
                raise InputError(f"{name}: expected at least 1, found {value}; give a larger number")
        self.address = address
        self.workers = workers
        self.cpus = cpus
        self._started = False

    def __enter__(self) -> Self:
        if self._ray.is_initialized():
            return self
        options: dict[str, Any] = {"address": self.address or "local", "logging_level": "ERROR", "log_to_driver": False}
        if self.address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about this machine is sent anywhere
            count = (self.workers or max(1, processors() // self.cpus)) * self.cpus
            options |= {"num_cpus": count, "include_dashboard": False, "object_store_memory": _OBJECT_STORE}
        try:
            _knock(self.address)
            self._ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise InputError(
                f"Ray: expected a cluster at {self.address or 'this machine'}, found none that answers ({one_line(error)}); "
                f"start one with `ray start --head`, or give no address"
            ) from None
        self._started = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._ray.shutdown()
            self._started = False

    def __call__(self, function: Callable[..., None], jobs: Sequence[Job], what: str) -> None:
        """Run the jobs whose target does not exist; at most ``workers`` are submitted at a time."""
        left = [_absolute(job) for job in unfinished(jobs)]
        task = self._ray.remote(num_cpus=self.cpus)(_run)
        waiting: list[Any] = []
        with counted(what, len(left)) as progress:
            for number, job in enumerate(left):
                waiting.append(task.remote(function, job, self.cpus, str(Path.cwd())))
                if len(waiting) == self._at_a_time():
                    waiting = self._wait(waiting)
                progress(number + 1 - len(waiting))
            while waiting:
                waiting = self._wait(waiting)
                progress(len(left) - len(waiting))

    def _at_a_time(self) -> int:
        """Asked anew for each job, for nodes may come and go."""
        free = 0 if self.address is None else 1
        return self.workers or max(1, (int(self._ray.cluster_resources().get("CPU", 1)) - free) // self.cpus)

    def _wait(self, waiting: list[Any]) -> list[Any]:
        """Wait for one job; the ones that are left."""
        done, left = self._ray.wait(waiting)
        try:
            (message,) = self._ray.get(done)
        except self._ray.exceptions.RayTaskError:
            raise  # an error of the program: its trace is needed
        except self._ray.exceptions.RayError as error:
            message = (
                f"Ray: expected a worker to finish its job, found that it died ({one_line(error)[:120]}); give a job more memory "
                f"by fewer workers, and run the command again, it continues"
            )
        if message is not None:
            for job in left:
                self._ray.cancel(job)
            raise InputError(message)
        return list(left)


def _knock(address: str | None) -> None:
    """Ray itself needs minutes to find out that nothing answers."""
    host, _, port = (address or "").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), _PATIENCE).close()


def _run(function: Callable[..., None], job: Job, threads: int, folder: str) -> str | None:
    """A task of Ray: run a job; the message of an ``InputError`` is returned, for Ray would add the trace of the worker."""
    import torch

    torch.set_num_threads(threads)
    if folder not in sys.path:  # a model may be a class in the folder of the caller
        sys.path.append(folder)
    try:
        function(**job)
    except InputError as error:
        return str(error)
    return None


def _absolute(job: Job) -> Job:
    """A worker may have another working folder."""
    return {name: value.absolute() if isinstance(value, Path) else value for name, value in job.items()}
