# ruff: noqa: D102 (methods are documented in base.Layer)
"""Pooling layers: over windows, over space and over time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.kernels import convolve
from kspike_ref.kernels import time as loops
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, State, check_mask
from kspike_ref.layers.registry import known
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.layers.window import Window
from kspike_ref.running.binder import Binder


@known(
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
)  # fmt: skip
class Pooling(Layer):
    """The maximum or the mean of every window; padding does not count."""

    keeps_zeros = True

    def setup(self) -> None:
        rank = next(int(c) for c in self.class_name if c.isdigit())
        self.window = Window(self.config, rank, "pool_size")
        self.window.least = 0
        self.is_maximum = self.class_name.startswith("Max")
        # TensorFlow pools integers only for the maximum over one or two axes.
        self.kinds = "iuf" if self.is_maximum and rank < 3 else "f"
        self.refused = ("uint32", "uint64")

    def output_shape(self, shape: Shape) -> Shape:
        spatial = self.window.extents(self.window.spatial(shape))
        return self.window.shape(shape[0], spatial, self.window.channels(shape))

    def bind(self, binder: Binder, x: Array) -> Array | None:
        bound = self.window.bound(binder, x, x.shape[-1], math.prod(self.window.size))
        if bound is None or x.dtype.kind != "f":
            return None
        entered, geometry, extents = bound
        out = binder.empty((len(x), *geometry[4].tolist(), x.shape[-1]), x.dtype)
        binder.call(*convolve.pool_call(entered, geometry, self.is_maximum, out))
        return binder.view(out, (len(x), *extents, x.shape[-1]))

    def call(self, x: Array) -> Array:
        window = self.window
        entered, geometry = window.enter(x), window.geometry(x.shape)
        if x.dtype.kind in "iu":
            return window.leave(_largest_integers(entered, geometry), geometry)
        channels = entered.shape[4]
        out = np.empty((len(x), math.prod(geometry[4].tolist()), channels), x.dtype)
        taps = math.prod(window.size)
        for example, piece, part in window.pieces(entered, geometry, out, taps):
            room = part.reshape(len(part), *piece[4], channels)
            convolve.pool(frozen(example), piece, self.is_maximum, room)
        return window.leave(out, geometry)


def _largest_integers(x: Array, geometry: Array) -> Array:
    """Return the maxima of windows, for integers of any size."""
    size, stride, _, pad, extent = (tuple(row.tolist()) for row in geometry)
    least = np.iinfo(x.dtype).min
    reach = [(n - 1) * s + k for n, s, k in zip(extent, stride, size, strict=True)]
    edges = [(p, max(0, r - p - n)) for p, r, n in zip(pad, reach, x.shape[1:4], strict=True)]
    padded = np.pad(x, [(0, 0), *edges, (0, 0)], constant_values=least)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2, 3))
    steps = tuple(slice(0, r - k + 1, s) for r, s, k in zip(reach, stride, size, strict=True))
    largest: Array = windows[(slice(None), *steps)].max(axis=(-3, -2, -1))
    return largest


@known(
    "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "GlobalMaxPooling2D", "GlobalMaxPooling3D",
)  # fmt: skip
class GlobalPooling(Layer):
    """The maximum or the mean over space."""

    def setup(self) -> None:
        rank = next(int(c) for c in self.class_name if c.isdigit())
        first = 2 if self.config.get("data_format") == "channels_first" else 1
        self.axes = tuple(range(first, first + rank))
        self.keepdims = self.boolean("keepdims", False)
        self.casts = "f" if "Max" in self.class_name else "biuf"

    def output_shape(self, shape: Shape) -> Shape:
        return pooled_shape(shape, self.axes, self.keepdims)

    def call(self, x: Array) -> Array:
        y: Array
        if "Max" in self.class_name:
            y = x.max(axis=self.axes, keepdims=self.keepdims)
        else:
            y = x.mean(axis=self.axes, keepdims=self.keepdims, dtype=np.float64).astype(x.dtype)
        return y


def pooled_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """Return a shape with some axes removed, or with length 1."""
    if len(shape) <= max(axes):
        raise ValueError(f"the input must have {max(axes) + 1} axes or more. Received: {shape}")
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in axes)


class GlobalPooling1D(StatefulLayer):
    """The base class of pooling over all steps; while streaming, over the steps so far."""

    uses_mask = False

    def setup(self) -> None:
        self.axis = 2 if self.config.get("data_format") == "channels_first" else 1
        self.keepdims = self.boolean("keepdims", False)
        self.reduces = True

    def output_shape(self, shape: Shape) -> Shape:
        return pooled_shape(shape, (self.axis,), self.keepdims)

    def streams(self, *shapes: Any) -> bool:
        return self.axis == 1 and not self.keepdims

    def timed(self) -> tuple[list[int], list[int]]:
        return [0] if self.axis == 1 else [], []

    def rest(self, shape: Shape) -> tuple[int, ...]:
        """Return the lengths of the remaining axes, without the batch."""
        return tuple(n or 0 for i, n in enumerate(shape) if i not in (0, self.axis))

    def call(self, x: Array, mask: Any = None) -> Array:
        y: Array = self.scan(self.initial_state(len(x), x.shape), x, mask=mask)[0]
        return y


@known("GlobalAveragePooling1D")
class GlobalAveragePooling1D(GlobalPooling1D):
    """The mean over time, or over the steps of a mask."""

    uses_mask = True
    keras_arguments = ("mask",)

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        check_mask(given[0], 2)
        return None

    def initial_state(self, batch: int, *shapes: Any) -> State:
        return (np.zeros((batch, *self.rest(shapes[0]))), np.zeros(batch))

    def bind_scan(self, binder: Binder, x: Array, state: State) -> Array | None:
        if self.axis != 1 or self.keepdims or x.dtype.kind != "f":
            return None
        rows, given, units = len(x), x.shape[1], math.prod(x.shape[2:])
        total, count = state
        out = binder.empty((rows, *x.shape[2:]), x.dtype)
        flat = out.reshape(rows, units)
        steps = binder.steps if given == 1 else given
        binder.call(
            *loops.mean_call(
                binder.view(x, (rows, given, units)), steps, total.reshape(rows, units), count, flat
            )
        )
        return out

    def scan(self, state: State, *inputs: Any, mask: Any = None) -> tuple[Array, State]:
        x = np.moveaxis(inputs[0], self.axis, 1)
        steps: Any = x.shape[1] if mask is None else mask.sum(axis=1)
        total, count = state[0].copy(), state[1] + steps
        for t in range(x.shape[1]):  # in order and in float64: streaming gives the same bits
            total += x[:, t] if mask is None else np.where(mask[:, t, None], x[:, t], 0)
        dtype = dtypes.float_type(x.dtype)
        if mask is not None and x.dtype.kind != "f":  # Keras divides two sums of integers
            dtype = np.dtype("float64")
        with np.errstate(invalid="ignore"):  # NaN where no step counts, as in Keras
            y = (total / count.reshape(-1, *[1] * (total.ndim - 1))).astype(dtype)
        return (np.expand_dims(y, self.axis) if self.keepdims else y), (total, count)


@known("GlobalMaxPooling1D")
class GlobalMaxPooling1D(GlobalPooling1D):
    """The maximum over time."""

    def initial_state(self, batch: int, *shapes: Any) -> State:
        return (np.full((batch, *self.rest(shapes[0])), -np.inf, self.dtype),)

    def scan(self, state: State, *inputs: Any, mask: Any = None) -> tuple[Array, State]:
        x, before = inputs[0], state[0]
        if before.dtype != x.dtype:  # before the first step, whose type was not known
            before = np.full(before.shape, dtypes.smallest(x.dtype))
        y: Array = np.maximum(before, x.max(axis=self.axis, initial=dtypes.smallest(x.dtype)))
        return (np.expand_dims(y, self.axis) if self.keepdims else y), (y,)
