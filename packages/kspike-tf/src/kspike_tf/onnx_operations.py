"""Conversions to ONNX that tf2onnx lacks, and random numbers without a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__: list[str] = []


def _erfc(ctx: Any, node: Any, **_: Any) -> None:
    """Convert 1 − erf(x), which GELU uses."""
    from tf2onnx import utils

    (x,) = node.input
    kind = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))
    one = ctx.make_const(f"{node.name}_one", np.asarray(1, kind)).output[0]
    erf = ctx.make_node("Erf", [x]).output[0]
    _replace(ctx, node, "Sub", [one, erf])


def _expm1(ctx: Any, node: Any, **_: Any) -> None:
    """Convert exp(x) − 1, which CELU uses; in float64, to keep all float32 digits near zero."""
    from onnx import TensorProto

    (x,) = node.input
    double = ctx.make_node("Cast", [x], attr={"to": TensorProto.DOUBLE}).output[0]
    one = ctx.make_const(f"{node.name}_one", np.float64(1).reshape([])).output[0]
    exp = ctx.make_node("Exp", [double]).output[0]
    less = ctx.make_node("Sub", [exp, one]).output[0]
    _replace(ctx, node, "Cast", [less], to=ctx.get_dtype(node.output[0]))


def register() -> None:
    """Register the conversions with tf2onnx, for all exporters."""
    try:
        from tf2onnx.handler import tf_op
    except ImportError:
        return
    known = {name for operations in tf_op.get_opsets().get("", ()) for name in operations}
    for kind, convert in (("Erfc", _erfc), ("Expm1", _expm1)):
        if kind not in known:
            tf_op(kind).register_compat_handler(convert, 1)


def _replace(ctx: Any, node: Any, kind: str, inputs: list[Any], **attributes: Any) -> None:
    shapes = [ctx.get_shape(node.output[0])]
    dtypes = [ctx.get_dtype(node.output[0])]
    name, outputs = node.name, list(node.output)
    ctx.remove_node(name)
    ctx.make_node(
        kind, inputs, attr=attributes, outputs=outputs, name=name, shapes=shapes, dtypes=dtypes
    )


def nodes(proto: onnx.ModelProto) -> Iterator[Any]:
    """Yield the nodes of a model, including those in loops and branches."""
    from onnx import AttributeProto

    graphs = [proto.graph]
    while graphs:
        for node in graphs.pop().node:
            yield node
            graphs += [each.g for each in node.attribute if each.type == AttributeProto.GRAPH]


def remove_seeds(proto: onnx.ModelProto) -> None:
    """Let the runtime seed random operations that have no seed in TensorFlow.

    In TensorFlow, a seed of 0 means no seed. tf2onnx copies it, but in ONNX, 0 is a seed.
    """
    for node in nodes(proto):
        if node.op_type.startswith("Random"):
            kept = [each for each in node.attribute if each.name != "seed" or each.f]
            del node.attribute[:]
            node.attribute.extend(kept)
