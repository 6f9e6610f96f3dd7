# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` in Functional models: changes of shape, slices, and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Array, Shape, UnsupportedUseError
from kspike_ref.layers.merge import concatenated
from kspike_ref.layers.ops.base import Operation
from kspike_ref.layers.ops.elementwise import is_number
from kspike_ref.layers.registry import known
from kspike_ref.layers.shape import integers, keeps_axis, reshaped, resolve
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.softmax import softmax


@known("ops:Reshape")
class Reshape(Operation):
    """The same elements in another shape, the batch axis included."""

    options = ("newshape",)
    keeps_zeros = True

    def setup(self) -> None:
        given = [-1 if n is None else n for n in self.config["newshape"]]
        self.target = integers("newshape", given)

    def output_shape(self, shape: Shape) -> Shape:
        if self.target.count(-1) > 2 or min(self.target, default=0) < -1:
            raise ArchiveError(f"newshape must have one unknown length. Received: {self.target}")
        if not self.target or self.target[0] != -1:
            raise self.mixes(f"newshape={self.target}")
        rest = self.target[1:]
        known_lengths = [n for n in shape[1:] if n is not None]
        whole = len(known_lengths) == len(shape) - 1 and -1 not in rest
        if whole and math.prod(known_lengths) != math.prod(rest):
            raise self.mixes(f"newshape={self.target}")
        return (shape[0], *resolve(shape[1:], rest))

    def pointwise(self, shape: Shape) -> bool:
        return keeps_axis(shape, self.target[1:])

    def call(self, x: Array) -> Array:
        return reshaped(x, 1, self.target[1:])

    def call_step(self, x: Array) -> Array:
        return reshaped(x, 2, self.target[2:])


@known("ops:Transpose")
class Transpose(Operation):
    """The axes in another order; the batch stays first."""

    options = ("axes",)
    keeps_zeros = True

    def output_shape(self, shape: Shape) -> Shape:
        axes = self._axes(len(shape))
        return tuple(shape[axis] for axis in axes)

    def _axes(self, rank: int) -> list[int]:
        given = self.config.get("axes")
        axes = list(range(rank))[::-1]
        if given is not None:
            axes = [a % rank for a in integers("axes", given)]
        if sorted(axes) != list(range(rank)):
            raise ArchiveError(f"axes must be a permutation. Received: {given}")
        if axes[0] != 0:
            raise self.mixes(f"axes={given}")
        return axes

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and self._axes(len(shape))[1] == 1

    def call(self, x: Array) -> Array:
        return x.transpose(self._axes(x.ndim))


@known("ops:ExpandDims")
class ExpandDims(Operation):
    """Axes of length 1, added."""

    options = ("axis",)
    keeps_zeros = True

    def _axes(self, rank: int) -> tuple[int, ...]:
        return _after_batch(self, self.config["axis"], rank, new=True)

    def output_shape(self, shape: Shape) -> Shape:
        axes = self._axes(len(shape))
        rest = iter(shape)
        return tuple(1 if i in axes else next(rest) for i in range(len(shape) + len(axes)))

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and min(self._axes(len(shape))) > 1

    def call(self, x: Array) -> Array:
        return np.expand_dims(x, axis=self._axes(x.ndim))


@known("ops:Squeeze")
class Squeeze(Operation):
    """Axes of length 1, removed: those that are named, or all after the batch."""

    options = ("axis",)
    keeps_zeros = True

    def setup(self) -> None:
        self.removed: tuple[int, ...] | None = None

    def _axes(self, shape: Shape) -> tuple[int, ...]:
        given = self.config.get("axis")
        if given is not None:
            return _after_batch(self, given, len(shape))
        if None in shape[1:]:
            raise UnsupportedUseError(
                f"keras.ops.squeeze without axis, where a length of {shape} is unknown; name the "
                "axis"
            )
        return tuple(i for i, n in enumerate(shape) if i and n == 1)

    def output_shape(self, shape: Shape) -> Shape:
        axes = self._axes(shape)
        if any(shape[a] not in (1, None) for a in axes):
            raise ArchiveError(f"only axes of length 1 can be removed from {shape}")
        if self.removed not in (None, axes):
            raise UnsupportedUseError("keras.ops.squeeze of tensors with other axes of length 1")
        self.removed = axes  # while a model is stepped, an axis of time has length 1 as well
        return tuple(n for i, n in enumerate(shape) if i not in axes)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 not in self._axes(shape)

    def call(self, x: Array) -> Array:
        axes = self._axes(x.shape) if self.removed is None else self.removed
        return np.squeeze(x, axis=axes)


def _after_batch(layer: Operation, given: Any, rank: int, new: bool = False) -> tuple[int, ...]:
    """Return axes of a configuration as positive numbers; none of them may be the batch."""
    axes = given if isinstance(given, list) else [given]
    total = rank + len(axes) if new else rank
    if not all(type(a) is int and -total <= a < total for a in axes):
        raise ArchiveError(f"axis must be within {total} axes. Received: {given!r:.80}")
    if any(a % total == 0 for a in axes):
        raise layer.mixes(f"axis={given}")
    return tuple(a % total for a in axes)


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
        # a view of one number in two sizes: lengths that follow an unknown one are unknown too
        sizes = [
            np.broadcast_to(np.int8(0), [probe if n is None else n for n in shape])[items].shape
            for probe in (97, 101)
        ]
        if len(sizes[0]) == 0 or sizes[0][0] != 97:
            raise self.mixes(f"the index {key!r:.80}")
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
class Concatenate(Operation):
    """One after another along an axis."""

    options = ("axis",)
    keeps_zeros = True

    def _axis(self, rank: int) -> int:
        return _after_batch(self, self.config.get("axis", 0), rank)[0]

    def output_shape(self, shapes: Any) -> Shape:
        return concatenated(shapes, self._axis(len(shapes[0])))

    def pointwise(self, shapes: Any) -> bool:
        same = len({shape[1:2] for shape in shapes}) == 1
        return same and len(shapes[0]) > 2 and self._axis(len(shapes[0])) > 1

    def call(self, inputs: list[Array]) -> Array:
        return np.concatenate(dtypes.unified(inputs), axis=self._axis(inputs[0].ndim))


@known("ops:Stack")
class Stack(Operation):
    """One beside another along a new axis."""

    options = ("axis",)

    def _axis(self, rank: int) -> int:
        return _after_batch(self, self.config.get("axis", 0), rank, new=True)[0]

    def output_shape(self, shapes: Any) -> Shape:
        axis = self._axis(len(shapes[0]))
        return concatenated([(*s[:axis], 1, *s[axis:]) for s in shapes], axis)

    def pointwise(self, shapes: Any) -> bool:
        same = len({shape[1:2] for shape in shapes}) == 1
        return same and len(shapes[0]) > 2 and self._axis(len(shapes[0])) > 1

    def call(self, inputs: list[Array]) -> Array:
        return np.stack(dtypes.unified(inputs), axis=self._axis(inputs[0].ndim))


@known("ops:Clip")
class Clip(Operation):
    """Limited to a range."""

    options = ("x_min", "x_max")
    pointwise_from = 3

    def setup(self) -> None:
        self.limits = [self.config[key] for key in ("x_max", "x_min")]
        if not all(is_number(n) and type(n) is not bool for n in self.limits):
            raise ArchiveError(f"x_min and x_max must be numbers. Received: {self.limits!r:.80}")

    def call(self, x: Array) -> Array:
        if x.dtype.kind != "f" and any(isinstance(n, float) for n in self.limits):
            self.refuse(x.dtype, "floats where its limits are")
        x = x.astype(np.int32) if x.dtype.kind == "b" else x
        # the limit above first: where it is below the other one, the other one is the answer
        high, low = (np.asarray(n).astype(x.dtype) for n in self.limits)
        y: Array = np.maximum(np.minimum(x, high), low)
        return y


@known("ops:Softmax")
class Softmax(Operation):
    """Softmax over one axis."""

    kinds = "f"
    options = ("axis",)

    def setup(self) -> None:
        axis = self.config.get("axis", -1)
        if axis is None:
            raise self.mixes("axis=None")
        if isinstance(axis, list):
            raise UnsupportedUseError(f"keras.ops.softmax with several axes: axis={axis}")

    def _axis(self, rank: int) -> int:
        return _after_batch(self, self.config.get("axis", -1), rank)[0]

    def output_shape(self, shape: Shape) -> Shape:
        self._axis(len(shape))
        return super().output_shape(shape)

    def pointwise(self, shape: Shape) -> bool:
        return self._axis(len(shape)) > 1

    def call(self, x: Array) -> Array:
        return softmax(x, axis=self._axis(x.ndim))
