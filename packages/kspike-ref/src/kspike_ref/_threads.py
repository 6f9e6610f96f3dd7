"""Several cores at once: regions of one array, each worked on by a kernel that holds no GIL.

Numba's own parallel loops abort the process when two Python threads start them at the same time
(its default "workqueue" layer), and do not survive a fork. Here the calling thread always works
itself, helpers from a pool take over regions while there are any, and a helper that has not
started when the caller is done is cancelled. So calls from many threads, or from within a pool,
cannot wait for each other.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import pairwise
from threading import Lock

Region = tuple[int, int, int, int]

# Waking a helper costs some 30 µs, in which one core works through this many unit steps.
_WORTH_THREADS = 1 << 17
_LINE = 16  # units of a cache line in float32: two threads never write to the same one
_BLOCK = 4096  # units whose state stays in the L1 or L2 cache over all steps
_SHARES = 4  # regions for each thread, so that a slow one does not make the others wait

_limit: ContextVar[int | None] = ContextVar("kspike_ref_num_threads", default=None)
_pool: ThreadPoolExecutor | None = None
_pool_lock = Lock()


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_CORES = cores()


def num_threads() -> int:
    """Return how many threads a call from here may use: all cores, unless limited."""
    limit = _limit.get()
    return _CORES if limit is None else limit


@contextmanager
def limit_threads(count: int | None) -> Iterator[None]:
    """Limit the threads of all calls made within the block, in this thread or task only.

    Parameters
    ----------
    count : int or None
        How many threads to use; ``None`` for all cores.

    Raises
    ------
    ValueError
        If ``count`` is not a positive integer.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(f"num_threads must be a positive integer or None. Received: {count!r}")
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


def _helpers() -> ThreadPoolExecutor:
    """Return the pool, started at its first use."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(max(1, _CORES - 1), "kspike_ref")
        return _pool


def _forget_pool() -> None:
    """Drop the pool of the parent process: its threads do not exist after a fork."""
    global _pool, _pool_lock
    _pool, _pool_lock = None, Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def split(rows: int, units: int, parts: int) -> list[Region]:
    """Cut ``rows × units`` into about ``parts`` regions, along rows as far as they go."""
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
    threads = num_threads()
    size = rows * steps * units
    if size <= _WORTH_THREADS or threads == 1:
        if units <= _BLOCK or steps == 1:
            work((0, rows, 0, units))
        else:
            drain(work, deque(split(rows, units, 1)))
        return
    regions = deque(split(rows, units, threads * _SHARES))
    helpers = min(threads, len(regions)) - 1
    futures: list[Future[None]] = []
    with suppress(RuntimeError):  # at shutdown no thread can be started: the caller does it all
        futures.extend(_helpers().submit(drain, work, regions) for _ in range(helpers))
    try:
        drain(work, regions)
    finally:
        for future in futures:
            if not future.cancel():
                future.result()


def drain(work: Callable[[Region], None], regions: deque[Region]) -> None:
    """Work on regions until none is left; several threads may drain the same queue."""
    while True:
        try:
            region = regions.popleft()
        except IndexError:
            return
        work(region)
