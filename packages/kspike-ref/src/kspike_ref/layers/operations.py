# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` in Functional models: changes of shape, slices, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kspike_ref._softmax import softmax
from kspike_ref.archive import ArchiveError
from kspike_ref.layers.base import Array, Layer, Shape, UnsupportedUseError
from kspike_ref.layers.merge import concatenated
from kspike_ref.layers.registry import known
from kspike_ref.layers.shape import resolve

Function = Callable[..., Any]


@known("ops:Reshape")
class Reshape(Layer):
    """The same elements in another shape, the batch axis included."""

    keeps_zeros = True

    def setup(self) -> None:
        self.target = tuple(-1 if n is None else int(n) for n in self.config["newshape"])

    def output_shape(self, shape: Shape) -> Shape:
        if not self.target or (self.target[0] != -1 and self.target[0] != shape[0]):
            raise UnsupportedUseError(f"ops.reshape that changes the batch axis: {self.target}")
        rest = self.target[1:]
        if rest.count(-1) > 1 or min(rest, default=0) < -1:
            raise ArchiveError(f"newshape must have one unknown length. Received: {self.target}")
        return (shape[0], *resolve(shape[1:], rest))

    def call(self, x: Array) -> Array:
        return np.ascontiguousarray(x).reshape(len(x), *self.target[1:])


@known("ops:Transpose")
class Transpose(Layer):
    """The axes in another order; the batch stays first."""

    keeps_zeros = True

    def output_shape(self, shape: Shape) -> Shape:
        axes = self._axes(len(shape))
        return tuple(shape[axis] for axis in axes)

    def _axes(self, rank: int) -> list[int]:
        given = self.config.get("axes")
        axes = list(range(rank))[::-1] if given is None else [a % rank for a in given]
        if axes[:1] != [0]:
            raise UnsupportedUseError("ops.transpose that moves the batch axis")
        if sorted(axes) != list(range(rank)) or axes[0] != 0:
            raise ArchiveError(f"axes must keep the batch first. Received: {given}")
        return axes

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and self._axes(len(shape))[1] == 1

    def call(self, x: Array) -> Array:
        return x.transpose(self._axes(x.ndim))


@known("ops:ExpandDims", "ops:Squeeze")
class Dims(Layer):
    """Axes of length 1, added or removed."""

    keeps_zeros = True
    function: ClassVar[Function]

    def _axes(self, rank: int) -> tuple[int, ...]:
        given = self.config.get("axis")
        if given is None:
            raise UnsupportedUseError(
                "ops.squeeze without axis, which may drop the batch; give the axis"
            )
        axes = list(given) if isinstance(given, list) else [given]
        total = rank + len(axes) if self.class_name == "ExpandDims" else rank
        if not all(type(a) is int and -total <= a < total for a in axes):
            raise ArchiveError(f"axis must be within {total} axes. Received: {given!r:.80}")
        if not all(a % total for a in axes):
            raise UnsupportedUseError(f"{self.class_name} of the batch axis")
        return tuple(a % total for a in axes)

    def output_shape(self, shape: Shape) -> Shape:
        axes = self._axes(len(shape))
        if self.class_name == "ExpandDims":
            rest = iter(shape)
            return tuple(1 if i in axes else next(rest) for i in range(len(shape) + len(axes)))
        if any(shape[a] != 1 for a in axes):
            raise ArchiveError(f"only axes of length 1 can be removed from {shape}")
        return tuple(n for i, n in enumerate(shape) if i not in axes)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and min(self._axes(len(shape))) > 1

    def call(self, x: Array) -> Array:
        function = np.expand_dims if self.class_name == "ExpandDims" else np.squeeze
        y: Array = function(x, axis=self._axes(x.ndim))
        return y


@known("ops:GetItem")
class GetItem(Layer):
    """A slice."""

    keeps_zeros = True

    def _key(self, key: Any) -> tuple[Any, ...]:
        items = tuple(key) if isinstance(key, list) else (key,)
        for item in items:
            parts = (item.start, item.stop, item.step) if isinstance(item, slice) else (item,)
            if not all(n is None or n is Ellipsis or type(n) is int for n in parts):
                raise ArchiveError(f"a slice must be made of integers. Received: {key!r:.80}")
        if items[:1] not in ((slice(None),), (Ellipsis,)):
            raise UnsupportedUseError(f"a slice of the batch: {key!r:.80}")
        return items

    def output_shape(self, shape: Shape, key: Any) -> Shape:
        items = self._key(key)
        # a view of one number in two sizes: lengths that follow an unknown one are unknown too
        sizes = [
            np.broadcast_to(np.int8(0), [probe if n is None else n for n in shape])[items].shape
            for probe in (97, 101)
        ]
        if len(sizes[0]) == 0 or sizes[0][0] != 97:
            raise UnsupportedUseError(f"a slice of the batch: {key!r:.80}")
        return tuple(a if a == b else None for a, b in zip(*sizes, strict=True))

    def pointwise(self, shape: Shape, key: Any) -> bool:
        items = self._key(key)
        whole = items[1:2] == (slice(None),) or items[0] is Ellipsis
        return (
            len(shape) > 2 and whole and (items[0] is not Ellipsis or len(items) < len(shape) - 1)
        )

    def call(self, x: Array, key: Any) -> Array:
        y: Array = x[self._key(key)]
        return y


@known("ops:Concatenate")
class Concatenate(Layer):
    """One after another along an axis."""

    keeps_zeros = True

    def _axis(self, rank: int) -> int:
        axis = self.config.get("axis", 0)
        if type(axis) is not int or not -rank <= axis < rank:
            raise ArchiveError(f"axis must be within {rank} axes. Received: {axis!r:.80}")
        if axis % rank == 0:
            raise UnsupportedUseError(f"{self.class_name} over the batch axis")
        return axis % rank

    def output_shape(self, shapes: Any) -> Shape:
        return concatenated(shapes, self._axis(len(shapes[0])))

    def pointwise(self, shapes: Any) -> bool:
        same = len({shape[1:2] for shape in shapes}) == 1
        return same and len(shapes[0]) > 2 and self._axis(len(shapes[0])) > 1

    def call(self, inputs: list[Array]) -> Array:
        return np.concatenate(inputs, axis=self._axis(inputs[0].ndim))


@known("ops:Stack")
class Stack(Layer):
    """One beside another along a new axis."""

    def _axis(self, rank: int) -> int:
        axis = self.config.get("axis", 0)
        if type(axis) is not int or not -rank - 1 <= axis <= rank:
            raise ArchiveError(f"axis must be within {rank + 1} axes. Received: {axis!r:.80}")
        if axis % (rank + 1) == 0:
            raise UnsupportedUseError("Stack along the batch axis")
        return axis % (rank + 1)

    def output_shape(self, shapes: Any) -> Shape:
        axis = self._axis(len(shapes[0]))
        return concatenated([(*s[:axis], 1, *s[axis:]) for s in shapes], axis)

    def pointwise(self, shapes: Any) -> bool:
        same = len({shape[1:2] for shape in shapes}) == 1
        return same and len(shapes[0]) > 2 and self._axis(len(shapes[0])) > 1

    def call(self, inputs: list[Array]) -> Array:
        return np.stack(inputs, axis=self._axis(inputs[0].ndim))


@known("ops:Clip")
class Clip(Layer):
    """Limited to a range."""

    pointwise_from = 3

    def setup(self) -> None:
        self.low, self.high = float(self.config["x_min"]), float(self.config["x_max"])

    def call(self, x: Array) -> Array:
        y: Array = np.clip(x, x.dtype.type(self.low), x.dtype.type(self.high))
        return y


@known("ops:Softmax")
class Softmax(Layer):
    """Softmax over one axis."""

    def _axis(self, rank: int) -> int:
        axis = self.config.get("axis", -1)
        if type(axis) is not int or not -rank <= axis < rank:
            raise ArchiveError(f"axis must be within {rank} axes. Received: {axis!r:.80}")
        if axis % rank == 0:
            raise UnsupportedUseError(f"{self.class_name} over the batch axis")
        return axis % rank

    def output_shape(self, shape: Shape) -> Shape:
        self._axis(len(shape))
        return super().output_shape(shape)

    def pointwise(self, shape: Shape) -> bool:
        return self._axis(len(shape)) > 1

    def call(self, x: Array) -> Array:
        return softmax(x, axis=self._axis(x.ndim))
