# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Pooling: over windows, and over everything."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.layers.base import Array, Layer, Shape, State, StatefulLayer, known


@known("GlobalAveragePooling1D")
class GlobalAveragePooling1D(StatefulLayer):
    """The mean over all steps; while streaming, over the steps so far."""

    reduces = True

    def setup(self) -> None:
        self.axis = 2 if self.config.get("data_format") == "channels_first" else 1
        self.keepdims = bool(self.config.get("keepdims", False))
        self.reduces = not self.keepdims

    def pointwise(self, *shapes: Any) -> bool:
        return self.axis == 1

    def output_shape(self, shape: Shape) -> Shape:
        if self.keepdims:
            return tuple(1 if i == self.axis else n for i, n in enumerate(shape))
        return tuple(n for i, n in enumerate(shape) if i != self.axis)

    def initial_state(self, batch: int, shape: Shape) -> State:
        rest = tuple(n or 0 for i, n in enumerate(shape) if i not in (0, self.axis))
        return (np.zeros((batch, *rest)), np.zeros((batch, 1)))

    def call(self, x: Array) -> Array:
        y: Array = self.scan(self.initial_state(len(x), x.shape), x)[0]
        return y

    def scan(self, state: State, x: Array) -> tuple[Array, State]:
        total, count = state[0].copy(), state[1] + x.shape[self.axis]
        for t in range(x.shape[self.axis]):  # in order and in float64: streaming gives these bits
            total += x[:, t] if self.axis == 1 else x[:, :, t]
        y = (total / count).astype(x.dtype)
        return (np.expand_dims(y, self.axis) if self.keepdims else y), (total, count)


__all__ = ["GlobalAveragePooling1D", "Layer"]
