# ruff: noqa: D102 (methods are documented in base.Layer)
"""Reductions along axes: sums, means, extrema and their indices, deviations, norms.

A new reduction is one line in the table below.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.ops.base import AlongAxes, check_distinct, is_number, keys
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError


@dataclass(frozen=True)
class _Reduction:
    """A function of all elements along some axes.

    Attributes
    ----------
    compute : callable
        Takes an array, and ``axis`` and ``keepdims`` as in NumPy.
    type_for : callable
        From the type of an input to the type that it is cast to; the same type by default.
    kinds : str
        The kinds of numbers it takes, as in `Layer`.
    of_nothing : float, optional
        The result for no elements, if NumPy would warn.
    options : tuple of str
        Its options besides ``axis`` and ``keepdims``.
    is_single : bool
        Whether it takes a single axis.
    """

    compute: Callable[..., Any]
    type_for: Callable[[Any], dtypes.DType] = np.dtype
    kinds: str = "biuf"
    of_nothing: float | None = None
    options: tuple[str, ...] = ()
    is_single: bool = False


def _accumulated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function that keeps the type of its input."""
    return lambda x, **along: function(x, dtype=x.dtype, **along)


def _product_type(kind: Any) -> dtypes.DType:
    """Return the type of a product; Keras has none in uint64."""
    dtype = dtypes.sum_type(kind)
    return np.dtype("uint32") if dtype == np.uint64 else dtype


def _largest(x: Array, **along: Any) -> Any:
    return np.max(x, initial=dtypes.smallest(x.dtype), **along)


def _smallest(x: Array, **along: Any) -> Any:
    return np.min(x, initial=dtypes.largest(x.dtype), **along)


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Array:
    largest = x.max(axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):
        y: Array = np.log(np.exp(x - largest).sum(axis=axis, keepdims=True)) + largest
    return y if keepdims else np.squeeze(y, axis=axis)


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a NumPy function with int32 results instead of 64-bit integers."""
    return lambda x, **along: np.asarray(function(x, **along)).astype(np.int32)


def _place(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `numpy.argmax` or `numpy.argmin`, with the axis in a tuple as in other reductions."""
    return _counted(lambda x, axis, keepdims: function(_open(x), axis[0], keepdims=keepdims))


def _open(x: Array) -> Array:
    """Return a writable view if possible: `numpy.argmax` copies arrays that are read-only."""
    view = x.view()
    with suppress(ValueError):  # the memory is read-only
        view.setflags(write=True)
    return view


_REDUCTIONS = {
    "Mean": _Reduction(_accumulated(np.mean), dtypes.float_type, of_nothing=math.nan),
    "Sum": _Reduction(_accumulated(np.sum), dtypes.sum_type),
    "Prod": _Reduction(_accumulated(np.prod), _product_type),
    "Max": _Reduction(_largest, options=("initial",)),
    "Min": _Reduction(_smallest, options=("initial",)),
    "Amax": _Reduction(_largest),
    "Amin": _Reduction(_smallest),
    "Any": _Reduction(np.any),
    "All": _Reduction(np.all),
    "Var": _Reduction(np.var, dtypes.float_type, of_nothing=math.nan),
    "Std": _Reduction(
        lambda x, **along: np.sqrt(np.var(x, **along)), dtypes.float_type, of_nothing=math.nan
    ),
    "Logsumexp": _Reduction(_log_sum_exp, kinds="f"),
    "CountNonzero": _Reduction(_counted(np.count_nonzero)),
    "Argmax": _Reduction(_place(np.argmax), is_single=True),
    "Argmin": _Reduction(_place(np.argmin), is_single=True),
}


class Reduction(AlongAxes):
    """One value for all elements along some axes."""

    options: ClassVar[tuple[str, ...]] = ("axis", "keepdims")

    def setup(self) -> None:
        self.keepdims = self.boolean("keepdims", False)

    def axes(self, rank: int) -> tuple[int, ...]:
        return check_distinct(super().axes(rank))

    def output_shape(self, shape: Shape) -> Shape:
        axes = self.axes(len(shape))
        if self.keepdims:
            return tuple(1 if i in axes else n for i, n in enumerate(shape))
        return tuple(n for i, n in enumerate(shape) if i not in axes)


@known(*keys(_REDUCTIONS))
class Statistic(Reduction):
    """A sum, a mean, an extremum, or another function of the table."""

    def known_options(self) -> tuple[str, ...]:
        return (*self.options, *_REDUCTIONS[self.class_name].options)

    def setup(self) -> None:
        super().setup()
        self.kinds = _REDUCTIONS[self.class_name].kinds
        self.initial = self.config.get("initial")
        is_usable = is_number(self.initial) and not isinstance(self.initial, bool)
        if self.initial is not None and not is_usable:
            raise ArchiveError(f"initial must be a number. Received: {self.initial!r:.80}")

    def axes(self, rank: int) -> tuple[int, ...]:
        axes = super().axes(rank)
        if _REDUCTIONS[self.class_name].is_single and len(axes) != 1:
            raise self.unsupported(f"several axes: axis={list(axes)}")
        return axes

    def call(self, x: Array) -> Array:
        reduction, axes = _REDUCTIONS[self.class_name], self.axes(x.ndim)
        x = x.astype(reduction.type_for(x.dtype), copy=False)
        if reduction.of_nothing is not None and any(x.shape[axis] == 0 for axis in axes):
            return np.full(self.output_shape(x.shape), reduction.of_nothing, x.dtype)
        y: Array = reduction.compute(x, axis=axes, keepdims=self.keepdims)
        return y if self.initial is None else self._limited(y)

    def _limited(self, y: Array) -> Array:
        """Return maxima of at least ``initial``, or minima of at most ``initial``."""
        if y.dtype.kind in "iu" and isinstance(self.initial, float):
            self.refuse(y.dtype, f"only floats, because initial={self.initial} is a float")
        computed = np.dtype("int32") if y.dtype.kind == "b" else y.dtype
        pair = np.maximum if self.class_name == "Max" else np.minimum
        limit = np.asarray(self.initial).astype(computed)
        return pair(y.astype(computed, copy=False), limit).astype(y.dtype, copy=False)


def _norm(x: Array, order: Any, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Return the norm of vectors along one axis, or of matrices along two."""
    order = None if order in (None, "fro") else float(order)
    axis: Any = axes if len(axes) > 1 else axes[0]
    y: Array = np.linalg.norm(x, order, axis=axis, keepdims=keepdims)
    return y.astype(x.dtype, copy=False)


@known("ops:Norm")
class Norm(Reduction):
    """The norm of vectors along an axis, or of matrices along two."""

    options = ("axis", "keepdims", "ord")

    def output_shape(self, shape: Shape) -> Shape:
        order, axes = self.config.get("ord"), self.axes(len(shape))
        if len(axes) == 2 and order not in (None, "fro"):
            raise self.unsupported(f"ord={order!r:.80} of matrices")
        if len(axes) not in (1, 2):
            raise ArchiveError(f"axis must name one or two axes. Received: {axes}")
        is_number = isinstance(order, int | float) and not isinstance(order, bool)
        if len(axes) == 1 and not (is_number or order in (None, "inf", "-inf")):
            raise self.unsupported(f"ord={order!r:.80} of vectors")
        return super().output_shape(shape)

    def call(self, x: Array) -> Array:
        x = x.astype(dtypes.float_type(x.dtype), copy=False)
        axes = self.axes(x.ndim)
        return _norm(x, self.config.get("ord"), axes, self.keepdims)


@known("ops:Normalize")
class Normalize(AlongAxes):
    """Vectors, or matrices along two axes, divided by their norm."""

    options = ("axis", "order", "epsilon")
    default_axis = -1

    def setup(self) -> None:
        self.order = self.config.get("order", 2)
        epsilon = self.config.get("epsilon")
        self.epsilon = 1e-7 if epsilon is None else float(epsilon)  # Keras' backend.epsilon()
        if not isinstance(self.order, int | float):
            raise UnsupportedUseError(
                f"{self.name}: keras.ops.normalize with order={self.order!r:.80}"
            )
        if self.order == 2:
            self.kinds = "f"

    def output_shape(self, shape: Shape) -> Any:
        axes = self.axes(len(shape))
        if len(axes) > 1 and self.order not in (1, 2, math.inf):
            raise self.unsupported(f"order={self.order} along several axes")
        return shape

    def call(self, x: Array) -> Array:
        x = x.astype(dtypes.float_type(x.dtype), copy=False)
        axes = self.axes(x.ndim)
        if self.order == 2:
            square = np.square(x).sum(axis=axes, keepdims=True)
            return x * (1 / np.sqrt(np.maximum(square, x.dtype.type(self.epsilon**2))))
        norm = _norm(x, self.order, axes, True)
        y: Array = x / np.maximum(norm, x.dtype.type(self.epsilon))
        return y
