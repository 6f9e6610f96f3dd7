# ruff: noqa: D102 (methods are documented in base.Layer)
"""Operations on shapes: reshaping, and reordering, adding and removing axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kspike_ref.layers.checks import positive_axes
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.ops.base import AlongAxes, Operation, check_distinct, keys
from kspike_ref.layers.registry import known
from kspike_ref.layers.shape import Reshape as ReshapeLayer
from kspike_ref.layers.shape import integers
from kspike_ref.running.binder import Binder
from kspike_ref.saved.archive import ArchiveError, Weights


@known("ops:Reshape")
class Reshape(Operation, ReshapeLayer):
    """The same elements in another shape, which includes the batch axis."""

    kinds = Operation.kinds
    options = ("newshape",)

    def setup(self) -> None:
        given = [-1 if n is None else n for n in self.config["newshape"]]
        self.target = integers("newshape", given)[1:]
        if self.target.count(-1) > 1 or min(given, default=-1) < -1:
            raise ArchiveError(
                "newshape must hold lengths of 0 or more, and -1 at most once after the batch. "
                f"Received: {given}"
            )

    def output_shape(self, shape: Shape) -> Shape:
        try:
            made = super().output_shape(shape)
        except ArchiveError:
            made = None
        if made is None or self.config["newshape"][:1] not in ([-1], [None]):
            raise self.mixes(f"newshape={self.config['newshape']}")
        return made


_REORDERINGS: dict[str, tuple[Callable[..., Array], tuple[str, ...]]] = {
    "Transpose": (np.transpose, ("axes",)),
    "Moveaxis": (np.moveaxis, ("source", "destination")),
    "Swapaxes": (lambda x, one, other: x.swapaxes(*one, *other), ("axis1", "axis2")),
}


@known(*keys(_REORDERINGS))
class Reordering(Operation):
    """Axes in another order; the batch stays first."""

    keeps_zeros = True

    def known_options(self) -> tuple[str, ...]:
        return _REORDERINGS[self.class_name][1]

    def _order(self, rank: int) -> tuple[int, ...]:
        """Return the input axis of each output axis."""
        function, names = _REORDERINGS[self.class_name]
        given = [self.config.get(name) for name in names]
        if given == [None]:
            given = [list(range(rank))[::-1]]  # the default of `transpose`
        labels = np.empty(range(rank))  # no elements; its lengths are axis numbers
        order = function(labels, *(positive_axes(axes, rank) for axes in given)).shape
        if order[0] != 0:
            wrong = (f"{name}={axes}" for name, axes in zip(names, given, strict=True))
            raise self.mixes(", ".join(wrong))
        return order

    def output_shape(self, shape: Shape) -> Shape:
        return tuple(shape[i] for i in self._order(len(shape)))

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and self._order(len(shape))[1] == 1

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        self.order = self._order(len(shapes[0]))
        super().load(store, path, *shapes)

    def call(self, x: Array) -> Array:
        is_known = len(self.order) == x.ndim
        return x.transpose(self.order if is_known else self._order(x.ndim))


@known("ops:ExpandDims")
class ExpandDims(AlongAxes):
    """Addition of axes of length 1."""

    keeps_zeros = True

    def axes(self, rank: int) -> tuple[int, ...]:
        given = self.config["axis"]
        return check_distinct(super().axes(rank + (len(given) if isinstance(given, list) else 1)))

    def output_shape(self, shape: Shape) -> Shape:
        axes, rest = self.axes(len(shape)), iter(shape)
        return tuple(1 if i in axes else next(rest) for i in range(len(shape) + len(axes)))

    def bind(self, binder: Binder, x: Array) -> Array:
        return binder.view(x, self.call(x).shape)

    def call(self, x: Array) -> Array:
        return np.expand_dims(x, axis=self.axes(x.ndim))


@known("ops:Squeeze")
class Squeeze(AlongAxes):
    """Removal of axes of length 1: the named ones, or all after the batch."""

    keeps_zeros = True

    def setup(self) -> None:
        self.removed: tuple[int, ...] | None = None

    def _axes(self, shape: Shape) -> tuple[int, ...]:
        if self.config.get("axis") is not None:
            return check_distinct(self.axes(len(shape)))
        if None in shape[1:]:
            raise UnsupportedUseError(
                f"keras.ops.squeeze without axis, where a length of {shape} is unknown; pass axis"
            )
        return tuple(i for i, n in enumerate(shape) if i and n == 1)

    def output_shape(self, shape: Shape) -> Shape:
        axes = self._axes(shape)
        if any(shape[a] not in (1, None) for a in axes):
            raise ArchiveError(f"only axes of length 1 can be removed from {shape}")
        if self.removed not in (None, axes):
            raise UnsupportedUseError("keras.ops.squeeze of tensors with other axes of length 1")
        return tuple(n for i, n in enumerate(shape) if i not in axes)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 not in self._axes(shape)

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        # In a single step, the time axis also has length 1, but must stay.
        self.removed = self._axes(shapes[0])
        super().load(store, path, *shapes)

    def bind(self, binder: Binder, x: Array) -> Array:
        return binder.view(x, self.call(x).shape)

    def call(self, x: Array) -> Array:
        return x.squeeze(self.removed)
