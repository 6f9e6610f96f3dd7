# ruff: noqa: D102 (methods are documented in base.Layer)
"""Elementwise functions: arithmetic, comparisons, logic, real functions, activations.

A new function is one line in a table below. `Where` and `Clip` have their own rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kspike_ref import activations, dtypes
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.ops.base import (
    Operation,
    broadcast_shape,
    function_name,
    is_number,
    keys,
    same_steps,
)
from kspike_ref.layers.registry import known
from kspike_ref.running.binder import Binder
from kspike_ref.saved.archive import ArchiveError

_SINGLE = np.dtype("float32")


@dataclass(frozen=True)
class Function:
    """An elementwise function, and its types in Keras on TensorFlow.

    Attributes
    ----------
    compute : callable
        From arrays of one type, and the options, to an array.
    kinds : str
        The kinds of numbers it takes, as in `Layer`, once its operands have one type.
    refused : tuple of str
        Further types that it does not take.
    floats : bool
        Whether integers and bools become float32 first.
    bools : str
        The type that bools become first: ``"int32"`` if they count as numbers.
    weak : bool
        Whether a Python number takes the type of an array of its kind.
    options : tuple of str
        The arguments besides tensors: numbers, under the names of Keras.
    operands : int
        The number of tensors and numbers it takes; a NumPy ufunc has its own.
    """

    compute: Callable[..., Any]
    kinds: str = "biuf"
    refused: tuple[str, ...] = ()
    floats: bool = False
    bools: str = "bool"
    weak: bool = True
    options: tuple[str, ...] = ()
    operands: int = 1

    def common_type(self, *values: Any) -> dtypes.DType:
        """Return the type that arrays and Python numbers have in common."""
        kinds = [dtypes.kind_of(value) for value in values]
        if not self.weak:
            kinds = [np.dtype(dtypes.result_type(k)) if isinstance(k, type) else k for k in kinds]
        dtype = dtypes.computed(dtypes.result_type(*kinds) if len(kinds) > 1 else kinds[0])
        return np.dtype(self.bools) if dtype.kind == "b" else dtype


_numbers = partial(Function, kinds="iuf")
_floats = partial(Function, kinds="f")
_real = partial(Function, floats=True)


def _floor_divide(x: Array, y: Array) -> Array:
    """Return ⌊x/y⌋; for floats the quotient is rounded first, as in TensorFlow."""
    quotient: Array = np.floor_divide(x, y) if x.dtype.kind != "f" else np.floor(x / y)
    return quotient


_ARITHMETIC = {
    "Add": _numbers(np.add),
    "Subtract": _numbers(np.subtract),
    "Multiply": _numbers(np.multiply),
    "TrueDivide": _real(np.true_divide),
    "Divide": _real(np.true_divide),
    "FloorDivide": _numbers(_floor_divide, operands=2),
    "Mod": _numbers(np.mod, bools="int32", weak=False),
    "Power": _numbers(np.power),
    "Maximum": _numbers(np.maximum),
    "Minimum": _numbers(np.minimum),
    "Negative": Function(np.negative, "if"),
    "Absolute": Function(np.absolute),
    "Abs": Function(np.absolute),
    "Square": Function(np.square, bools="int32"),
    "Sign": _numbers(np.sign, refused=("uint64",)),
    "Floor": _real(np.floor),
    "Ceil": _real(np.ceil),
    "Reciprocal": _floats(np.reciprocal),
    "Rsqrt": _floats(lambda x: 1 / np.sqrt(x)),
    "Erf": _floats(activations.erf),
    "Relu": _numbers(activations.relu),
    "Relu6": _numbers(activations.relu6),
    # TensorFlow also takes integers here, and computes in float32.
    "LeakyRelu": _numbers(activations.leaky_relu, floats=True, options=("negative_slope",)),
}
# Keras builds masks from these, and writes them into the model beside the layers.
_LOGICAL = {
    "Equal": Function(np.equal, weak=False),
    "NotEqual": Function(np.not_equal, weak=False),
    "Less": _numbers(np.less, weak=False),
    "LessEqual": _numbers(np.less_equal, weak=False),
    "Greater": _numbers(np.greater, weak=False),
    "GreaterEqual": _numbers(np.greater_equal, weak=False),
    "LogicalAnd": Function(np.logical_and),
    "LogicalOr": Function(np.logical_or),
    "LogicalXor": Function(np.logical_xor),
    "LogicalNot": Function(np.logical_not),
    "Isfinite": Function(np.isfinite),
    "Isinf": Function(np.isinf),
    "Isnan": Function(np.isnan),
}
# Functions of NumPy and of kspike_ref under the names of Keras.
_REAL = (
    "Sqrt", "Exp", "Exp2", "Expm1", "Log", "Log10", "Log1p", "Log2",
    "Sin", "Cos", "Tan", "Sinh", "Cosh", "Tanh",
    "Arcsin", "Arccos", "Arctan", "Arcsinh", "Arccosh", "Arctanh",
)  # fmt: skip
_ACTIVATIONS: dict[str, tuple[str, ...]] = {  # and their options
    "Celu": ("alpha",),
    "Elu": ("alpha",),
    "Gelu": ("approximate",),
    "HardShrink": ("threshold",),
    "SoftShrink": ("threshold",),
    "Squareplus": ("b",),
    "Threshold": ("threshold", "default_value"),
    **dict.fromkeys(
        (
            "HardSigmoid", "HardSilu", "HardTanh", "LogSigmoid", "Selu", "Sigmoid", "Silu",
            "Softplus", "Softsign", "SparsePlus", "SparseSigmoid", "TanhShrink",
        ),
        (),
    ),
}  # fmt: skip
_FUNCTIONS = {
    **_ARITHMETIC,
    **_LOGICAL,
    **{name: _real(getattr(np, name.lower())) for name in _REAL},
    **{
        name: _floats(getattr(activations, function_name(name)), options=options)
        for name, options in _ACTIVATIONS.items()
    },
}
# Keras before 3.11 wrote the options of `Threshold` under other names.
_FORMER_NAMES = {"threshold_value": "threshold", "value": "default_value"}


@known(*keys(_FUNCTIONS))
class Elementwise(Operation):
    """An elementwise function from the tables."""

    @property
    def function(self) -> Function:
        """The function; not stored, because models are pickled."""
        return _FUNCTIONS[self.class_name]

    def known_options(self) -> tuple[str, ...]:
        options = self.function.options
        return (*options, *(old for old, new in _FORMER_NAMES.items() if new in options))

    def setup(self) -> None:
        self.kinds, self.refused = self.function.kinds, self.function.refused
        config = {_FORMER_NAMES.get(key, key): value for key, value in self.config.items()}
        values = {key: config.get(key) for key in self.function.options}
        self.values = {key: value for key, value in values.items() if value is not None}
        if not all(isinstance(value, int | float) for value in self.values.values()):
            raise ArchiveError(f"options must be numbers. Received: {self.values!r:.80}")

    def received(self, values: Any) -> Any:
        return values  # `call` casts them to their common type

    def output_shape(self, *shapes: Any) -> Shape:
        wanted = getattr(self.function.compute, "nin", self.function.operands)
        if len(shapes) != wanted:
            raise ArchiveError(
                f"layer {self.name!r} must be called with {wanted} tensors or numbers. "
                f"Received: {len(shapes)}"
            )
        return broadcast_shape(self, shapes)

    def pointwise(self, *shapes: Any) -> bool:
        return same_steps(shapes)

    def bind(self, binder: Binder, *inputs: Array) -> Array | None:
        compute = self.function.compute
        if not isinstance(compute, np.ufunc) or any(x.dtype != _SINGLE for x in inputs):
            return None
        shape = np.broadcast_shapes(*(x.shape for x in inputs))
        dtype = self.call(*[np.ones(1, _SINGLE)] * len(inputs)).dtype
        is_alike = (shape, dtype) == (inputs[0].shape, _SINGLE)
        out = binder.over(inputs[0]) if is_alike else binder.empty(shape, dtype)
        binder.call(_quietly, *inputs, compute=compute, out=out)
        return out

    def call(self, *inputs: Any) -> Array:
        dtype = self._type(inputs)
        values = [self._operand(x, dtype) for x in inputs]
        if dtype.kind in "iu" and len(values) == 2:
            self._check_integers(values[1])
        with np.errstate(all="ignore"):
            y: Array = self.function.compute(*values, **self.values)
        return y

    def _type(self, inputs: tuple[Any, ...]) -> dtypes.DType:
        """Return the type to compute in; refuse a type that also fails in Keras."""
        if all(type(x) in (int, float) or getattr(x, "dtype", None) == _SINGLE for x in inputs):
            return _SINGLE
        for x in inputs:
            if isinstance(x, np.ndarray) and x.dtype.kind == "O":
                self.check_type(x.dtype)
        dtype = self.function.common_type(*inputs)
        self.check_type(dtype)
        return dtypes.float_type(dtype) if self.function.floats else dtype

    def _operand(self, x: Any, dtype: dtypes.DType) -> Array:
        """Return an array or a number in the type of the computation."""
        if type(x) is float and not self.function.weak:
            x = np.float32(x)  # Keras first converts it to a tensor
        return np.asarray(x).astype(dtype, copy=False)

    def _check_integers(self, y: Array) -> None:
        """Refuse integers for which the function is undefined, as TensorFlow does."""
        if self.class_name in ("FloorDivide", "Mod") and not np.all(y):
            raise ValueError(f"layer {self.name!r} divides integers by zero")
        if self.class_name == "Power" and np.any(y < 0):
            raise ValueError(f"layer {self.name!r} raises integers to negative powers")


def _quietly(*inputs: Array, compute: np.ufunc, out: Array) -> None:
    """Fill ``out`` without warnings about NaN and infinities."""
    with np.errstate(all="ignore"):
        compute(*inputs, out=out)


@known("ops:Where")
class Where(Operation):
    """Elements of one tensor where a condition holds, of the other elsewhere."""

    argument_names = ("condition", "x1", "x2")

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 3 or any(shape is None for shape in shapes):
            raise self.needs("x1 and x2")
        return broadcast_shape(self, shapes)

    def pointwise(self, *shapes: Any) -> bool:
        return same_steps(shapes)

    def call(self, condition: Any, x: Any, y: Any) -> Array:
        x, y = dtypes.promoted(x, y)
        chosen: Array = np.where(np.asarray(condition).astype(bool), x, y)
        return chosen


@known("ops:Clip")
class Clip(Operation):
    """Elements limited to a range."""

    options = ("x_min", "x_max")
    pointwise_from = 3

    def setup(self) -> None:
        self.limits = [self.config[key] for key in ("x_max", "x_min")]
        if not all(is_number(n) and type(n) is not bool for n in self.limits):
            raise ArchiveError(f"x_min and x_max must be numbers. Received: {self.limits!r:.80}")

    def call(self, x: Array) -> Array:
        if x.dtype.kind != "f" and any(isinstance(n, float) for n in self.limits):
            self.refuse(x.dtype, "only floats, because x_min or x_max is a float")
        x = x.astype(np.int32) if x.dtype.kind == "b" else x
        # the upper limit first: if it is below the lower limit, the lower limit wins
        high, low = (np.asarray(n).astype(x.dtype) for n in self.limits)
        y: Array = np.maximum(np.minimum(x, high), low)
        return y
