# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` in Functional models: activations with options, and further functions of elements.

What `arithmetic` has takes no options.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kspike_ref import activations, dtypes, softmax
from kspike_ref.layers.base import Array, Shape
from kspike_ref.layers.merge import broadcast
from kspike_ref.layers.ops.base import Operation
from kspike_ref.layers.ops.elementwise import is_number
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError

Function = Callable[..., Any]


# With the names of their options in Keras and here, which are the same.
_ACTIVATIONS: dict[str, tuple[Function, tuple[str, ...]]] = {
    "Celu": (activations.celu, ("alpha",)),
    "Elu": (activations.elu, ("alpha",)),
    "Gelu": (activations.gelu, ("approximate",)),
    "HardShrink": (activations.hard_shrink, ("threshold",)),
    "HardTanh": (activations.hard_tanh, ()),
    "LeakyRelu": (activations.leaky_relu, ("negative_slope",)),
    "LogSigmoid": (activations.log_sigmoid, ()),
    "SoftShrink": (activations.soft_shrink, ("threshold",)),
    "SparsePlus": (activations.sparse_plus, ()),
    "SparseSigmoid": (activations.sparse_sigmoid, ()),
    "Squareplus": (activations.squareplus, ("b",)),
    "TanhShrink": (activations.tanh_shrink, ()),
    "Threshold": (activations.threshold, ("threshold", "default_value")),
    "Erf": (activations.erf, ()),
}
# As Keras wrote them before 3.11.
_FORMER_NAMES = {"threshold_value": "threshold", "value": "default_value"}


@known(*(f"ops:{name}" for name in _ACTIVATIONS))
class ActivationFunction(Operation):
    """An activation function with options."""

    kinds = "f"
    pointwise_from = 2
    options = (
        *("alpha", "approximate", "threshold", "negative_slope", "b", "default_value"),
        *_FORMER_NAMES,
    )

    def setup(self) -> None:
        self.function, names = _ACTIVATIONS[self.class_name]
        config = {_FORMER_NAMES.get(name, name): value for name, value in self.config.items()}
        values = {name: config.get(name) for name in names}
        self.values = {name: value for name, value in values.items() if value is not None}
        if not all(isinstance(value, int | float) for value in self.values.values()):
            raise ArchiveError(f"options must be numbers. Received: {self.values!r:.80}")
        if self.class_name == "LeakyRelu":  # TensorFlow computes it of integers, in float32
            self.kinds = "iuf"

    def call(self, x: Array) -> Array:
        x = x.astype(dtypes.float_type(x.dtype), copy=False)
        y: Array = self.function(x, **self.values)
        return y.astype(x.dtype, copy=False)


_ALONG_AXIS: dict[str, Function] = {
    "Glu": activations.glu,
    "LogSoftmax": softmax.log_softmax,
    "Sparsemax": softmax.sparsemax,
}


@known(*(f"ops:{name}" for name in _ALONG_AXIS))
class AxisFunction(Operation):
    """An activation function that looks at all elements along an axis."""

    kinds = "f"
    options = ("axis",)

    def output_shape(self, shape: Shape) -> Shape:
        axis = one_axis(self, self.config.get("axis", -1), len(shape))
        if self.class_name != "Glu":
            return shape
        length = shape[axis]
        if length is not None and length % 2:
            raise ArchiveError(f"layer {self.name!r} halves an axis of length {length}")
        half = None if length is None else length // 2
        return (*shape[:axis], half, *shape[axis + 1 :])

    def pointwise(self, shape: Shape) -> bool:
        return one_axis(self, self.config.get("axis", -1), len(shape)) > 1

    def call(self, x: Array) -> Array:
        axis = one_axis(self, self.config.get("axis", -1), x.ndim)
        y: Array = _ALONG_AXIS[self.class_name](x, axis=axis)
        return y


def one_axis(layer: Operation, axis: Any, rank: int) -> int:
    """Return an axis of a configuration as a positive number; it must not be the batch.

    Parameters
    ----------
    layer : Operation
        Whose axis it is.
    axis : int
        What the configuration says.
    rank : int
        How many axes there are.

    Raises
    ------
    UnsupportedUseError
        If it is the batch, or all axes are meant.
    ArchiveError
        If there is no such axis.
    """
    if axis is None:
        raise layer.mixes("axis=None")
    if type(axis) is not int or not -rank <= axis < rank:
        raise ArchiveError(f"axis must be within {rank} axes. Received: {axis!r:.80}")
    if axis % rank == 0:
        raise layer.mixes(f"axis={axis}")
    return axis % rank


_REAL: dict[str, Function] = {
    "Arccos": np.arccos, "Arccosh": np.arccosh, "Arcsin": np.arcsin, "Arcsinh": np.arcsinh,
    "Arctan": np.arctan, "Arctanh": np.arctanh, "Cosh": np.cosh, "Sinh": np.sinh, "Tan": np.tan,
    "Log10": np.log10, "Log2": np.log2, "Exp2": np.exp2,
}  # fmt: skip
_TESTS: dict[str, Function] = {"Isfinite": np.isfinite, "Isinf": np.isinf, "Isnan": np.isnan}


@known(*(f"ops:{name}" for name in (_REAL | _TESTS)))
class RealFunction(Operation):
    """A function of each element with real values, or a question about each."""

    pointwise_from = 2

    def call(self, x: Array) -> Array:
        if self.class_name in _TESTS:
            tested: Array = _TESTS[self.class_name](x)
            return tested
        with np.errstate(all="ignore"):
            y: Array = _REAL[self.class_name](x.astype(dtypes.float_type(x.dtype), copy=False))
        return y


@known("ops:LogicalXor")
class LogicalXor(Operation):
    """True where one of two is, and not both."""

    def output_shape(self, *shapes: Any) -> Shape:
        return together(self, shapes)

    def pointwise(self, *shapes: Any) -> bool:
        return alike(shapes)

    def call(self, x: Any, y: Any) -> Array:
        return np.logical_xor(x, y)


@known("ops:Where")
class Where(Operation):
    """One of two where a condition holds, the other elsewhere."""

    argument_names = ("condition", "x1", "x2")

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 3 or any(shape is None for shape in shapes):
            raise self.without("x1 and x2")
        return together(self, shapes)

    def pointwise(self, *shapes: Any) -> bool:
        return alike(shapes)

    def call(self, condition: Any, x: Any, y: Any) -> Array:
        x, y = dtypes.promoted(x, y)
        chosen: Array = np.where(np.asarray(condition).astype(bool), x, y)
        return chosen


def together(layer: Operation, shapes: Any) -> Shape:
    """Return the shape of tensors, arrays and numbers that broadcast, the batch first."""
    tensors = [shape for shape in shapes if isinstance(shape, tuple)]
    constants = [value for value in shapes if not isinstance(value, tuple)]
    if not all(isinstance(value, np.ndarray) or is_number(value) for value in constants):
        raise ArchiveError(
            f"layer {layer.name!r} must be called with tensors, arrays and numbers. "
            f"Received: {constants!r:.80}"
        )
    arrays = [np.shape(value) for value in constants]
    rank = max((len(shape) for shape in tensors), default=0)
    if not tensors or any(len(shape) != rank for shape in tensors):
        raise layer.mixes(f"tensors of different rank, {tensors},")
    if any(len(shape) > rank or (len(shape) == rank and shape[0] != 1) for shape in arrays):
        raise layer.mixes(f"a constant of shape {arrays}")
    return broadcast([*tensors, *arrays])


def alike(shapes: Any) -> bool:
    """Return whether tensors have one length along axis 1, along which no constant differs."""
    tensors = [shape for shape in shapes if isinstance(shape, tuple)]
    arrays = [np.shape(value) for value in shapes if not isinstance(value, tuple)]
    rank = len(tensors[0])
    flat = all(len(shape) < rank - 1 or shape[1 - rank] == 1 for shape in arrays)
    return flat and rank > 1 and len({shape[1] for shape in tensors}) == 1


@known("ops:SaturateCast", "ops:ConvertToTensor")
class Convert(Operation):
    """The same numbers in another type, or as they are."""

    options = ("dtype",)
    pointwise_from = 2
    keeps_zeros = True

    def setup(self) -> None:
        if self.class_name == "SaturateCast":
            self.refused = ("uint64",)

    def output_shape(self, x: Shape, dtype: Any = None, sparse: Any = None) -> Shape:
        if self.result_type is None:
            self.result_type = dtype
        if self.result_type is not None and self.result_type not in dtypes.NAMES:
            names = ", ".join(dtypes.NAMES)
            raise ArchiveError(f"dtype must be one of {names}. Received: {dtype!r:.80}")
        if sparse:
            raise self.without("sparse=False")
        return x

    def call(self, x: Array, dtype: Any = None, sparse: Any = None) -> Array:
        if self.result_type is None:
            return x
        target = dtypes.computed(self.result_type)
        if self.class_name == "SaturateCast" and target.kind in "iu":
            return dtypes.cut(x, target)
        return dtypes.cast(x, target)
