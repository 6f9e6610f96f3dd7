"""Recurrent layers and their cells, counted per time step.

Convention: the kernels are dense connections from the input and from the cell's own state; a
product of two gates is one operation per unit; an application of an activation is one update per
unit. The state stays inside the layer, so its rate is not measured: the mean count uses the rate of
the layer's input, and the exact count takes every element at every step.
"""

import math
from dataclasses import replace
from typing import Any

from kspike_energy.counting.fan_out import FanOut
from kspike_energy.counting.nodes import Counts, LayerSpec, Node, Term
from kspike_energy.counting.rules.linear import convolution
from kspike_energy.counting.rules.table import count, is_linear, rule

__all__: list[str] = []

# Number of kernels from input and state, products of gates, and applications of each activation.
_GATES = {
    "SimpleRNN": (1, 0, {"activation": 1}),
    "LSTM": (4, 3, {"activation": 2, "recurrent_activation": 3}),
    "GRU": (3, 3, {"activation": 1, "recurrent_activation": 2}),
}


def _updates(config: Any, activations: dict[str, int]) -> int:
    """Return the updates per unit; a linear activation needs none."""
    return sum(times for key, times in activations.items() if not is_linear(config.get(key)))


@rule(*_GATES, *(f"{kind}Cell" for kind in _GATES))
def gated(node: Node) -> Counts:
    """Count the kernels, products of gates and activations of the cell at one time step."""
    kernels, products, activations = _GATES[(node.spec.kind or "").removesuffix("Cell")]
    config, units = node.config, int(node.config["units"])
    updates = _updates(config, activations)
    terms = [
        Term(FanOut.uniform(node.units_in(), kernels * units)),
        Term(FanOut.uniform((units,), kernels * units), source=None),
    ]
    if products:
        terms.append(Term(FanOut.uniform((units,), products), source=None))
    return Counts(tuple(terms), updates * units, updates == 0)


def _at_one_step(node: Node, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Node:
    """Return a node of one time step, with these shapes of its input and output."""
    return replace(
        node,
        inputs=((None, *inputs),),
        outputs=((None, *outputs),),
        timed_inputs=(),
        timed_outputs=(),
    )


@rule("RNN")
def rnn(node: Node) -> Counts:
    """Count the cell at one time step."""
    return _cells(node, node.spec.wrap("cell"))


@rule("StackedRNNCells")
def stacked(node: Node) -> Counts:
    """Count every cell of the stack; a cell takes the output of the cell before it."""
    return _cells(node, node.spec)


def _cells(node: Node, spec: LayerSpec | list[LayerSpec]) -> Counts:
    if isinstance(spec, LayerSpec) and spec.kind == "StackedRNNCells":
        spec = spec.wrap("cells")
    inputs = node.units_in()
    parts: list[Counts] = []
    for cell in spec if isinstance(spec, list) else [spec]:
        units = cell.config.get("units")
        outputs = inputs if units is None else (int(units),)
        counts = count(replace(_at_one_step(node, inputs, outputs), spec=cell))
        if parts:  # only the first cell sees the layer's input; signals between cells are internal
            counts = replace(counts, terms=tuple(replace(t, source=None) for t in counts.terms))
        parts.append(counts)
        inputs = outputs
    return Counts.total(parts)


@rule("Bidirectional")
def bidirectional(node: Node) -> Counts:
    """Count both directions, and one operation per element that combines their outputs."""
    mode, shape = node.config.get("merge_mode"), node.outputs[0]
    if mode == "concat" and shape[-1] is not None:
        shape = (*shape[:-1], shape[-1] // 2)  # one direction has half of the features
    one = replace(node, outputs=(shape, *node.outputs[1:]))
    directions = [replace(one, spec=node.spec.inner(key)) for key in ("layer", "backward_layer")]
    both = Counts.total(map(count, directions))
    if mode not in ("sum", "mul", "ave"):
        return both
    merged = Term(FanOut.uniform(node.units_out(), 2), source=None)
    return replace(both, terms=(*both.terms, merged), spiking=both.spiking and mode != "mul")


@rule("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def conv_lstm(node: Node) -> Counts:
    """Count an LSTM whose kernels are convolutions; those over the state keep its size."""
    config, each = node.config, 4 * int(node.config["filters"])
    inputs, outputs = node.units_in(), node.units_out()
    same = {**config, "strides": 1, "dilation_rate": 1, "padding": "same"}
    _, products, activations = _GATES["LSTM"]
    updates = _updates(config, activations)
    return Counts(
        (
            Term(convolution(_at_one_step(node, inputs, outputs), config, each)),
            Term(convolution(_at_one_step(node, outputs, outputs), same, each), source=None),
            Term(FanOut.uniform(outputs, products), source=None),
        ),
        updates * math.prod(outputs),
        updates == 0,
    )
