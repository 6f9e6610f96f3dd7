"""Products of inputs with a trained matrix, and a count of what they really did."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from kspike_ref import _matmul
from kspike_ref._signal import frozen
from kspike_ref.layers.base import Array


class Counter(threading.local):
    """Adds up what the products of a layer did, in one thread.

    Attributes
    ----------
    operations : int
        Multiply-adds performed.
    """

    operations = 0


counter = Counter()


@contextmanager
def counted() -> Iterator[Counter]:
    """Count what happens within the block, in this thread."""
    counter.operations = 0
    yield counter


class Product:
    """Multiplies rows with a matrix.

    Parameters
    ----------
    kernel : (depth, columns) ndarray
        The matrix.
    """

    def __init__(self, kernel: Array) -> None:
        self.depth, self.columns = kernel.shape
        self.dtype = kernel.dtype
        self.width = _matmul.panel_width(kernel.dtype)
        self.packed = frozen(_matmul.pack(kernel))

    def __call__(self, x: Array, bias: Array | None = None) -> Array:
        """Return ``x @ kernel + bias`` for ``(rows, depth)``."""
        out = np.empty((x.shape[0], self.columns), self.dtype)
        out[...] = 0 if bias is None else bias
        return self.add(x, out)

    def add(self, x: Array, out: Array) -> Array:
        """Add ``x @ kernel`` to ``out``, and return it."""
        if x.dtype != self.dtype:
            x = x.astype(self.dtype)
        if self.depth and out.size:
            _matmul.multiply(frozen(np.ascontiguousarray(x)), self.packed, self.width, out)
        counter.operations += x.shape[0] * self.depth * self.columns
        return out

    def over_last_axis(self, x: Array, bias: Array | None = None) -> Array:
        """Return the product over the last axis of an array with any number of axes."""
        rows = np.ascontiguousarray(x).reshape(-1, self.depth)
        return self(rows, bias).reshape(*x.shape[:-1], self.columns)
