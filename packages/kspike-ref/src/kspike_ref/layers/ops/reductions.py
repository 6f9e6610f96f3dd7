# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` in Functional models: deviations, norms, extremes and orders along axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Array, Shape, UnsupportedUseError
from kspike_ref.layers.ops.along_axis import one_axis
from kspike_ref.layers.ops.base import Operation
from kspike_ref.layers.ops.elementwise import Reduction
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError

_PIECE = 1 << 22  # elements that are accumulated at once: some milliseconds


@known("ops:Var", "ops:Std", "ops:Logsumexp", "ops:CountNonzero", "ops:Amax", "ops:Amin")
class Statistic(Reduction):
    """One value for all elements along some axes."""

    options = ("axis", "keepdims")

    def call(self, x: Array) -> Array:
        axes: Any = self.positive(x.ndim)
        keep = self.keepdims
        if self.class_name == "CountNonzero":
            return np.count_nonzero(x, axis=axes).astype(np.int32)
        if self.class_name in ("Amax", "Amin"):
            extreme: Array = (np.max if self.class_name == "Amax" else np.min)(
                x, axis=axes, keepdims=keep
            )
            return extreme
        given, kind = x.dtype, x.dtype.kind
        x = x.astype(dtypes.float_type(x.dtype), copy=False)
        if self.class_name == "Logsumexp":
            if kind != "f":
                self.refuse(given, "floats")
            return _log_sum_exp(x, axes, keep)
        if self.is_of_nothing(x):
            return self.nothing(x, x.dtype)
        variance: Array = x.var(axis=axes, keepdims=keep)
        return np.sqrt(variance) if self.class_name == "Std" else variance


def _log_sum_exp(x: Array, axes: Any, keep: bool) -> Array:
    largest = x.max(axis=axes, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        y: Array = np.log(np.exp(x - largest).sum(axis=axes, keepdims=True)) + largest
    return y if keep else np.squeeze(y, axis=axes)


@known("ops:Norm")
class Norm(Reduction):
    """The norm of vectors along an axis, or of matrices along two."""

    options = ("axis", "keepdims", "ord")

    def output_shape(self, shape: Shape) -> Shape:
        order, axes = self.config.get("ord"), self.axes
        if axes is not None and len(axes) == 2 and order not in (None, "fro"):
            raise UnsupportedUseError(f"keras.ops.norm of matrices with ord={order!r:.80}")
        if axes is not None and len(axes) not in (1, 2):
            raise ArchiveError(f"a norm needs one axis or two. Received: {axes}")
        if axes is not None and len(axes) == 1 and not _is_order(order):
            raise UnsupportedUseError(f"keras.ops.norm of vectors with ord={order!r:.80}")
        return super().output_shape(shape)

    def call(self, x: Array) -> Array:
        axes: Any = self.positive(x.ndim)
        x = x.astype(dtypes.float_type(x.dtype), copy=False)
        order = self.config.get("ord")
        return vector_norm(x, 2 if order in (None, "fro") else order, axes, self.keepdims)


def _is_order(order: Any) -> bool:
    number = isinstance(order, int | float) and not isinstance(order, bool)
    return order is None or number or order in ("inf", "-inf")


def vector_norm(x: Array, order: Any, axes: Any, keep: bool) -> Array:
    """Return the norm of a given order along axes."""
    options: dict[str, Any] = {"axis": axes, "keepdims": keep}
    order = float(order)
    if order == 2:
        y: Array = np.sqrt(np.square(x).sum(**options))
    elif order == np.inf:
        y = np.abs(x).max(**options)
    elif order == -np.inf:
        y = np.abs(x).min(**options)
    elif order == 0:
        y = (x != 0).sum(**options).astype(x.dtype)
    elif order == 1:
        y = np.abs(x).sum(**options)
    else:
        y = np.power(np.power(np.abs(x), x.dtype.type(order)).sum(**options), 1 / order)
    return y.astype(x.dtype, copy=False)


@known("ops:Normalize")
class Normalize(Operation):
    """Vectors of length 1."""

    options = ("axis", "order", "epsilon")

    def setup(self) -> None:
        self.order = self.config.get("order", 2)
        epsilon = self.config.get("epsilon")
        self.epsilon = 1e-7 if epsilon is None else float(epsilon)  # Keras' backend.epsilon()
        if not isinstance(self.order, int | float):
            raise UnsupportedUseError(f"keras.ops.normalize with order={self.order!r:.80}")
        if self.order == 2:
            self.kinds = "f"

    def _axes(self, rank: int) -> tuple[int, ...]:
        axis = self.config.get("axis", -1)
        axes = axis if isinstance(axis, list) else [axis]
        return tuple(one_axis(self, one, rank) for one in axes)

    def output_shape(self, shape: Shape) -> Shape:
        self._axes(len(shape))
        return shape

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 not in self._axes(len(shape))

    def call(self, x: Array) -> Array:
        x = x.astype(dtypes.float_type(x.dtype), copy=False)
        axes = self._axes(x.ndim)
        if self.order == 2:
            square = np.square(x).sum(axis=axes, keepdims=True)
            return x * (1 / np.sqrt(np.maximum(square, x.dtype.type(self.epsilon**2))))
        norm = vector_norm(x, self.order, axes, True)
        y: Array = x / np.maximum(norm, x.dtype.type(self.epsilon))
        return y


@known("ops:Argmax", "ops:Argmin")
class Extreme(Operation):
    """Where the largest or smallest element is along an axis: the first one."""

    kinds = "biuf"
    options = ("axis", "keepdims")

    def setup(self) -> None:
        self.keepdims = self.boolean("keepdims", False)

    def output_shape(self, shape: Shape) -> Shape:
        axis = one_axis(self, self.config.get("axis"), len(shape))
        kept = (1,) if self.keepdims else ()
        return (*shape[:axis], *kept, *shape[axis + 1 :])

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and one_axis(self, self.config.get("axis"), len(shape)) > 1

    def call(self, x: Array) -> Array:
        function = np.argmax if self.class_name == "Argmax" else np.argmin
        axis = one_axis(self, self.config.get("axis"), x.ndim)
        return np.asarray(function(x, axis=axis, keepdims=self.keepdims)).astype(np.int32)


@known("ops:Sort", "ops:Argsort", "ops:Cumsum", "ops:Cumprod")
class Scan(Operation):
    """Elements in ascending order along an axis, or their sums so far."""

    options = ("axis", "dtype")
    kinds = "biuf"

    def setup(self) -> None:
        if self.result_type is not None and self.result_type not in dtypes.NAMES:
            raise ArchiveError(f"dtype must be one of Keras'. Received: {self.result_type!r:.80}")

    def output_shape(self, shape: Shape) -> Shape:
        one_axis(self, self.config.get("axis", -1), len(shape))
        return shape

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and one_axis(self, self.config.get("axis", -1), len(shape)) > 1

    def call(self, x: Array) -> Array:
        axis = one_axis(self, self.config.get("axis", -1), x.ndim)
        if self.class_name == "Sort":
            return np.sort(x, axis=axis)
        if self.class_name == "Argsort":
            return np.argsort(x, axis=axis, kind="stable").astype(np.int32)
        kind = dtypes.computed(self.result_type) if self.result_type else x.dtype
        kind = np.dtype("int32") if kind.kind == "b" else kind
        return cumulated(np.add if self.class_name == "Cumsum" else np.multiply, x, axis, kind)


def cumulated(function: np.ufunc, x: Array, axis: int, kind: Any) -> Array:
    """Return `function.accumulate` along an axis, in pieces.

    NumPy holds the GIL in each call, so that nothing could interrupt a long one. The operations
    and their order are those of one call.
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


@known("ops:TopK")
class TopK(Operation):
    """The largest elements along the last axis, in descending order, and where they are."""

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

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2

    def call(self, x: Array) -> list[Array]:
        backwards = np.argsort(x[..., ::-1], axis=-1, kind="stable")[..., ::-1]
        index = x.shape[-1] - 1 - backwards[..., : self.count]
        return [np.take_along_axis(x, index, axis=-1), index.astype(np.int32)]
