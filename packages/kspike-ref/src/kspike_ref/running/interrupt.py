"""Long runs that Ctrl-C ends: they work in a separate thread, piece by piece.

Python handles signals in the main thread, between its own instructions, and a compiled loop blocks
that thread until the loop ends. The main thread therefore only waits, and can raise
KeyboardInterrupt at once. The worker checks whether to stop between pieces of work, and before it
writes to the caller's arrays. The main thread waits for it only briefly: a piece of work or a write
that takes longer, as on a slow disk, ends after the call has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")

_LEAVE = 0.2  # seconds that an interrupted call waits for its thread to release the memory

_stop: ContextVar[threading.Event | None] = ContextVar("kspike_ref_stop", default=None)


class Stopped(BaseException):
    """Raised to end the work of an interrupted call; it never reaches the caller."""


def current() -> threading.Event | None:
    """Return the event that tells this thread to stop, or None if no call waits for it."""
    return _stop.get()


def check(stop: threading.Event | None) -> None:
    """End this thread's work if its call was interrupted."""
    if stop is not None and stop.is_set():
        raise Stopped


def passed_on(work: Callable[[Result], None]) -> Callable[[Result], None]:
    """Wrap work for other threads, so that it stops when this thread's call is interrupted."""
    stop = _stop.get()
    if stop is None:
        return work

    def stoppable(item: Result) -> None:
        check(stop)
        token = _stop.set(stop)
        try:
            work(item)
        finally:
            _stop.reset(token)

    return stoppable


def interruptible(function: Callable[[], Result]) -> Result:
    """Call a function so that Ctrl-C works while compiled loops run.

    Parameters
    ----------
    function : callable
        A function that takes long. The main thread, which alone handles signals, calls it in
        another thread with the same context; other threads call it directly.

    Returns
    -------
    object
        The function's result; its exception is raised.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    stop = threading.Event()
    outcome: SimpleQueue[tuple[list[Result], BaseException | None]] = SimpleQueue()

    def work() -> None:
        _stop.set(stop)
        try:
            outcome.put(([function()], None))
        except BaseException as error:
            outcome.put(([], error))

    thread = threading.Thread(
        target=copy_context().run, args=(work,), name="kspike_ref run", daemon=True
    )
    try:
        try:
            thread.start()
        except RuntimeError:  # no thread can be started
            return function()
        results, error = outcome.get()
        thread.join()
    except BaseException:
        stop.set()
        if thread.ident is not None:
            thread.join(_LEAVE)
        raise
    if error is not None:
        raise error
    return results[0]
