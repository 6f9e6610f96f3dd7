# ruff: noqa: D102 (methods are documented in base.Layer)
"""Operations whose type the file names: casts, zeros and ones, one-hot codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.ops.base import Operation, count, keys
from kspike_ref.layers.registry import known


def _cast(x: Array, dtype: dtypes.DType) -> Array:
    """Cast as TensorFlow does: floats beyond the range of an integer type become its limits."""
    return _saturated(x, dtype) if x.dtype.kind == "f" else dtypes.cast(x, dtype)


def _saturated(x: Array, dtype: dtypes.DType) -> Array:
    return dtypes.cut(x, dtype) if dtype.kind in "iu" else dtypes.cast(x, dtype)


_CASTS: dict[str, Callable[[Array, dtypes.DType], Array]] = {
    "Cast": _cast,
    "SaturateCast": _saturated,
    "ConvertToTensor": dtypes.cast,
}
_CONSTANTS: dict[str, Callable[[Array, dtypes.DType], Array]] = {
    "OnesLike": lambda x, dtype: np.ones(x.shape, dtype),
    "ZerosLike": lambda x, dtype: np.zeros(x.shape, dtype),
}


@known(*keys(_CONSTANTS))
class Typed(Operation):
    """A tensor of the type that the file names, or else of the input's type.

    Keras writes the type into the configuration, or among the arguments of the call. Half precision
    stays float32.
    """

    options = ("dtype",)
    pointwise_from = 2
    functions: ClassVar[dict[str, Callable[[Array, dtypes.DType], Array]]] = _CONSTANTS

    def setup(self) -> None:
        is_given = self.result_type is not None or self.class_name.endswith("Cast")
        self.target = self.result_dtype(self.result_type) if is_given else None

    def output_shape(self, x: Shape, dtype: Any = None, sparse: Any = None) -> Shape:
        if not isinstance(x, tuple):
            raise self.needs(f"one tensor. Received: {x!r:.80}")
        if dtype is not None:
            self.result_dtype(dtype)
        if sparse:
            raise self.needs("sparse=False")
        return x

    def call(self, x: Array, dtype: Any = None, sparse: Any = None) -> Array:
        target = self.result_dtype(dtype) if dtype else self.target or x.dtype
        return self.functions[self.class_name](x, target)


@known(*keys(_CASTS))
class Cast(Typed):
    """A cast to the type that the file names, if it names one."""

    keeps_zeros = True
    functions = _CASTS

    def setup(self) -> None:
        super().setup()
        self.refused = ("uint64",) if self.class_name == "SaturateCast" else ()


class _Codes(Operation):
    """Vectors of zeros, with ones at integer indices."""

    options = ("num_classes", "axis", "sparse", "dtype")

    def setup(self) -> None:
        if self.config.get("sparse"):
            error = self.unsupported("sparse=True; kspike_ref has only dense arrays")
            raise UnsupportedUseError(f"{self.name}: {error}")
        self.count = count("num_classes", self.config["num_classes"])
        self.target = self.result_dtype(self.result_type or "float32")

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        return 16 * math.prod(given[0])  # integers of 64 bits: indices, rows and columns


@known("ops:OneHot")
class OneHot(_Codes):
    """One vector per integer, on a new axis."""

    def _place(self, rank: int) -> int:
        axis = self.config.get("axis", -1)
        if type(axis) is not int or not -rank - 1 <= axis <= rank or axis % (rank + 1) == 0:
            raise self.mixes(f"axis={axis!r:.80}")
        return axis % (rank + 1)

    def output_shape(self, shape: Shape) -> Shape:
        place = self._place(len(shape))
        return (*shape[:place], self.count, *shape[place:])

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 1 and self._place(len(shape)) > 1

    def call(self, x: Array) -> Array:
        y = x.astype(np.int64)[..., None] == np.arange(self.count)
        return np.moveaxis(y, -1, self._place(x.ndim)).astype(self.target)


@known("ops:MultiHot")
class MultiHot(_Codes):
    """One vector for all integers of an example."""

    def output_shape(self, shape: Shape) -> Shape:
        if self.config.get("axis", -1) != -1 or len(shape) != 2:
            raise self.needs("inputs with 2 axes, and axis=-1")
        return (shape[0], self.count)

    def call(self, x: Array) -> Array:
        index = x.astype(np.int64)
        row, column = np.nonzero((index >= 0) & (index < self.count))
        places = np.zeros((len(index), self.count), self.target)
        places[row, index[row, column]] = 1
        return places
