"""Operations of ``keras.ops`` inside a Functional model, by class name.

Adapters write kinds such as ``"ops>Matmul"``. Only arguments that are tensors of the model are
inputs; constants are weights.
"""

import math
from typing import Any

from kspike_energy.counting.fan_out import FanOut
from kspike_energy.counting.nodes import Counts, Node, Shape, Term, UndefinedShapeError, defined
from kspike_energy.counting.rules.linear import convolution, einsum_fan_out
from kspike_energy.counting.rules.routing import pooling
from kspike_energy.counting.rules.table import rule
from kspike_energy.counting.rules.units import elementwise, products

__all__: list[str] = []


def _kinds(names: str) -> list[str]:
    return [f"ops>{name}" for name in names.split()]


_ROUTING = _kinds(
    """
    Reshape Transpose Squeeze ExpandDims Concatenate GetItem Cast Stack Split Pad Flip Roll Tile
    Repeat BroadcastTo Identity StopGradient Ravel Moveaxis Swapaxes Take TakeAlongAxis Unstack
    Hstack Vstack Copy Rot90 Slice Append ZerosLike OnesLike FullLike Diag Diagonal Tril Triu
    Dropout ArraySplit Argsort Sort OneHot
    """
)


@rule(*_ROUTING, free=True)
def routing(node: Node) -> Counts:
    """Count nothing: these only rearrange values."""
    return Counts()


@rule(*_kinds("Add Subtract Multiply Divide TrueDivide Average Negative"))
def arithmetic(node: Node) -> Counts:
    """Count one operation per output element and operand from the network.

    If the other operand is a constant, this is one multiply-add per element.
    """
    outputs = node.units_out()
    kind = (node.spec.kind or "").removeprefix("ops>")
    product = kind in ("Multiply", "Divide", "TrueDivide") and len(node.inputs) > 1
    terms = tuple(
        Term(FanOut.spread(node.units_in(index), math.prod(outputs)), source=index)
        for index in range(len(node.inputs))
    )
    return Counts(terms, 0, spiking=not product)


@rule(
    *_kinds(
        """
        Relu Relu6 Sigmoid Tanh Softmax LogSoftmax Gelu Silu Elu Selu Celu Softplus Softsign
        LeakyRelu HardSigmoid HardSilu HardTanh HardShrink SoftShrink TanhShrink LogSigmoid Mish
        Glu Squareplus SparsePlus Sparsemax SparseSigmoid Threshold
        Exp Exp2 Expm1 Log Log10 Log1p Log2 Logaddexp Sqrt Rsqrt Square Reciprocal Absolute Abs
        Sin Cos Tan Sinh Cosh Arcsin Arccos Arctan Arctan2 Arcsinh Arccosh Arctanh Erf Erfinv
        Power Sign Floor Ceil Round Trunc Clip Mod FloorDivide Maximum Minimum Where
        Greater GreaterEqual Less LessEqual Equal NotEqual Isnan Isinf Isfinite Sinc NanToNum
        LogicalAnd LogicalOr LogicalNot LogicalXor
        """
    )
)
def function(node: Node) -> Counts:
    """Count one unit update per output element; no spiking device runs these unchanged."""
    return Counts((), math.prod(node.units_out()), spiking=False)


@rule(*_kinds("Sum Mean Cumsum"))
def linear_reduction(node: Node) -> Counts:
    """Count one connection per input element."""
    return elementwise(node)


@rule(*_kinds("Max Min Amax Amin Prod Std Var Norm Argmax Argmin Any All Logsumexp Median"))
def reduction(node: Node) -> Counts:
    """Count one operation per input element."""
    return elementwise(node, spiking=False)


@rule(*_kinds("Matmul Dot Tensordot Inner"))
def matmul(node: Node) -> Counts:
    """Count one multiply-add per output element and contracted element."""
    first, outputs = (node.operands or node.inputs)[0], node.units_out()
    contracted, axes = first[-1:], node.config.get("axes")
    if node.spec.kind == "ops>Tensordot" and axes is not None:
        contracted = first[len(first) - axes :] if isinstance(axes, int) else _picked(first, axes)
    lengths = defined(contracted, f"operation {node.spec.name!r} contracts an undefined axis")
    return products(node, math.prod(outputs) * math.prod(lengths))


def _picked(shape: Shape, axes: Any) -> Shape:
    first = axes[0] if isinstance(axes, (list, tuple)) else axes
    wanted = first if isinstance(first, (list, tuple)) else [first]
    return tuple(shape[int(axis)] for axis in wanted)


@rule("ops>Einsum")
def einsum(node: Node) -> Counts:
    """Count one multiply-add per combination of all labels of the equation."""
    equation = str(node.config["subscripts"])
    shapes = node.operands or node.inputs
    if len(shapes) == 2 and len(node.inputs) == 1 and shapes[0] == node.inputs[0]:
        fan_out = einsum_fan_out(equation, shapes[0], node.outputs[0], node.units_in())
        return Counts((Term(fan_out),))
    if "..." in equation:
        raise UndefinedShapeError(
            f"operation {node.spec.name!r}: einsum of several signals with an ellipsis"
        )
    terms = equation.replace(" ", "").split("->")[0].split(",")
    lengths: dict[str, int | None] = {}
    for term, shape in zip(terms, shapes, strict=True):
        lengths.update(zip(term, shape, strict=True))
    batch = terms[0][0]
    timed = terms[0][1] if node.timed_inputs[0] else ""
    rest = [length for letter, length in lengths.items() if letter not in (batch, timed)]
    problem = f"operation {node.spec.name!r} has an input of undefined shape"
    return products(node, math.prod(defined(rest, problem)))


@rule(*_kinds("Conv DepthwiseConv ConvTranspose"))
def conv(node: Node) -> Counts:
    """Count as the layer of the same name; the kernel's shape is (window, in, out)."""
    if len(node.operands) < 2:
        raise UndefinedShapeError(f"operation {node.spec.name!r} has a kernel of unknown shape")
    *window, depth, each = (int(length or 0) for length in node.operands[1])
    config, kind = node.config, node.spec.kind
    if kind == "ops>Conv":
        channels = node.units_in()[0 if config.get("data_format") == "channels_first" else -1]
        each = each * depth // channels  # a group sees only its part of the channels
    elif kind == "ops>ConvTranspose":
        each = depth
    # A layer has the size of its window in its configuration, and no None.
    geometry = {key: value for key, value in config.items() if value is not None}
    geometry["kernel_size"] = window
    fan_out = convolution(node, geometry, each, transposed=kind == "ops>ConvTranspose")
    return Counts((Term(fan_out),))


@rule(*_kinds("MaxPool AveragePool"))
def pool(node: Node) -> Counts:
    """Count as the pooling layer of the same name."""
    return Counts((Term(pooling(node)),), spiking=node.spec.kind == "ops>AveragePool")
