"""Products of inputs and a trained matrix: dense, or event by event if inputs are spikes."""

from __future__ import annotations

import math

import numpy as np

from kspike_ref.kernels import compiled, matmul
from kspike_ref.kernels import events as loops
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.errors import Array
from kspike_ref.layers.events import dense_limit
from kspike_ref.running.binder import Binder
from kspike_ref.running.counts import EVENTS, OPERATIONS, PRODUCTS, SPIKING, SYNOPS, Tally


class Product:
    """Multiplies rows by a matrix, ``(depth, columns)``."""

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

        It runs event by event if the tally says that inputs are spikes and if that is faster.
        """
        x = frozen(np.ascontiguousarray(x, self.dtype))
        everything = x.shape[0] * self.depth * self.columns
        if everything == 0:
            return out
        if tally is not None and tally.spikes:
            return self._add_spikes(x, out, tally)
        if tally is not None:
            tally.add(everything)
        matmul.multiply(x, self.packed, out)
        return out

    def _add_spikes(self, x: Array, out: Array, tally: Tally) -> Array:
        events = loops.count(x.reshape(-1))
        operations = events * self.columns
        if events < dense_limit(x.size, self.columns):
            matmul.multiply_events(x, self.packed, out)
        else:
            operations = x.size * self.columns
            matmul.multiply(x, self.packed, out)
        tally.add(operations, events, events * self.columns)
        return out

    def bind(self, binder: Binder, x: Array, bias: Array | None, out: Array) -> None:
        """Record the calls that set ``out`` to ``x @ kernel + bias``; see `Layer.bind`."""
        binder.call(out.__setitem__, ..., 0 if bias is None else bias)
        if x.size == 0 or out.size == 0:
            return
        whole = matmul.multiply_call(x, self.packed, out)
        if not binder.tally.spikes:
            binder.tally.add(x.shape[0] * self.depth * self.columns)
            binder.call(*whole)
            return
        by_events = matmul.multiply_events_call(x, self.packed, out)
        limit, columns = dense_limit(x.size, self.columns), self.columns
        counts = binder.tally.counts
        counts[PRODUCTS] = counts[SPIKING] = 1
        everything = x.size * columns
        add, _, *rest = whole
        add_events, _, *events_rest = by_events
        count_events = compiled(*loops.count_call(frozen(x.reshape(-1))))

        def add_spikes(x: Array, flat: Array) -> None:
            events = count_events(flat)
            if events < limit:
                add_events(x, *events_rest)
                counts[OPERATIONS] = events * columns
            else:
                add(x, *rest)
                counts[OPERATIONS] = everything
            counts[EVENTS] = events
            counts[SYNOPS] = events * columns

        binder.call(add_spikes, x, binder.view(x, (x.size,)))

    def over_last_axis(
        self, x: Array, bias: Array | None = None, tally: Tally | None = None
    ) -> Array:
        """Return the product over the last axis of an array with any number of axes."""
        rows = np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), self.depth)
        return self(rows, bias, tally).reshape(*x.shape[:-1], self.columns)
