# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Layers that rearrange elements and compute nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.archive import ArchiveError
from kspike_ref.layers.base import Array, Layer, Shape, known


@known("InputLayer")
class InputLayer(Layer):
    """Where an input enters the model."""

    def setup(self) -> None:
        shape = self.config.get("batch_shape") or self.config.get("batch_input_shape")
        if not isinstance(shape, list) or not shape:
            raise ArchiveError(f"batch_shape must be a list. Received: {shape!r}")
        if not all(n is None or (type(n) is int and n >= 0) for n in shape):
            raise ArchiveError(f"batch_shape must hold lengths or null. Received: {shape!r}")
        self.shape: Shape = (None, *shape[1:])
        dtype = str(self.config.get("dtype", "float32"))
        self.input_dtype = np.dtype(dtype if dtype in _INTEGERS else self.dtype)

    def output_shape(self, *shapes: Any) -> Shape:
        return self.shape


_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


@known("Flatten")
class Flatten(Layer):
    """All axes after the batch, as one."""

    def output_shape(self, shape: Shape) -> Shape:
        rest = shape[1:]
        return (shape[0], None if None in rest else math.prod(n for n in rest if n is not None))

    def call(self, x: Array) -> Array:
        if self.config.get("data_format") == "channels_first" and x.ndim > 2:
            x = np.moveaxis(x, 1, -1)
        return np.ascontiguousarray(x).reshape(x.shape[0], -1)


@known("Reshape")
class Reshape(Layer):
    """The same elements in another shape."""

    def setup(self) -> None:
        target = self.config["target_shape"]
        self.target = tuple(-1 if n is None else int(n) for n in target)
        if self.target.count(-1) > 1 or min(self.target, default=0) < -1:
            raise ArchiveError(f"target_shape must have one unknown length. Received: {target}")

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *resolve(shape[1:], self.target))

    def call(self, x: Array) -> Array:
        return np.ascontiguousarray(x).reshape(x.shape[0], *self.target)


def resolve(given: Shape, target: tuple[int, ...]) -> Shape:
    """Return the shape that elements of one shape take in another with one length open."""
    if None in given:
        return tuple(None if n < 0 else n for n in target)
    size = math.prod(n for n in given if n is not None)
    rest = math.prod(n for n in target if n >= 0)
    if -1 in target:
        if rest == 0 or size % rest:
            raise ArchiveError(f"{given} cannot be reshaped to {target}")
        return tuple(size // rest if n < 0 else n for n in target)
    if size != rest:
        raise ArchiveError(f"{given} cannot be reshaped to {target}")
    return target
