"""Products of inputs with a trained matrix: dense, or event by event where inputs are spikes."""

from __future__ import annotations

import math

import numpy as np

from kspike_ref.kernels import matmul
from kspike_ref.layers.base import Array
from kspike_ref.layers.events import dense_activity, dense_pays
from kspike_ref.running.counts import Tally
from kspike_ref.signals import frozen


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
        self.packed = frozen(matmul.pack(kernel))

    def __call__(self, x: Array, bias: Array | None = None, tally: Tally | None = None) -> Array:
        """Return ``x @ kernel + bias`` for ``(rows, depth)``."""
        out = np.empty((x.shape[0], self.columns), self.dtype)
        out[...] = 0 if bias is None else bias
        return self.add(x, out, tally)

    def add(self, x: Array, out: Array, tally: Tally | None = None) -> Array:
        """Add ``x @ kernel`` to ``out``, and return it.

        Event by event, where the tally says that inputs are spikes and it is faster.
        """
        x = frozen(np.ascontiguousarray(x, self.dtype))
        everything = x.shape[0] * self.depth * self.columns
        if everything == 0:
            return out
        if tally is not None and tally.spikes:
            activity = dense_activity(x, self.columns)
            if dense_pays(activity, self.columns):
                events = matmul.multiply_events(x, self.packed, out)
                tally.add(events * self.columns, activity.events, activity.synops)
                return out
            tally.add(everything, activity.events, activity.synops)
        elif tally is not None:
            tally.add(everything)
        matmul.multiply(x, self.packed, out)
        return out

    def over_last_axis(
        self, x: Array, bias: Array | None = None, tally: Tally | None = None
    ) -> Array:
        """Return the product over the last axis of an array with any number of axes."""
        rows = np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), self.depth)
        return self(rows, bias, tally).reshape(*x.shape[:-1], self.columns)
