"""Threads in which kernels run: TensorFlow's, which call, and ours, which help."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

import tensorflow as tf

_here = threading.local()


def stay() -> None:
    """Let Python remember the thread that runs this, if it is another library's.

    Python forgets such a thread when its call ends, and takes memory from the system to know it
    again at the next: that is a tenth of a training step of small layers.
    """
    if not hasattr(_here, "known"):
        _here.known = True  # which is forgotten with the thread
        # Our caller ends with PyGILState_Release, which forgets the thread when there were as many
        # of it as of PyGILState_Ensure; this is one more.
        ctypes.pythonapi.PyGILState_Ensure()


def run(work: Callable[[int, int], None], items: int, parts: int) -> None:
    """Do work in several threads.

    Parameters
    ----------
    work : callable
        Takes the first item and the one after the last. It lets other threads run.
    items : int
        How many there are.
    parts : int
        How many threads they are worth; there are no more than processors, or than TensorFlow may
        use.
    """
    parts = min(parts, items)
    if parts < 2:
        work(0, items)
        return
    bounds = [items * n // parts for n in range(parts + 1)]
    left = iter(list(pairwise(bounds)))

    def help_out() -> None:
        # Who is ready takes the next part: other threads of TensorFlow use the processor too.
        for first, last in left:
            work(first, last)

    helpers = min(parts, _number()) - 1
    futures = [_pool().submit(help_out) for _ in range(helpers)]
    try:
        help_out()
        for future in futures:
            if not future.cancel():  # not yet begun, and nothing left to do
                future.result()
    except BaseException:  # of a signal's handler, say
        # Our caller frees the memory into which helpers still write.
        wait([each for each in futures if not each.cancel()])
        raise


@cache
def _number() -> int:
    limit = tf.config.threading.get_intra_op_parallelism_threads()  # 0 is no limit
    # The processors that this process may use; not all systems tell.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return limit or allowed or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _number() - 1), thread_name_prefix="kspike_tf")


# Threads do not survive a fork, and locks may be held.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
