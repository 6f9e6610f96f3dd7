# ruff: noqa: D102 (methods are documented in base.Layer)
"""Parts of tensors: slices, splits, and elements chosen by indices."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.ops.base import AlongAxes, Operation, count, with_lengths
from kspike_ref.layers.registry import known
from kspike_ref.layers.shape import integers
from kspike_ref.saved.archive import ArchiveError

_MAX_PARTS = 4096


@known("ops:GetItem")
class GetItem(Operation):
    """A slice."""

    keeps_zeros = True

    def _key(self, key: Any) -> tuple[Any, ...]:
        items = tuple(key) if isinstance(key, list) else (key,)
        for item in items:
            parts = (item.start, item.stop, item.step) if isinstance(item, slice) else (item,)
            if not all(n is None or n is Ellipsis or type(n) is int for n in parts):
                raise ArchiveError(f"a slice must be made of integers. Received: {key!r:.80}")
        if items[:1] not in ((slice(None),), (Ellipsis,)):
            raise self.mixes(f"the index {key!r:.80}")
        return items

    def output_shape(self, shape: Shape, key: Any) -> Shape:
        items = self._key(key)
        # slice a view of one number in two sizes: lengths that differ depend on an unknown one
        sizes = [
            np.broadcast_to(np.int8(0), [probe if n is None else n for n in shape])[items].shape
            for probe in (97, 101)
        ]
        if len(sizes[0]) == 0 or sizes[0][0] != 97:
            raise self.mixes(f"the index {key!r:.80}")
        return tuple(a if a == b else None for a, b in zip(*sizes, strict=True))

    def pointwise(self, shape: Shape, key: Any) -> bool:
        items = self._key(key)
        if items[0] is Ellipsis:
            return len(shape) > max(2, len(items) + 1)
        return len(shape) > 2 and items[1:2] == (slice(None),)

    def call(self, x: Array, key: Any) -> Array:
        y: Array = x[self._key(key)]
        return y


@known("ops:Split")
class Split(AlongAxes):
    """Consecutive parts along an axis."""

    options = ("axis", "indices_or_sections")
    keeps_zeros = True

    def _ends(self, length: int | None) -> list[int]:
        """Return the ends of all parts but the last."""
        given = self.config["indices_or_sections"]
        if type(given) is int:
            if length is None:
                raise self.needs("the ends of the parts, as the axis has an unknown length")
            if not 0 < given <= _MAX_PARTS or length % given:
                raise ArchiveError(f"{length} elements cannot be split into {given!r:.80} parts")
            return [length // given * i for i in range(1, given)]
        ends = integers("indices_or_sections", given)
        last = max(ends, default=0) if length is None else length
        if sorted([0, *ends, last]) != [0, *ends, last] or len(ends) > _MAX_PARTS:
            raise ArchiveError(
                f"indices_or_sections must ascend from 0 to {length}. Received: {given!r:.80}"
            )
        return list(ends)

    def output_shape(self, shape: Shape) -> list[Shape]:
        axis = self.axis(len(shape))
        length = shape[axis]
        ends: list[Any] = [0, *self._ends(length), length]
        lengths = [None if b is None else b - a for a, b in itertools.pairwise(ends)]
        return [with_lengths(shape, axis, n) for n in lengths]

    def call(self, x: Array) -> list[Array]:
        axis = self.axis(x.ndim)
        return np.split(x, self._ends(x.shape[axis]), axis=axis)


@known("ops:Unstack")
class Unstack(AlongAxes):
    """One part per position along an axis, without the axis."""

    options = ("axis", "num")
    keeps_zeros = True

    def output_shape(self, shape: Shape) -> list[Shape]:
        axis = self.axis(len(shape))
        length = self.config.get("num") if shape[axis] is None else shape[axis]
        if length is None:
            raise self.needs("num, as the axis has an unknown length")
        if not 0 < count("num", length) <= _MAX_PARTS:
            raise ArchiveError(f"an axis of {length} elements cannot be unstacked")
        return [with_lengths(shape, axis)] * length

    def call(self, x: Array) -> list[Array]:
        return list(np.moveaxis(x, self.axis(x.ndim), 0))


@known("ops:Take")
class Take(AlongAxes):
    """Elements along an axis, chosen by constant integers, or rows of a constant by integers."""

    argument_names = ("x", "indices")

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 2:
            raise self.needs("x and indices")
        x, indices = shapes
        if not isinstance(x, tuple):  # a constant table
            if self.config.get("axis") not in (0, -np.ndim(x)) or not isinstance(indices, tuple):
                raise self.mixes(f"a constant and axis={self.config.get('axis')}")
            return (*indices, *np.shape(x)[1:])
        axis = self.axis(len(x))
        if isinstance(indices, tuple):
            raise self.mixes("a tensor of indices (use keras.ops.take_along_axis)")
        return with_lengths(x, axis, *_integers(indices).shape)

    def pointwise(self, *shapes: Any) -> bool:
        if not isinstance(shapes[0], tuple):
            return len(shapes[1]) > 1
        return super().pointwise(shapes[0])

    def received(self, values: Any) -> Any:
        return values

    def call(self, x: Any, indices: Any) -> Array:
        x = np.asarray(x, None if isinstance(x, np.ndarray) else np.float32)
        axis = 0 if self.config.get("axis") in (0, -x.ndim) else self.axis(x.ndim)
        if isinstance(indices, np.ndarray) and indices.dtype.kind not in "iu":
            self.refuse(indices.dtype, "only integers as indices")
        return np.take(x, _places(self.name, indices, x.shape[axis]), axis=axis)


@known("ops:TakeAlongAxis")
class TakeAlongAxis(AlongAxes):
    """Elements along an axis, chosen by an integer per position."""

    argument_names = ("x", "indices")

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 2 or not all(isinstance(shape, tuple) for shape in shapes):
            raise self.needs("two tensors")
        x, indices = shapes
        axis = self.axis(len(x))
        fits = len(x) == len(indices) and all(
            i == axis or None in (n, m) or n == m
            for i, (n, m) in enumerate(zip(x, indices, strict=True))
        )
        if not fits:
            raise self.needs(
                f"shapes that differ only along axis {axis}. Received: {x} and {indices}"
            )
        return with_lengths(x, axis, indices[axis])

    def call(self, x: Array, indices: Array) -> Array:
        axis = self.axis(x.ndim)
        whole = indices.astype(np.intp)  # truncates floats, as Keras does
        return np.take_along_axis(x, _places(self.name, whole, x.shape[axis]), axis)


def _integers(indices: Any) -> Array:
    """Return indices; TensorFlow takes only integers."""
    array = np.asarray(indices)
    if array.dtype.kind not in "iu" and array.size:
        raise ArchiveError(f"indices must be integers. Received: {indices!r:.80}")
    return array.astype(np.intp)


def _places(name: str, indices: Any, length: int) -> Array:
    """Return indices counted from the front; refuse those outside an axis of a layer's input."""
    places = _integers(indices)
    if places.size and not -length <= int(places.min()) <= int(places.max()) < length:
        raise ValueError(
            f"layer {name!r} takes indices from {-length} to {length - 1}. "
            f"Received: {int(places.min())} to {int(places.max())}"
        )
    counted: Array = np.where(places < 0, places + length, places)
    return counted
