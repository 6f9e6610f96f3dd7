# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that merge several inputs into one output."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError, check_mask, mixing
from kspike_ref.layers.registry import known
from kspike_ref.running.binder import Binder
from kspike_ref.saved.archive import ArchiveError


def broadcast(shapes: list[Shape]) -> Shape:
    """Return the shape that shapes broadcast to; unknown lengths stay unknown."""
    rank = max(len(shape) for shape in shapes)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    result: list[int | None] = []
    for column in zip(*padded, strict=True):
        known_lengths = {n for n in column if n not in (None, 1)}
        if len(known_lengths) > 1:
            raise ArchiveError(f"incompatible shapes: {shapes}")
        if known_lengths:
            result.append(known_lengths.pop())
        else:
            result.append(None if None in column else 1)
    return tuple(result)


class Merge(Layer):
    """The base class of merging; inputs with fewer axes get axes of length 1 after the batch."""

    def output_shape(self, shapes: Any) -> Shape:
        self._check(shapes)
        rank = max(len(shape) for shape in shapes)
        return broadcast([(s[0], *[1] * (rank - len(s)), *s[1:]) for s in shapes])

    def _check(self, shapes: Any) -> None:
        if not isinstance(shapes, list) or not shapes:
            raise ArchiveError(f"layer {self.name!r} needs a list of inputs")

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        (masks,), rank = given, max(len(shape) for shape in shapes[0])
        if any(axes is not None for axes in masks):
            if self.config.get("of_keras_2"):
                raise UnsupportedUseError("masks of merged inputs in a file of Keras 2")
            if any(len(shape) != rank for shape in shapes[0]):
                raise UnsupportedUseError("a mask, with inputs of different ranks")
            for axes in masks:
                check_mask(axes, rank - 1)
        return None if None in masks else rank - 1

    def mask(self, given: Any, *inputs: Any) -> Any:
        return reduce(np.logical_or, given[0])

    def pointwise(self, shapes: Any) -> bool:
        ranks = {len(shape) for shape in shapes}
        return len(ranks) == 1 and ranks.pop() > 2 and len({shape[1] for shape in shapes}) == 1

    def call(self, inputs: list[Array], mask: Any = None) -> Array:
        if mask is not None:
            return self.masked(inputs, [None if m is None else m[..., None] for m in mask])
        rank = max(x.ndim for x in inputs)
        return self.merge(
            [x.reshape(x.shape[0], *[1] * (rank - x.ndim), *x.shape[1:]) for x in inputs]
        )

    def masked(self, inputs: list[Array], masks: list[Any]) -> Array:
        """Merge arrays, some of them with masks, to which an axis of length 1 was added."""
        raise NotImplementedError

    def merge(self, inputs: list[Array]) -> Array:
        """Merge arrays of the same rank."""
        raise NotImplementedError


class _Pairwise(Merge):
    function: Callable[..., Array]
    broadcasts = True

    def bind(self, binder: Binder, inputs: list[Array]) -> Array | None:
        if len({x.ndim for x in inputs}) > 1 or any(x.dtype != self.dtype for x in inputs):
            return None
        if len(inputs) < 2:
            return None
        shape = np.broadcast_shapes(*(x.shape for x in inputs))
        same = [x for x in inputs if x.shape == shape] if len(inputs) == 2 else []
        out = binder.over(same[0]) if same else binder.empty(shape, self.dtype)
        first, *others = inputs
        for other in others:
            binder.call(type(self).function, first, other, out=out)
            first = out
        return out

    def merge(self, inputs: list[Array]) -> Array:
        return reduce(self.pair, inputs)

    def pair(self, one: Array, other: Array) -> Array:
        """Merge two arrays in the type that Keras promotes them to."""
        if one.dtype != self.dtype or other.dtype != self.dtype:
            one, other = dtypes.promoted(one, other)
            if one.dtype.kind == "b":  # not in `kinds`: bools with numbers are fine
                self.refuse(one.dtype, "numbers, or bools with numbers")
        return type(self).function(one, other)


@known("Add")
class Add(_Pairwise):
    """The sum of the inputs."""

    function = np.add


@known("Subtract")
class Subtract(_Pairwise):
    """The first input minus the second."""

    function = np.subtract

    def _check(self, shapes: Any) -> None:
        super()._check(shapes)
        if len(shapes) != 2:
            raise ArchiveError(f"layer {self.name!r} needs two inputs. Received: {len(shapes)}")


@known("Multiply")
class Multiply(_Pairwise):
    """The product; masked elements count as 1, and the result is 0 where all are masked."""

    function = np.multiply
    uses_mask = True

    def masked(self, inputs: list[Array], masks: list[Any]) -> Array:
        factors = [
            x if m is None else np.where(m, x, x.dtype.type(1))
            for x, m in zip(inputs, masks, strict=True)
        ]
        y = self.merge(factors)
        if any(m is None for m in masks):
            return y
        return np.where(reduce(np.logical_or, masks), y, y.dtype.type(0))


class _Extremum(_Pairwise):
    """The maximum or minimum; where one input is masked, the other input."""

    uses_mask = True

    def masked(self, inputs: list[Array], masks: list[Any]) -> Array:
        y, counts = inputs[0], masks[0]
        for x, mask in zip(inputs[1:], masks[1:], strict=True):
            x, y = dtypes.promoted(x, y)
            other = x if mask is None else np.where(mask, x, y)
            y = y if counts is None else np.where(counts, y, other)
            counts = None if mask is None or counts is None else counts | mask
            y = self.pair(y, other)
        return y


@known("Maximum")
class Maximum(_Extremum):
    """The maximum of the inputs."""

    function = np.maximum


@known("Minimum")
class Minimum(_Extremum):
    """The minimum of the inputs."""

    function = np.minimum


@known("Average")
class Average(_Pairwise):
    """The mean of the inputs."""

    function = np.add

    def bind(self, binder: Binder, inputs: list[Array]) -> Array | None:
        out = super().bind(binder, inputs)
        if out is not None:
            binder.call(np.divide, out, out.dtype.type(len(inputs)), out)
        return out

    def merge(self, inputs: list[Array]) -> Array:
        total = super().merge(inputs)
        if total.dtype.kind == "b":
            self.refuse(total.dtype, "numbers, or bools with numbers")
        if total.dtype.kind in "iu":  # TensorFlow divides integers of 32 bits and more in float64
            total = total.astype(np.float32 if total.dtype.itemsize < 4 else np.float64)
        y: Array = total / total.dtype.type(len(inputs))
        return y


@known("Concatenate")
class Concatenate(Merge):
    """The concatenation of the inputs along an axis."""

    kinds = "biufO"
    broadcasts = True
    keeps_zeros = True

    def setup(self) -> None:
        axis = self.config.get("axis", -1)
        if type(axis) is not int:
            raise ArchiveError(f"axis must be an integer. Received: {axis!r}")
        self.axis = axis

    def output_shape(self, shapes: Any) -> Shape:
        self._check(shapes)
        if self.axis in (0, -len(shapes[0])):
            raise mixing(f"Concatenate with axis={self.axis}")
        return concatenated(shapes, self.axis)

    def pointwise(self, shapes: Any) -> bool:
        return super().pointwise(shapes) and self.axis % len(shapes[0]) > 1

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        masks = given[0]
        rank = len(shapes[0][0])
        for axes in masks:
            check_mask(axes, rank - 1)
        return None if all(axes is None for axes in masks) else rank - 1

    def mask(self, given: Any, *inputs: Any) -> Any:
        masks = [
            np.ones(x.shape[:-1], bool) if m is None else m
            for m, x in zip(given[0], inputs[0], strict=True)
        ]
        axis = self.axis % inputs[0][0].ndim
        if axis == inputs[0][0].ndim - 1:
            return reduce(np.logical_or, masks)
        return np.concatenate(masks, axis=axis)

    def bind(self, binder: Binder, inputs: list[Array]) -> Array | None:
        axis = self.axis % inputs[0].ndim
        if len({x.dtype for x in inputs}) > 1 or len({x.ndim for x in inputs}) > 1:
            return None
        rests = [(*x.shape[:axis], 1, *x.shape[axis + 1 :]) for x in inputs]
        lengths = {rest[1] for rest in rests}
        if len({(rest[0], *rest[2:]) for rest in rests}) > 1:
            return None
        if len(lengths) > 1 and lengths != {1, binder.steps}:
            return None
        shape = list(np.broadcast_shapes(*rests))
        shape[axis] = sum(x.shape[axis] for x in inputs)
        out, at = binder.empty(shape, inputs[0].dtype), 0
        for x in inputs:
            part = out[(slice(None),) * axis + (slice(at, at + x.shape[axis]),)]
            binder.call(np.copyto, part, x)
            at += x.shape[axis]
        return out

    def call(self, inputs: list[Array], mask: Any = None) -> Array:
        return np.concatenate(dtypes.unified(inputs), axis=self.axis)


def concatenated(shapes: list[Shape], axis: int) -> Shape:
    """Return the shape of arrays concatenated along an axis; they may differ only there."""
    rank = len(shapes[0])
    if any(len(shape) != rank for shape in shapes) or not -rank <= axis < rank:
        raise ArchiveError(f"shapes that cannot be joined along axis {axis}: {shapes}")
    result: list[int | None] = []
    for i in range(rank):
        column = [shape[i] for shape in shapes]
        known_lengths = {n for n in column if n is not None}
        if i == axis % rank:
            result.append(None if None in column else sum(n for n in column if n is not None))
        elif len(known_lengths) > 1:
            raise ArchiveError(f"shapes that cannot be joined along axis {axis}: {shapes}")
        else:
            result.append(known_lengths.pop() if known_lengths else None)
    return tuple(result)
