# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` in Functional models: functions of each element, and reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kspike_ref import activations
from kspike_ref.archive import ArchiveError
from kspike_ref.layers.base import Array, Layer, Shape, UnsupportedUseError
from kspike_ref.layers.merge import broadcast
from kspike_ref.layers.registry import known

Function = Callable[..., Any]

_ELEMENTWISE: dict[str, Function] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "TrueDivide": np.true_divide,
    "Divide": np.true_divide,
    "FloorDivide": np.floor_divide,
    "Mod": np.mod,
    "Power": np.power,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Negative": np.negative,
    "Absolute": np.absolute,
    "Abs": np.absolute,
    "Square": np.square,
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Expm1": np.expm1,
    "Log": np.log,
    "Log1p": np.log1p,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tanh": np.tanh,
    "Sign": np.sign,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Rsqrt": lambda x: 1 / np.sqrt(x),
    "Reciprocal": np.reciprocal,
    "Relu": activations.relu,
    "Relu6": activations.relu6,
    "Sigmoid": activations.sigmoid,
    "Silu": activations.silu,
    "Softplus": activations.softplus,
    "Softsign": activations.softsign,
    "HardSigmoid": activations.hard_sigmoid,
    "HardSilu": activations.hard_silu,
    "Selu": activations.selu,
}
# What Keras makes masks of, and writes into the model beside the layers.
_LOGICAL: dict[str, Function] = {
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalNot": np.logical_not,
}
_FUNCTIONS = _ELEMENTWISE | _LOGICAL
_REDUCTIONS: dict[str, Function] = {
    "Mean": np.mean, "Sum": np.sum, "Max": np.max, "Min": np.min, "Prod": np.prod,
    "Any": np.any, "All": np.all,
}  # fmt: skip
_DTYPES = ("bool", "int32", "int64", "float32", "float64")


def _each(names: dict[str, Function] | tuple[str, ...]) -> list[str]:
    return [f"ops:{name}" for name in names]


def _shape_of(value: Any) -> Shape:
    """Return the shape of an argument: a tensor's shape, an array, or a number."""
    return value if isinstance(value, tuple) else np.shape(value)


@known(*_each(_FUNCTIONS))
class Elementwise(Layer):
    """A function of each element."""

    def output_shape(self, *shapes: Any) -> Shape:
        wanted = getattr(_FUNCTIONS[self.class_name], "nin", 1)
        constants = [value for value in shapes if not isinstance(value, tuple)]
        numbers = all(isinstance(value, int | float | np.ndarray) for value in constants)
        if len(shapes) != wanted or len(constants) == wanted or not numbers:
            raise ArchiveError(
                f"layer {self.name!r} must be called with {wanted} tensors or numbers"
            )
        return broadcast([_shape_of(value) for value in shapes])

    def pointwise(self, *shapes: Any) -> bool:
        tensors = [shape for shape in shapes if isinstance(shape, tuple)]
        constants = [np.ndim(value) for value in shapes if not isinstance(value, tuple)]
        rank = len(tensors[0])
        same = all(len(shape) == rank and shape[1:2] == tensors[0][1:2] for shape in tensors)
        return same and rank > 1 and max(constants, default=0) < rank - 1

    def call(self, *inputs: Any) -> Array:
        # a Python number takes the tensor's type, and an array constant as well: as Keras does it
        types = [x.dtype for x in inputs if isinstance(x, np.ndarray)]
        floats = [dtype for dtype in types if dtype.kind == "f"]
        if not floats and any(type(x) is float for x in inputs):
            floats = [self.dtype]
        dtype = floats[0] if floats else np.result_type(*types)
        values = [x.astype(dtype) if isinstance(x, np.ndarray) else dtype.type(x) for x in inputs]
        with np.errstate(all="ignore"):
            y: Array = _FUNCTIONS[self.class_name](*values)
        return y if floats or y.dtype.kind != "f" else y.astype(self.dtype)


@known(*_each(_REDUCTIONS))
class Reduction(Layer):
    """One value for all elements along some axes."""

    def setup(self) -> None:
        axis = self.config.get("axis")
        self.axes = None if axis is None else axis if isinstance(axis, list) else [axis]
        if self.axes is not None and not all(type(a) is int for a in self.axes):
            raise ArchiveError(f"axis must hold integers. Received: {axis!r:.80}")
        self.keepdims = self.boolean("keepdims", False)

    def positive(self, rank: int) -> tuple[int, ...]:
        """Return the axes as positive numbers."""
        axes = range(rank) if self.axes is None else self.axes
        if not all(-rank <= axis < rank for axis in axes):
            raise ArchiveError(f"axis must be within {rank} axes. Received: {self.axes}")
        return tuple(axis % rank for axis in axes)

    def output_shape(self, shape: Shape) -> Shape:
        axes = self.positive(len(shape))
        if 0 in axes:
            raise UnsupportedUseError(f"ops.{self.class_name.lower()} over the batch axis")
        if self.keepdims:
            return tuple(1 if i in axes else n for i, n in enumerate(shape))
        return tuple(n for i, n in enumerate(shape) if i not in axes)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 not in self.positive(len(shape))

    def call(self, x: Array) -> Array:
        axes = self.positive(x.ndim)
        y: Array = _REDUCTIONS[self.class_name](x, axis=axes, keepdims=self.keepdims)
        return y if y.dtype.kind == "b" else y.astype(x.dtype, copy=False)


@known("ops:OnesLike", "ops:ZerosLike")
class Like(Layer):
    """Ones or zeros in the shape of a tensor."""

    pointwise_from = 2

    def output_shape(self, shape: Shape, dtype: Any = None) -> Shape:
        if dtype is not None and dtype not in _DTYPES:
            known_types = ", ".join(_DTYPES)
            raise ArchiveError(f"dtype must be one of {known_types}. Received: {dtype!r:.80}")
        return super().output_shape(shape)

    def call(self, x: Array, dtype: Any = None) -> Array:
        return np.full(x.shape, self.class_name == "OnesLike", dtype or x.dtype)
