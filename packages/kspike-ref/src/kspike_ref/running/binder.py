"""Buffers and recorded calls: the interface between layers and plans."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from kspike_ref.kernels import compiled
from kspike_ref.kernels.memory import aligned_bytes
from kspike_ref.running.counts import Tally

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]


class Buffer:
    """Memory that a plan's tensors occupy one after another.

    Parameters
    ----------
    size : int
        Its size in bytes.

    Attributes
    ----------
    users : int
        The number of tensors that occupy it now.
    """

    def __init__(self, size: int) -> None:
        self.bytes = aligned_bytes(size)
        self.start = self.bytes.ctypes.data
        self.users = 0

    def array(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return the first bytes as an array that may be written."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        return self.bytes[:size].view(dtype).reshape(shape)


class Binder:
    """Records the calls that compute the outputs of a plan's layers.

    A layer's ``bind`` gets arrays with the shapes, types and memory layout of its inputs in all
    later runs: C-contiguous, aligned and read-only. It asks for memory and records calls.

    Parameters
    ----------
    values : list of ndarray
        The tensors that are different arrays in every run; calls look them up here.

    Attributes
    ----------
    calls : list of callable
        The recorded calls.
    tally : Tally
        The counts of the layer that is bound now. Counts that are added during binding hold for all
        runs; a recorded call sets the counts that differ from run to run.
    steps : int
        The number of time steps that one step of an input stands for, if the output has all steps.
    is_step : bool
        Whether axis 1 of the inputs is one time step, whatever length the model was built for.
    """

    def __init__(self, values: list[Any]) -> None:
        self.calls: list[Call] = []
        self.tally = Tally()
        self.steps = 1
        self.is_step = False
        self._values = values
        self._buffers: list[Buffer] = []
        self._lent: list[Buffer] = []
        self._views: list[Array] = []  # kept alive, because arrays are identified by their id
        self._dying: set[int] = set()
        # Tensors that differ from run to run, by id: the array, its slot, and its shape if it is
        # a reshaped view.
        self._sources: dict[int, tuple[Array, int, tuple[int, ...] | None]] = {}

    @property
    def nbytes(self) -> int:
        """The memory of all buffers."""
        return sum(buffer.bytes.size for buffer in self._buffers)

    def begin(self, tally: Tally, steps: int, is_step: bool, dying: set[int]) -> None:
        """Prepare to bind a layer that is the last to use the inputs with the ids ``dying``."""
        self.tally, self.steps, self.is_step, self._dying = tally, steps, is_step, dying

    def end(self) -> None:
        """Release the memory that no tensor occupies for later layers."""
        for buffer in self._lent:
            buffer.users -= 1
        self._lent.clear()
        self._views.clear()

    def empty(self, shape: Sequence[int], dtype: Any) -> Array:
        """Return memory for an output or an intermediate result."""
        size = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        free = [b for b in self._buffers if not b.users and b.bytes.size >= size]
        if free:
            buffer = min(free, key=lambda one: one.bytes.size)
        else:
            buffer = Buffer(size)
            self._buffers.append(buffer)
        buffer.users += 1
        self._lent.append(buffer)
        return buffer.array(shape, dtype)

    def over(self, x: Array) -> Array:
        """Return memory for an output like ``x``: that of ``x`` itself if nothing else reads it."""
        buffer = self.buffer_of(x)
        if buffer is None or id(x) not in self._dying or buffer.users > 1:
            return self.empty(x.shape, x.dtype)
        return buffer.array(x.shape, x.dtype)

    def view(self, x: Array, shape: tuple[int, ...]) -> Array:
        """Return ``x`` in another shape."""
        if shape == x.shape:
            return x
        made = x.reshape(shape)
        self._views.append(made)
        if id(x) in self._dying:
            self._dying.add(id(made))
        source = self._sources.get(id(x))
        if source is not None:
            self._sources[id(made)] = made, source[1], shape
        return made

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Record a call. Arguments are arrays from this object or constants."""
        if not options:
            function = compiled(function, *arguments)
        found = [self._sources.get(id(value)) for value in arguments]
        places = [(i, source[1], source[2]) for i, source in enumerate(found) if source is not None]
        if not places:
            self.calls.append(partial(function, *arguments, **options))
            return
        values, (i, slot, shape) = self._values, places[0]
        if len(places) == 1 and i == 0:
            rest = arguments[1:]
            if shape is None:
                self.calls.append(lambda: function(values[slot], *rest, **options))
            else:
                self.calls.append(lambda: function(values[slot].reshape(shape), *rest, **options))
            return

        fixed = [None if source else value for value, source in zip(arguments, found, strict=True)]

        def run() -> None:
            given = list(fixed)
            for i, slot, shape in places:
                given[i] = values[slot] if shape is None else values[slot].reshape(shape)
            function(*given, **options)

        self.calls.append(run)

    def finish(self) -> None:
        """Release the arrays of the first run."""
        self._sources.clear()

    def enter(self, slot: int, array: Array) -> None:
        """Register a tensor that is a different array in every run."""
        self._sources[id(array)] = array, slot, None

    def source_of(self, array: Array) -> tuple[int, tuple[int, ...] | None] | None:
        """Return the slot and the shape of a tensor that differs from run to run."""
        source = self._sources.get(id(array))
        return None if source is None else source[1:]

    def buffer_of(self, array: Array) -> Buffer | None:
        """Return the buffer that starts at an array's first byte, or None."""
        start = array.__array_interface__["data"][0]
        return next((buffer for buffer in self._buffers if buffer.start == start), None)
