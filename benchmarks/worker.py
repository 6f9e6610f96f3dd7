"""The worker: a process that prepares a piece of work and runs it on request.

It answers every line of JSON with a line of JSON. The driver holds the workers of all contestants
open and runs them in turns, so that all see the same machine at nearly the same time.

It needs only NumPy and Python 3.10, because it runs in the environments of all contestants.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

import numpy as np

from benchmarks import works

WARM_UP = 0.3  # seconds, for at least one and at most three calls after the first
Result = Any
Array = np.ndarray


@dataclasses.dataclass
class Job:
    """A prepared piece of work.

    Parameters
    ----------
    call : callable
        Function without arguments that is timed.
    check : callable, optional
        Function from the result of ``call`` to numbers by name, which say how right it is.
    seconds : callable, optional
        Function from the result of ``call`` to the time of its work; by default the call is timed.
    """

    call: Callable[[], Result]
    check: Callable[[Result], Mapping[str, Any]] = lambda _: {}
    seconds: Callable[[Result], float] | None = None


Builder = Callable[[works.Work, pathlib.Path], Job]
Offers = Mapping[str, Mapping[str, Builder]]  # kind → mode → builder


def resident() -> int:
    """Return the resident memory of this process in bytes, or 0 if it is unknown."""
    return _status("VmRSS")


def peak() -> int:
    """Return the peak of the resident memory since ``forget_peak``, or 0."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Reset the peak of the resident memory (Linux)."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def give_back() -> None:
    """Return freed memory to the system (glibc), because it would hide the peak."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> int:
    status = pathlib.Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = (line.split() for line in status.read_text().splitlines())
    return next((int(line[1]) * 1024 for line in lines if line[0] == f"{field}:"), 0)


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed here."""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


class Worker:
    """Handler of the driver's requests.

    Parameters
    ----------
    offers : mapping
        The work that is possible here: ``{kind: {mode: builder}}``.
    packages : sequence of str
        Packages whose versions the report names.
    data : pathlib.Path
        The folder with prepared images, weights and models.
    """

    def __init__(self, offers: Offers, packages: Sequence[str], data: pathlib.Path) -> None:
        self.offers, self.packages, self.data = offers, packages, data
        self.jobs: dict[tuple[str, str], Job] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Handle one request; an error becomes an answer too."""
        try:
            return getattr(self, f"do_{request.pop('do')}")(**request)
        except Exception as error:  # whatever a contestant raises is its result
            return {"failed": f"{type(error).__name__}: {_short(str(error))}"}

    def do_hello(self) -> dict[str, Any]:
        """Return the versions of packages and the possible kinds of work."""
        kinds = {kind: list(modes) for kind, modes in self.offers.items()}
        return {"versions": versions(self.packages), "offers": kinds}

    def do_prepare(self, work: dict[str, Any], mode: str) -> dict[str, Any]:
        """Build the inputs, warm up and check the answer."""
        todo = works.Work.read(work)
        job = self.offers[todo.kind][mode](todo, self.data)
        start = time.perf_counter()
        result = job.call()
        first = time.perf_counter() - start
        checked = {name: _plain(value) for name, value in job.check(result).items()}
        del result
        said = {"first": first, "check": checked}
        if not todo.once:
            said["warm"] = min(self._times(job, WARM_UP, 3))
        self.jobs[todo.name, mode] = job
        return said

    def do_run(self, name: str, mode: str, seconds: float, least: int = 1) -> dict[str, Any]:
        """Repeat the call for about ``seconds``; return the median time of a call."""
        job = self.jobs[name, mode]
        times = self._times(job, seconds, 10_000, least)
        return {"seconds": statistics.median(times), "calls": len(times)}

    @staticmethod
    def _times(job: Job, seconds: float, most: int, least: int = 1) -> list[float]:
        """Repeat the call for about ``seconds``; return the measured or reported times."""
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < least or (time.perf_counter() < end and len(times) < most):
            start = time.perf_counter()
            if job.seconds is None:
                job.call()
                times.append(time.perf_counter() - start)
            else:
                times.append(job.seconds(job.call()))
        return times

    def do_memory(self, name: str, mode: str) -> dict[str, Any]:
        """Return the memory before a call, and the peak within it."""
        give_back()
        before = resident()
        forget_peak()
        self.jobs[name, mode].call()
        return {"before": before, "peak": peak()}

    def do_forget(self) -> dict[str, Any]:
        """Drop everything that was prepared."""
        self.jobs.clear()
        works.forget()
        return {}


def _short(text: str) -> str:
    """Return a message in one line, without its middle if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:200]} … {line[-200:]}"


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def private_output() -> IO[str]:
    """Keep the standard output for answers, and send prints of libraries to the error output."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def serve(offers: Offers, packages: Sequence[str]) -> None:
    """Answer requests until the input ends.

    Parameters
    ----------
    offers : mapping
        The work that is possible here: ``{kind: {mode: builder}}``.
    packages : sequence of str
        Packages whose versions the report names.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--once", nargs=2, metavar=("WORK", "MODE"))
    arguments = parser.parse_args()
    channel = private_output()
    worker = Worker(offers, packages, arguments.data)
    if arguments.once:  # one piece of work, once, to time a fresh process
        work = works.Work.read(json.loads(arguments.once[0]))
        offers[work.kind][arguments.once[1]](work, arguments.data).call()
        channel.write("done\n")
        channel.flush()
        return
    for line in sys.stdin:
        channel.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        channel.flush()
