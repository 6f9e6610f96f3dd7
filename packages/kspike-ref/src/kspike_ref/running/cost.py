"""The cost of a run, from shapes alone: an estimate of operations and a bound on memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspike_ref import activations
from kspike_ref.layers.base import Layer
from kspike_ref.layers.cells import Cell
from kspike_ref.layers.conv import ConvLayer, ConvTranspose
from kspike_ref.layers.dense import Embedding
from kspike_ref.layers.dot import Dot
from kspike_ref.layers.errors import Shape
from kspike_ref.layers.ops.reductions import Reduction
from kspike_ref.layers.pooling import Pooling
from kspike_ref.layers.recurrent import Bidirectional
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.wrapper import Fold, TimeDistributed, Unfold
from kspike_ref.running.graph import Graph, Node, Ref, refs, substitute

Shapes = dict[Ref, tuple[int, ...]]

# Temporary arrays of the size of a layer's input or output: `np.where` and products of gates take
# up to three at a time, and an input that is not contiguous is copied.
_TEMPORARIES = 4
_GATHERED = 240  # positions that a convolution gathers at once


@dataclass(frozen=True)
class Cost:
    """The cost of a run.

    Attributes
    ----------
    operations : int
        An estimate of multiply-adds and operations on single elements. Event-driven layers, and
        inputs that are the same at all steps, take fewer.
    bytes : int
        An upper bound on the peak memory: outputs and intermediate arrays, without the inputs and
        the model's weights.
    """

    operations: int
    bytes: int

    def __str__(self) -> str:
        return f"{_short(self.operations, '')} operations, {_short(self.bytes, 'B')} at the peak"

    def __repr__(self) -> str:
        return f"Cost(operations={self.operations:_}, bytes={self.bytes:_})  # {self}"


def _short(number: float, unit: str) -> str:
    """Return a number with three digits and a unit prefix."""
    number = min(number, 10**300)  # the range of a float
    power = min(5, int(math.log10(max(1, number))) // 3)
    return f"{number / 1000**power:.3g} {'kMGTP'[power - 1] if power else ''}{unit}".rstrip()


def shapes_of(
    graph: Graph, inputs: Sequence[tuple[int, ...]], stepped: Collection[int] = ()
) -> Shapes:
    """Return the shape of every tensor of a run.

    Parameters
    ----------
    graph : Graph
        The model.
    inputs : sequence of tuple of int
        The shapes of the inputs.
    stepped : collection of int
        The nodes that take a single time step, whatever length the model was built for.

    Returns
    -------
    dict of Ref to tuple of int
        The shapes, including the batch.

    Raises
    ------
    ValueError
        If a layer does not infer the shape of its output.
    """
    shapes: Shapes = {Ref(i, 0): tuple(shape) for i, shape in enumerate(inputs)}
    for i, node in enumerate(graph.nodes):
        if isinstance(node.layer, InputLayer):
            continue
        for k, shape in enumerate(_outputs(node, shapes, i in stepped)):
            if not all(isinstance(n, int) and n >= 0 for n in shape):
                raise ValueError(
                    f"layer {node.name!r} ({node.layer.class_name}) does not infer the shape of "
                    f"its output for inputs of {[shapes[ref] for ref in node.inputs]}"
                )
            shapes[Ref(i, k)] = shape
    return shapes


def _outputs(node: Node, shapes: Shapes, is_step: bool) -> list[Any]:
    given = [shapes[ref] for ref in node.inputs]
    if isinstance(node.layer, Fold):
        return [(given[0][0] * given[0][1], *given[0][2:])]
    if isinstance(node.layer, Unfold):
        return [(*given[1][:2], *given[0][1:])]
    rows = given[0][0]

    own = dict(zip(node.inputs, node.input_shapes, strict=True))

    def shape(ref: Ref) -> Shape:
        first = own[ref][1:2] if is_step else shapes[ref][1:2]
        return (None, *first, *shapes[ref][2:])

    keywords = {key: value for key, value in node.keywords.items() if key != "mask"}
    try:
        output = node.layer.output_shape(
            *substitute(node.arguments, shape), **substitute(keywords, shape)
        )
    except Exception as error:  # also of a user's own layer
        raise ValueError(f"layer {node.name!r} does not take inputs of {given}: {error}") from error
    outputs = output if isinstance(output, list) else [output]
    if is_step:
        outputs = [(one[0], 1, *one[2:]) for one in outputs]
    return [(rows if one[0] is None else one[0], *one[1:]) for one in outputs]


def operations(graph: Graph, shapes: Shapes) -> int:
    """Return the approximate number of operations of a run.

    Parameters
    ----------
    graph : Graph
        The model.
    shapes : dict of Ref to tuple of int
        From `shapes_of`.

    Returns
    -------
    int
        Multiply-adds, and operations on single elements.
    """
    total = 0
    for i, node in enumerate(graph.nodes):
        if isinstance(node.layer, InputLayer):
            continue
        tensors = [*node.inputs, *_made(node, i)]
        total += sum(math.prod(shapes[ref]) for ref in tensors)
        total += _products(*_innermost(node, i, shapes))
    return total


def _made(node: Node, i: int) -> list[Ref]:
    """Return the outputs of a node by its index."""
    return [Ref(i, k) for k in range(len(node.output_shapes))]


def _innermost(node: Node, i: int, shapes: Shapes) -> tuple[Layer, list[Any], list[Any]]:
    """Return the layer that wrappers apply to every step, and the shapes that it takes and makes.

    A layer that counts its constants also gets their shapes.
    """
    layer, given = node.layer, [shapes[ref] for ref in node.inputs]
    if layer.weighs_constants:
        given = [shapes[one] if isinstance(one, Ref) else np.shape(one) for one in node.arguments]
    made = [shapes[ref] for ref in _made(node, i)]
    while isinstance(layer, TimeDistributed):
        layer = layer.layer
        given, made = ([(s[0] * s[1], *s[2:]) for s in one] for one in (given, made))
    return layer, given, made


def _products(layer: Layer, given: list[Any], made: list[Any]) -> int:
    """Return the multiply-adds of a layer, in addition to one operation per element."""
    x, y = given[0], made[0]
    own = layer.multiply_adds(given, made)
    if own is not None:
        return own
    if isinstance(layer, Pooling):
        return math.prod(y) * math.prod(layer.window.size)
    if isinstance(layer, Dot):
        a, b = layer._axes(given)
        return math.prod(y) * max(given[0][a], given[1][b])
    if isinstance(layer, Embedding) or not layer.weights:
        return 0
    weights = sum(w.size for w in layer.weights.values())
    if isinstance(layer, ConvTranspose):
        return weights * _positions(layer, x)
    if isinstance(layer, ConvLayer):
        return weights * _positions(layer, y)
    # Dense, recurrent and scaling layers use every weight at every position.
    return weights * max(math.prod(x[:-1]), math.prod(y[:-1]))


def _positions(layer: ConvLayer, shape: tuple[int, ...]) -> int:
    return shape[0] * math.prod(n or 0 for n in layer.window.spatial(shape))


def peak(graph: Graph, shapes: Shapes, kept: Collection[Ref]) -> int:
    """Return an upper bound on the memory of one block, in bytes.

    Parameters
    ----------
    graph : Graph
        The model.
    shapes : dict of Ref to tuple of int
        From `shapes_of`, for the block.
    kept : collection of Ref
        The tensors that are kept until the end.

    Returns
    -------
    int
        The arrays that exist at the same time, including the layers' temporary arrays.
    """
    sizes = item_sizes(graph)

    def size(ref: Ref) -> int:
        return math.prod(shapes[ref]) * sizes[ref.node]

    last: dict[Ref, int] = {}
    for index, node in enumerate(graph.nodes):
        last |= dict.fromkeys(node.inputs, index)
    stays = {*kept, *refs(graph.outputs)}
    most = live = sum(size(Ref(i, 0)) for i, node in enumerate(graph.nodes) if not node.inputs)
    for i, node in enumerate(graph.nodes):
        if isinstance(node.layer, InputLayer):
            continue
        live += sum(map(size, _made(node, i)))
        most = max(most, live + _workspace(node, i, shapes, sizes))
        live -= sum(size(ref) for ref in {*node.inputs} - stays if last[ref] == i)
    return most


def item_sizes(graph: Graph) -> list[int]:
    """Return upper bounds on the bytes per element of the nodes' outputs.

    Parameters
    ----------
    graph : Graph
        The model.

    Returns
    -------
    list of int
        One per node.
    """
    sizes: list[int] = []
    for node in graph.nodes:
        layer = node.layer
        if isinstance(layer, InputLayer):
            sizes.append(layer.input_dtype.itemsize)
            continue
        own = layer.dtype.itemsize
        given = [sizes[ref.node] for ref in node.inputs]
        # sums of integers may have 64 bits
        wide = 8 if isinstance(layer, Reduction) and own > max(given) else own
        target = getattr(layer, "target", None)  # of operations with a type of their own
        made = target.itemsize if isinstance(target, np.dtype) else 0
        sizes.append(own if layer.weights else max(own, wide, made, *given))
    return sizes


def _workspace(node: Node, i: int, shapes: Shapes, sizes: list[int]) -> int:
    """Return the bytes of a layer's temporary arrays."""
    layer, taken, returned = _innermost(node, i, shapes)
    own = layer.temporaries(taken, returned) * sizes[i]
    given = [math.prod(shapes[ref]) * max(sizes[ref.node], sizes[i]) for ref in node.inputs]
    made = [math.prod(shapes[ref]) * sizes[i] for ref in _made(node, i)]
    if isinstance(layer, ConvLayer) and not isinstance(layer, ConvTranspose):
        # a copy of a non-contiguous input, a few positions as rows, and the activation
        rows = _GATHERED * getattr(layer, "depth", 0)
        is_plain = layer.activation in (activations.linear, activations.relu)
        inner = sum(given) + rows * sizes[i] + own
        return inner + sum(made) * (1 if is_plain else _TEMPORARIES)
    inner = own + _gates(layer, shapes[node.inputs[0]]) * sizes[i]
    if isinstance(layer, ConvTranspose):
        taps = math.prod(layer.window.size) * layer.integer("filters")
        inner += _positions(layer, shapes[node.inputs[0]]) * taps * sizes[i]
    return inner + _TEMPORARIES * max(sum(given), sum(made))


def _gates(layer: Layer, shape: tuple[int, ...]) -> int:
    """Return the number of gate values in a recurrent layer, over all steps."""
    layers = [layer.forward, layer.backward] if isinstance(layer, Bidirectional) else [layer]
    cells = [getattr(one, "cell", None) for one in layers]
    width = 0
    for cell in cells:
        if isinstance(cell, Cell):
            widths = [w.shape[-1] for w in cell.weights.values() if w.ndim > 1]
            width += sum(widths)
    return math.prod(shape[:-1]) * width
