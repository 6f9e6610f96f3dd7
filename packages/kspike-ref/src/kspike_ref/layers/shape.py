# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that rearrange, repeat or interpolate elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.registry import known
from kspike_ref.layers.resampling import METHODS, between, resize, round_to
from kspike_ref.running.binder import Binder
from kspike_ref.saved.archive import ArchiveError


@known("InputLayer")
class InputLayer(Layer):
    """An input of the model."""

    def setup(self) -> None:
        shape = self.config.get("batch_shape") or self.config.get("batch_input_shape")
        if not isinstance(shape, list) or not shape:
            raise ArchiveError(f"batch_shape must be a list. Received: {shape!r}")
        if not all(n is None or (type(n) is int and n >= 0) for n in shape):
            raise ArchiveError(f"batch_shape must hold lengths or null. Received: {shape!r}")
        self.shape: Shape = (None, *shape[1:])
        dtype = str(self.config.get("dtype", "float32"))
        self.is_text = dtype == "string"
        self.input_dtype = np.dtype(dtype if dtype in _INTEGERS else self.dtype)
        if self.is_text:
            self.input_dtype = np.dtype(object)

    def output_shape(self, *shapes: Any) -> Shape:
        return self.shape

    def timed(self) -> tuple[list[int], list[int]]:
        shape = self.shape
        unknown = len(shape) > 2 and shape[1] is None and None not in shape[2:]
        return [], [0] if unknown else []


_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")


@known("Flatten")
class Flatten(Layer):
    """All axes after the batch as one axis."""

    kinds = "biufO"
    keeps_zeros = True

    def output_shape(self, shape: Shape) -> Shape:
        rest = shape[1:]
        return (shape[0], None if None in rest else math.prod(n for n in rest if n is not None))

    def bind(self, binder: Binder, x: Array) -> Array | None:
        if self.config.get("data_format") == "channels_first" and x.ndim > 2:
            return None
        return binder.view(x, (x.shape[0], math.prod(x.shape[1:])))

    def call(self, x: Array) -> Array:
        if self.config.get("data_format") == "channels_first" and x.ndim > 2:
            x = np.moveaxis(x, 1, -1)
        return np.ascontiguousarray(x).reshape(x.shape[0], math.prod(x.shape[1:]))


def integers(name: str, values: Any) -> tuple[int, ...]:
    """Return integers of a configuration; refuse values such as 2.5 or ``"3"``."""
    if not isinstance(values, list | tuple) or not all(type(n) is int for n in values):
        raise ArchiveError(f"{name} must hold integers. Received: {values!r:.80}")
    return tuple(values)


@known("Reshape")
class Reshape(Layer):
    """The same elements in another shape."""

    kinds = "biufO"
    keeps_zeros = True

    def setup(self) -> None:
        target = self.config["target_shape"]
        self.target = integers("target_shape", [-1 if n is None else n for n in target])
        if self.target.count(-1) > 1 or min(self.target, default=0) < -1:
            raise ArchiveError(
                "target_shape must hold lengths of 0 or more, and -1 at most once. "
                f"Received: {target}"
            )

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[0], *resolve(shape[1:], self.target))

    def pointwise(self, shape: Shape) -> bool:
        return keeps_axis(shape, self.target)

    def bind(self, binder: Binder, x: Array) -> Array:
        kept = 2 if binder.is_step else 1
        lengths: Any = resolve(x.shape[kept:], self.target[kept - 1 :])
        return binder.view(x, (*x.shape[:kept], *lengths))

    def call(self, x: Array) -> Array:
        return reshaped(x, 1, self.target)

    def call_step(self, x: Array) -> Array:
        return reshaped(x, 2, self.target[1:])


def reshaped(x: Array, kept: int, target: tuple[int, ...]) -> Array:
    """Return an array with a new shape for all but the first axes; -1 is inferred.

    The array may have the size 0, for which `numpy.reshape` cannot infer a length.
    """
    lengths: Any = resolve(x.shape[kept:], target)
    return np.ascontiguousarray(x).reshape(*x.shape[:kept], *lengths)


def keeps_axis(shape: Shape, target: tuple[int, ...]) -> bool:
    """Return whether a new shape for the axes after the batch leaves axis 1 unchanged.

    ``shape`` is that of the input, with the batch; one axis of ``target`` may be inferred (-1).
    """
    if len(shape) < 3 or not target or None in shape[2:] or 0 in shape[2:]:
        return False
    rest = math.prod(n for n in shape[2:] if n is not None)
    if target[0] == -1:
        return math.prod(target[1:]) == rest
    wanted = math.prod(n for n in target[1:] if n >= 0)
    fits = rest % wanted == 0 if -1 in target and wanted else rest == wanted
    return shape[1] == target[0] and fits


def resolve(given: Shape, target: tuple[int, ...]) -> Shape:
    """Return a target shape with its -1 inferred, for the elements of a given shape."""
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


@known("Permute")
class Permute(Layer):
    """The axes in another order."""

    kinds = "biufO"
    keeps_zeros = True

    def setup(self) -> None:
        self.dims = [int(d) for d in self.config["dims"]]
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArchiveError(f"dims must be a permutation. Received: {self.dims}")

    def output_shape(self, shape: Shape) -> Shape:
        if len(self.dims) != len(shape) - 1:
            raise ArchiveError(f"dims must hold {len(shape) - 1} axes. Received: {self.dims}")
        return (shape[0], *(shape[d] for d in self.dims))

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and self.dims[0] == 1

    def call(self, x: Array) -> Array:
        return x.transpose(0, *self.dims)


@known("RepeatVector")
class RepeatVector(Layer):
    """The same vector at every step."""

    kinds = "biufO"
    keeps_zeros = True

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            raise ArchiveError(f"layer {self.name!r} needs an input with 2 axes. Received: {shape}")
        return (shape[0], self.integer("n"), shape[1])

    def call(self, x: Array) -> Array:
        return np.broadcast_to(x[:, None], (x.shape[0], self.integer("n"), x.shape[1]))

    def call_step(self, x: Array) -> Array:
        return x[:, None]


@known("UpSampling1D", "UpSampling2D", "UpSampling3D")
class UpSampling(Layer):
    """Upsampling by repetition or interpolation."""

    keeps_zeros = True

    def setup(self) -> None:
        rank = next(int(c) for c in self.class_name if c.isdigit())
        given = self.config["size"]
        self.factors = integers("size", given if isinstance(given, list) else [given] * rank)
        if len(self.factors) != rank or not all(0 < n < 1 << 16 for n in self.factors):
            raise ArchiveError(f"size must be {rank} small integers. Received: {given!r:.80}")
        self.first = 2 if self.config.get("data_format") == "channels_first" else 1
        self.interpolation = self.config.get("interpolation", "nearest")
        if self.interpolation not in (METHODS[:-1] if rank == 2 else ("nearest", "bilinear")):
            raise UnsupportedUseError(f"{self.name}: interpolation={self.interpolation!r}")
        if self.interpolation != "nearest":
            self.kinds, self.refused = "iuf", ("uint32", "uint64")

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != len(self.factors) + 2:
            raise ArchiveError(f"layer {self.name!r} does not fit an input of shape {shape}")
        result = list(shape)
        for i, factor in enumerate(self.factors):
            length = shape[self.first + i]
            result[self.first + i] = None if length is None else length * factor
        return tuple(result)

    def call(self, x: Array) -> Array:
        if self.interpolation == "nearest":
            for i, factor in enumerate(self.factors):
                x = repeated(x, self.first + i, factor)
            return x
        if self.interpolation != "bilinear":
            return self._resized(x)
        y = x if x.dtype.kind == "f" else x.astype(self.dtype)
        for i, factor in enumerate(self.factors):
            y = _interpolated(y, self.first + i, factor)
        return round_to(y, x.dtype)

    def _resized(self, x: Array) -> Array:
        """Return images enlarged with a kernel of several pixels."""
        images = np.moveaxis(x, 1, -1) if self.first == 2 else x
        size = (images.shape[1] * self.factors[0], images.shape[2] * self.factors[1])
        y = round_to(resize(images, size, self.interpolation), x.dtype)
        return np.ascontiguousarray(np.moveaxis(y, -1, 1)) if self.first == 2 else y


def repeated(x: Array, axis: int, factor: int) -> Array:
    """Repeat each element along an axis, as `numpy.repeat`, which would hold the GIL."""
    before, after = x.shape[: axis + 1], x.shape[axis + 1 :]
    y = np.empty((*before, factor, *after), x.dtype)
    y[...] = np.expand_dims(x, axis + 1)
    return y.reshape(*before[:-1], before[-1] * factor, *after)


def _interpolated(x: Array, axis: int, factor: int) -> Array:
    """Interpolate linearly between the centres of elements; edge values continue outwards."""
    length = x.shape[axis]
    at = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, length - 1)
    return between(x, axis, below, above, (at - below).astype(x.dtype))
