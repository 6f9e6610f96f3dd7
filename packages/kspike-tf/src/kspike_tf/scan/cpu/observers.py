"""Observers: Python objects that look at the sequences of scans in XLA programs.

Machine code (`kspike_tf.scan.cpu.xla_handler`) calls Python only if a presentation has fewer steps
than its observer's limit, so that most runs of a compiled function cost no Python.
"""

from __future__ import annotations

import itertools
import secrets
import weakref
from typing import Protocol

import numpy as np

from kspike_tf.scan.cpu import driver

MOST = 2**16  # observers in a process
EVERY = 2**31 - 1  # the first limit: presentations of any length are shown
# Part of an observer's number, because another process may run a program that this one saved.
PROCESS = 1 + secrets.randbits(30)
limits = np.full(MOST, EVERY, np.int64)
driver.keep(limits)
_indices = itertools.count()
_observers: weakref.WeakValueDictionary[int, Observer] = weakref.WeakValueDictionary()


class Observer(Protocol):
    """An object that looks at sequences."""

    def see(self, x: np.ndarray, dt: float) -> int:
        """Look at a sequence ``(batch, time, units)`` and at the seconds per step.

        Returns
        -------
        int
            The limit: sequences of as many steps are not shown any more.
        """
        ...


def number_of(observer: Observer) -> int:
    """Register an observer, which stays alive elsewhere; return its number, 0 if none is left."""
    index = next(_indices)
    if index >= MOST:
        return 0
    _observers[index] = observer
    return PROCESS * MOST + index


def show(index: int, x: np.ndarray, dt: float) -> None:
    """Show a sequence to an observer; after an exception, nothing is shown to it any more."""
    limits[index] = 0
    observer = _observers.get(index)
    if observer is not None:
        limits[index] = observer.see(x, dt)
