# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` in Functional models: functions of each element, and reductions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kspike_ref import activations, dtypes
from kspike_ref.layers.base import Array, Shape, UnsupportedUseError
from kspike_ref.layers.merge import broadcast
from kspike_ref.layers.ops.base import Operation
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError

Function = Callable[..., Any]
_SINGLE = np.dtype("float32")


@dataclass(frozen=True)
class _Function:
    """A function of each element, and the types that Keras on TensorFlow gives it.

    Attributes
    ----------
    compute : callable
        From arrays of one type to an array.
    kinds : str
        The kinds of numbers it takes, as in `Layer`, once its operands have one type.
    refused : tuple of str
        Types that it does not take beside.
    floats : bool
        Whether integers and bools become float32 first.
    bools : str
        What bools become first: ``"int32"`` where they count.
    weak : bool
        Whether a Python number takes the type of an array of its kind.
    """

    compute: Function
    kinds: str = "biuf"
    refused: tuple[str, ...] = ()
    floats: bool = False
    bools: str = "bool"
    weak: bool = True

    @property
    def operands(self) -> int:
        """How many arrays or numbers it takes."""
        return getattr(self.compute, "nin", 1) if self.compute is not _floor_divide else 2

    def types(self, *values: Any) -> dtypes.DType:
        """Return the type in which arrays and Python numbers are computed."""
        if all(type(x) in (int, float) or getattr(x, "dtype", None) == _SINGLE for x in values):
            return _SINGLE
        kinds = [dtypes.kind_of(value) for value in values]
        if not self.weak:
            kinds = [np.dtype(dtypes.result_type(k)) if isinstance(k, type) else k for k in kinds]
        dtype = dtypes.computed(dtypes.result_type(*kinds) if len(kinds) > 1 else kinds[0])
        if dtype.kind == "b":
            dtype = np.dtype(self.bools)
        return dtypes.float_type(dtype) if self.floats else dtype


def _floor_divide(x: Array, y: Array) -> Array:
    """Return ⌊x/y⌋: for floats the quotient is rounded first, as TensorFlow does it."""
    quotient: Array = np.floor_divide(x, y) if x.dtype.kind != "f" else np.floor(x / y)
    return quotient


def _numbers(compute: Function) -> _Function:
    return _Function(compute, "iuf")


def _real(compute: Function) -> _Function:
    return _Function(compute, floats=True)


def _of_floats(compute: Function) -> _Function:
    return _Function(compute, "f")


_ELEMENTWISE = {
    "Add": _numbers(np.add),
    "Subtract": _numbers(np.subtract),
    "Multiply": _numbers(np.multiply),
    "TrueDivide": _real(np.true_divide),
    "Divide": _real(np.true_divide),
    "FloorDivide": _numbers(_floor_divide),
    "Mod": _Function(np.mod, "iuf", bools="int32", weak=False),
    "Power": _numbers(np.power),
    "Maximum": _numbers(np.maximum),
    "Minimum": _numbers(np.minimum),
    "Negative": _Function(np.negative, "if"),
    "Absolute": _Function(np.absolute),
    "Abs": _Function(np.absolute),
    "Square": _Function(np.square, bools="int32"),
    "Sqrt": _real(np.sqrt),
    "Exp": _real(np.exp),
    "Expm1": _real(np.expm1),
    "Log": _real(np.log),
    "Log1p": _real(np.log1p),
    "Sin": _real(np.sin),
    "Cos": _real(np.cos),
    "Tanh": _real(np.tanh),
    "Sign": _Function(np.sign, "iuf", ("uint64",)),
    "Floor": _real(np.floor),
    "Ceil": _real(np.ceil),
    "Rsqrt": _of_floats(lambda x: 1 / np.sqrt(x)),
    "Reciprocal": _of_floats(np.reciprocal),
    "Relu": _numbers(activations.relu),
    "Relu6": _numbers(activations.relu6),
    "Sigmoid": _of_floats(activations.sigmoid),
    "Silu": _of_floats(activations.silu),
    "Softplus": _of_floats(activations.softplus),
    "Softsign": _of_floats(activations.softsign),
    "HardSigmoid": _of_floats(activations.hard_sigmoid),
    "HardSilu": _of_floats(activations.hard_silu),
    "Selu": _of_floats(activations.selu),
}
# What Keras makes masks of, and writes into the model beside the layers.
_LOGICAL = {
    "Equal": _Function(np.equal, weak=False),
    "NotEqual": _Function(np.not_equal, weak=False),
    "Less": _Function(np.less, "iuf", weak=False),
    "LessEqual": _Function(np.less_equal, "iuf", weak=False),
    "Greater": _Function(np.greater, "iuf", weak=False),
    "GreaterEqual": _Function(np.greater_equal, "iuf", weak=False),
    "LogicalAnd": _Function(np.logical_and),
    "LogicalOr": _Function(np.logical_or),
    "LogicalNot": _Function(np.logical_not),
}
_FUNCTIONS = _ELEMENTWISE | _LOGICAL
_REDUCTIONS: dict[str, Function] = {
    "Mean": np.mean, "Sum": np.sum, "Max": np.max, "Min": np.min, "Prod": np.prod,
    "Any": np.any, "All": np.all,
}  # fmt: skip


def is_number(value: Any) -> bool:
    """Return whether a constant of a model is a number that an array can hold."""
    return isinstance(value, float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _each(names: Any) -> list[str]:
    return [f"ops:{name}" for name in names]


def _shape_of(value: Any) -> Shape:
    """Return the shape of an argument: a tensor's shape, an array, or a number."""
    return value if isinstance(value, tuple) else np.shape(value)


@known(*_each(_FUNCTIONS))
class Elementwise(Operation):
    """A function of each element."""

    def setup(self) -> None:
        self.kinds, self.refused = self.function.kinds, self.function.refused

    @property
    def function(self) -> _Function:
        """What it computes: looked up, as models are pickled."""
        return _FUNCTIONS[self.class_name]

    def received(self, values: Any) -> Any:
        return values  # what counts is the type that the operands have in common

    def output_shape(self, *shapes: Any) -> Shape:
        wanted = self.function.operands
        constants = [value for value in shapes if not isinstance(value, tuple)]
        numbers = all(isinstance(value, np.ndarray) or is_number(value) for value in constants)
        if len(shapes) != wanted or len(constants) == wanted or not numbers:
            raise ArchiveError(
                f"layer {self.name!r} must be called with {wanted} tensors or numbers"
            )
        self._check_batch([shape for shape in shapes if isinstance(shape, tuple)], constants)
        return broadcast([_shape_of(value) for value in shapes])

    def _check_batch(self, tensors: list[Shape], constants: list[Any]) -> None:
        """Refuse operands whose first axis is not the batch: NumPy aligns the last axes."""
        rank = len(tensors[0])
        if any(len(shape) != rank for shape in tensors):
            raise self.mixes(f"tensors of different rank, {tensors},")
        for shape in map(np.shape, constants):
            if len(shape) > rank or (len(shape) == rank and shape[0] != 1):
                raise self.mixes(f"a constant of shape {shape}")

    def pointwise(self, *shapes: Any) -> bool:
        tensors = [shape for shape in shapes if isinstance(shape, tuple)]
        constants = [np.ndim(value) for value in shapes if not isinstance(value, tuple)]
        rank = len(tensors[0])
        same = all(len(shape) == rank and shape[1:2] == tensors[0][1:2] for shape in tensors)
        return same and rank > 1 and max(constants, default=0) < rank - 1

    def call(self, *inputs: Any) -> Array:
        dtype = self.function.types(*inputs)
        self.check_type(dtype)
        values = [self._operand(x, dtype) for x in inputs]
        if dtype.kind in "iu" and len(values) == 2:
            self._check_integers(values[1])
        with np.errstate(all="ignore"):
            y: Array = self.function.compute(*values)
        return y

    def _operand(self, x: Any, dtype: dtypes.DType) -> Array:
        """Return an array or a number in the type of the computation."""
        if type(x) is float and not self.function.weak:
            x = np.float32(x)  # Keras makes a tensor of it first
        return np.asarray(x).astype(dtype, copy=False)

    def _check_integers(self, y: Array) -> None:
        """Refuse what integers have no result for; TensorFlow refuses it as well."""
        if self.class_name in ("FloorDivide", "Mod") and not np.all(y):
            raise ValueError(f"layer {self.name!r} divides integers by zero")
        if self.class_name == "Power" and np.any(y < 0):
            raise ValueError(f"layer {self.name!r} raises integers to negative powers")


@known(*_each(_REDUCTIONS))
class Reduction(Operation):
    """One value for all elements along some axes."""

    options: ClassVar[tuple[str, ...]] = ("axis", "keepdims", "initial")

    def setup(self) -> None:
        axis = self.config.get("axis")
        self.axes = None if axis is None else axis if isinstance(axis, list) else [axis]
        if self.axes is not None and not all(type(a) is int for a in self.axes):
            raise ArchiveError(f"axis must hold integers. Received: {axis!r:.80}")
        self.keepdims = self.boolean("keepdims", False)
        self.initial = self.config.get("initial")
        if self.initial is None:
            return
        if self.class_name not in ("Max", "Min"):
            raise UnsupportedUseError(f"{self.name}: {self.class_name} with the argument 'initial'")
        if isinstance(self.initial, bool) or not is_number(self.initial):
            raise ArchiveError(f"initial must be a number. Received: {self.initial!r:.80}")

    def positive(self, rank: int) -> tuple[int, ...]:
        """Return the axes as positive numbers."""
        axes = range(rank) if self.axes is None else self.axes
        if not all(-rank <= axis < rank for axis in axes):
            raise ArchiveError(f"axis must be within {rank} axes. Received: {self.axes}")
        found = tuple(axis % rank for axis in axes)
        if len(set(found)) < len(found):
            raise ArchiveError(f"axis must name each axis once. Received: {self.axes}")
        return found

    def output_shape(self, shape: Shape) -> Shape:
        axes = self.positive(len(shape))
        if 0 in axes:
            raise self.mixes(f"axis={self.config.get('axis')}")
        if self.keepdims:
            return tuple(1 if i in axes else n for i, n in enumerate(shape))
        return tuple(n for i, n in enumerate(shape) if i not in axes)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 not in self.positive(len(shape))

    def call(self, x: Array) -> Array:
        axes = self.positive(x.ndim)
        if self.class_name in ("Max", "Min"):
            return self._extremum(x, axes)
        options: dict[str, Any] = {"axis": axes, "keepdims": self.keepdims}
        if self.class_name in ("Any", "All"):
            y: Array = _REDUCTIONS[self.class_name](x, **options)
            return y
        dtype = dtypes.float_type(x.dtype) if self.class_name == "Mean" else self._sum_type(x)
        if self.class_name == "Mean" and self.is_of_nothing(x):
            return self.nothing(x, dtype)
        total: Array = _REDUCTIONS[self.class_name](
            x.astype(dtype, copy=False), dtype=dtype, **options
        )
        return total

    def is_of_nothing(self, x: Array) -> bool:
        """Return whether there is no element along the axes, of which NumPy would warn."""
        return any(x.shape[axis] == 0 for axis in self.positive(x.ndim))

    def nothing(self, x: Array, dtype: Any) -> Array:
        """Return the mean of no elements, which is not a number, as in Keras."""
        shape: Any = self.output_shape((None, *x.shape[1:]))
        return np.full((len(x), *shape[1:]), np.nan, dtype)

    def _sum_type(self, x: Array) -> dtypes.DType:
        """Return the type of a sum or a product; Keras has no product in uint64."""
        dtype = dtypes.sum_type(x.dtype)
        return dtypes.common_type(x) if self.class_name == "Prod" and dtype == np.uint64 else dtype

    def _extremum(self, x: Array, axes: tuple[int, ...]) -> Array:
        """Return the largest or smallest element, and not less or more than ``initial``."""
        bound = dtypes.smallest if self.class_name == "Max" else dtypes.largest
        y: Array = _REDUCTIONS[self.class_name](
            x, axis=axes, keepdims=self.keepdims, initial=bound(x.dtype)
        )
        if self.initial is None:
            return y
        if x.dtype.kind in "iu" and isinstance(self.initial, float):
            self.refuse(x.dtype, f"floats where initial={self.initial} is one")
        if x.dtype.kind == "b":
            limit = np.asarray(self.initial).astype(np.int32)
            pair = np.maximum if self.class_name == "Max" else np.minimum
            return pair(y.astype(np.int32), limit).astype(bool)
        limit = np.asarray(self.initial).astype(x.dtype)
        return np.maximum(y, limit) if self.class_name == "Max" else np.minimum(y, limit)


@known("ops:OnesLike", "ops:ZerosLike")
class Like(Operation):
    """Ones or zeros in the shape of a tensor."""

    options = ("dtype",)
    pointwise_from = 2

    def setup(self) -> None:
        self.value = self.class_name == "OnesLike"

    def output_shape(self, shape: Shape, dtype: Any = None) -> Shape:
        for kind in (dtype, self.result_type):
            if kind is not None and kind not in dtypes.NAMES:
                names = ", ".join(dtypes.NAMES)
                raise ArchiveError(f"dtype must be one of {names}. Received: {kind!r:.80}")
        return super().output_shape(shape)

    def call(self, x: Array, dtype: Any = None) -> Array:
        kind = dtype or self.result_type
        return np.full(x.shape, self.value, dtypes.computed(kind) if kind else x.dtype)
