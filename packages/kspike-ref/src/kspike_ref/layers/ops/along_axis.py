# ruff: noqa: D102 (methods are documented in base.Layer)
"""Functions along one axis: softmax and its relatives, sorting, cumulative sums and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kspike_ref import activations, dtypes, softmax
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.ops.base import AlongAxes, keys, with_lengths
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError

_PIECE = 1 << 22  # elements accumulated at once: a few milliseconds


class AlongAxis(AlongAxes):
    """A function along one axis."""

    default_axis: ClassVar[int | None] = -1

    def output_shape(self, shape: Shape) -> Any:
        self.axis(len(shape))
        return shape


def _order(x: Array, axis: int) -> Array:
    return np.argsort(x, axis=axis, kind="stable").astype(np.int32)


_OF_FLOATS: dict[str, Callable[..., Any]] = {
    "Softmax": softmax.softmax,
    "LogSoftmax": softmax.log_softmax,
    "Sparsemax": softmax.sparsemax,
    "Glu": activations.glu,
}
_ORDERS: dict[str, Callable[..., Any]] = {"Sort": np.sort, "Argsort": _order}


@known(*keys(_OF_FLOATS), *keys(_ORDERS))
class AxisFunction(AlongAxis):
    """A softmax or one of its relatives, or the elements in ascending order."""

    def setup(self) -> None:
        self.kinds = "f" if self.class_name in _OF_FLOATS else "biuf"

    def output_shape(self, shape: Shape) -> Shape:
        axis = self.axis(len(shape))
        if self.class_name != "Glu" or shape[axis] is None:
            return shape
        half, rest = divmod(shape[axis] or 0, 2)
        if rest:
            raise ArchiveError(
                f"layer {self.name!r} needs an axis of even length. Received: {shape[axis]}"
            )
        return with_lengths(shape, axis, half)

    def call(self, x: Array) -> Array:
        y: Array = (_OF_FLOATS | _ORDERS)[self.class_name](x, axis=self.axis(x.ndim))
        return y


@known("ops:TopK")
class TopK(AlongAxis):
    """The largest elements along the last axis, in descending order, and their indices."""

    kinds = "iuf"
    options = ("k", "sorted")

    def setup(self) -> None:
        self.count = self.integer("k")
        if self.config.get("sorted", True) is False:
            raise UnsupportedUseError(f"{self.name}: keras.ops.top_k with sorted=False")

    def output_shape(self, shape: Shape) -> list[Shape]:
        if len(shape) < 2:
            raise self.mixes("one axis")
        if shape[-1] is not None and self.count > shape[-1]:
            raise ArchiveError(f"k must be at most {shape[-1]}. Received: {self.count}")
        return [(*shape[:-1], self.count)] * 2

    def call(self, x: Array) -> list[Array]:
        backwards = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
        index = x.shape[-1] - 1 - backwards[..., : self.count]
        return [np.take_along_axis(x, index, axis=-1), index.astype(np.int32)]


@known("ops:Cumsum", "ops:Cumprod")
class Cumulation(AlongAxis):
    """Cumulative sums or products."""

    options = ("axis", "dtype")

    def setup(self) -> None:
        self.target = self.result_dtype(self.result_type) if self.result_type else None

    def call(self, x: Array) -> Array:
        kind = self.target or x.dtype
        kind = np.dtype("int32") if kind.kind == "b" else kind
        function = np.add if self.class_name == "Cumsum" else np.multiply
        return cumulated(function, x, self.axis(x.ndim), kind)


def cumulated(function: np.ufunc, x: Array, axis: int, kind: dtypes.DType) -> Array:
    """Return `function.accumulate` along an axis, in pieces.

    NumPy holds the GIL during a call, so nothing could interrupt a long one. The operations and
    their order are the same as in one call.
    """
    y = np.empty(x.shape, kind)
    source, out = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
    steps = max(1, _PIECE * len(source) // max(1, x.size))
    for first in range(0, len(source), steps):
        piece = source[first : first + steps].astype(kind)
        if first:
            piece[0] = function(out[first - 1], piece[0])
        function.accumulate(piece, axis=0, out=out[first : first + steps])
    return y
