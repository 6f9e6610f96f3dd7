"""Multithreading: kernels without the GIL work on regions of one array.

Numba's own parallel loops abort the process when two Python threads start them at the same time
(its default "workqueue" layer), and do not survive a fork. Here the calling thread always works,
and helpers take regions as long as any are left. Calls from many threads, or from within a pool,
therefore cannot block each other. Helpers wait on a queue in C, because the executors of the
standard library take three times as long to wake a thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from contextvars import ContextVar
from itertools import pairwise
from queue import SimpleQueue
from threading import RLock, Thread
from typing import Any, TypeVar

from kspike_ref.running import interrupt

Region = tuple[int, int, int, int]
Item = TypeVar("Item")
Ended = SimpleQueue[None]  # one entry per item that is done or skipped
Job = tuple[Callable[[Any], None], deque[Any], Ended, list[BaseException]]  # of `_work_off`

# Waking a helper costs about 30 µs, on virtual machines up to 300 µs; one core computes this many
# unit steps in about 80 µs. Regions hold as many at least: with smaller ones, or for less than two,
# a virtual machine with two cores took up to 1.7 times as long as one thread.
WORTH_THREADS = 1 << 18
_LONG = 1 << 27  # unit steps that take a tenth of a second
_LINE = 16  # float32 units in a cache line: two threads never write to the same line
_BLOCK = 4096  # units whose state stays in the L1 or L2 cache over all steps
_SHARES = 4  # regions per thread at most, so that the others need not wait for a slow one

_limit: ContextVar[int | None] = ContextVar("kspike_ref_num_threads", default=None)


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_CORES = cores()


def num_threads() -> int:
    """Return the number of threads that a call from here may use: all cores, unless limited."""
    limit = _limit.get()
    return _CORES if limit is None else limit


class _Limited:
    """A context that limits threads, in a third of the time of `contextmanager`."""

    def __init__(self, count: int | None) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._token = _limit.set(self._count)

    def __exit__(self, *error: object) -> None:
        _limit.reset(self._token)


def limit_threads(count: int | None) -> AbstractContextManager[None]:
    """Limit the threads of all calls in a ``with`` block, in this thread or task only.

    Parameters
    ----------
    count : int or None
        The number of threads; ``None`` for all cores.

    Raises
    ------
    ValueError
        If ``count`` is not a positive integer.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(f"num_threads must be a positive integer or None. Received: {count!r}")
    return _Limited(count)


class Helpers:
    """Threads that wait for work, started when first needed."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job] = SimpleQueue()
        self._count, self._lock = 0, RLock()  # signal handlers may run a model, too

    def wake(self, count: int, job: Job) -> None:
        """Wake ``count`` helpers to take part in a job."""
        with self._lock, suppress(RuntimeError):  # none can be started while Python shuts down
            while self._count < count:
                Thread(target=self._loop, name="kspike_ref", daemon=True).start()
                self._count += 1
        for _ in range(count):
            self._jobs.put(job)

    def _loop(self) -> None:
        while True:
            _work_off(*self._jobs.get())  # a variable would keep arrays alive


def _work_off(
    work: Callable[[Any], None], items: deque[Any], ended: Ended, errors: list[BaseException]
) -> None:
    """Call ``work`` on items while any are left; after an error in any thread, skip them."""
    while items:
        try:
            item = items.popleft()
        except IndexError:  # another thread took the last one
            break
        try:
            if not errors:
                work(item)
        except BaseException as error:
            errors.append(error)
        ended.put(None)


_helpers = Helpers()


def _forget_helpers() -> None:
    """Replace the helpers in a forked child, which has none of its parent's threads."""
    global _helpers
    _helpers = Helpers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


def split(rows: int, units: int, parts: int) -> list[Region]:
    """Cut ``rows × units`` into about ``parts`` regions, along rows if there are enough."""
    if rows >= parts and units <= _BLOCK:
        edges = [rows * i // parts for i in range(parts + 1)]
        return [(a, b, 0, units) for a, b in pairwise(edges)]
    wanted = -(-units * rows // parts)  # units in a region, if each holds one row
    width = min(_BLOCK, max(_LINE, -(-wanted // _LINE) * _LINE))
    return [
        (row, row + 1, first, min(units, first + width))
        for row in range(rows)
        for first in range(0, units, width)
    ]


def run(work: Callable[[Region], None], rows: int, steps: int, units: int) -> None:
    """Call ``work`` on regions that cover ``rows × units``, on several threads if it pays.

    Parameters
    ----------
    work : callable
        Works on one region, without the GIL.
    rows, steps, units : int
        The size of the array.
    """
    threads, size = num_threads(), rows * steps * units
    parts = min(threads * _SHARES, size // WORTH_THREADS)
    if parts < 2 or threads == 1:
        if units <= _BLOCK or steps == 1:
            work((0, rows, 0, units))
        else:
            for region in split(rows, units, 1):
                work(region)
        return
    regions = split(rows, units, parts)
    if size > _LONG and interrupt.current() is None:
        interrupt.interruptible(lambda: share(work, regions, threads))
    else:
        share(work, regions, threads)


def share(work: Callable[[Item], None], items: Iterable[Item], threads: int) -> None:
    """Call ``work`` on every item, on the calling thread and on helpers.

    Parameters
    ----------
    work : callable
        Works on one item.
    items : iterable
        The items. After an error in any thread, items that have not begun are skipped. The first
        error is raised once all items that have begun have ended.
    threads : int
        The number of items to work on at the same time.
    """
    work = interrupt.passed_on(work)
    left = deque(items)
    count, ended = len(left), Ended()
    errors: list[BaseException] = []  # every thread looks here before it begins an item
    helpers = min(threads, count) - 1
    if helpers > 0:
        _helpers.wake(helpers, (work, left, ended, errors))
    _work_off(work, left, ended, errors)
    for _ in range(count):
        ended.get()
    if errors:
        raise errors[0]
