"""Recurrent layers and their cells, counted per time step.

Convention: the kernels are dense connections from the input and from the cell's own state; a
product of two gates is one operation per unit; an application of an activation is one update per
unit. The state stays inside the layer, so its rate is not measured: the mean count uses the rate of
the layer's input, and the exact count takes every element at every step.
"""

import math
from dataclasses import replace
from typing import Any, TypeAlias

from kspike_energy.counting.fan_out import FanOut, Windows, windows_fan_out
from kspike_energy.counting.nodes import Counts, LayerSpec, Node, Term
from kspike_energy.counting.rules.linear import as_tuple
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


def _cell_counts(node: Node, spec: LayerSpec, inputs: tuple[int, ...]) -> Counts:
    """Return the counts of a cell at one time step, for one shape of its input."""
    units = spec.config.get("units")
    outputs = inputs if units is None else (int(units),)
    step = replace(
        node,
        spec=spec,
        inputs=((None, *inputs),),
        outputs=((None, *outputs),),
        timed_inputs=(),
        timed_outputs=(),
    )
    return count(step)


@rule("RNN")
def rnn(node: Node) -> Counts:
    """Count the cell at one time step."""
    return _cells(node, node.spec.wrap("cell"), node.units_in())


@rule("StackedRNNCells")
def stacked(node: Node) -> Counts:
    """Count every cell of the stack; a cell takes the output of the cell before it."""
    return _cells(node, node.spec, node.units_in())


def _cells(node: Node, spec: LayerSpec | list[LayerSpec], inputs: tuple[int, ...]) -> Counts:
    if isinstance(spec, LayerSpec) and spec.kind == "StackedRNNCells":
        spec = spec.wrap("cells")
    if isinstance(spec, LayerSpec):
        return _cell_counts(node, spec, inputs)
    terms: list[Term] = []
    neurons, spiking = 0, True
    for position, cell in enumerate(spec):
        counts = _cell_counts(node, cell, inputs)
        # Only the first cell sees the layer's input; signals between cells are internal.
        terms += counts.terms if position == 0 else [replace(t, source=None) for t in counts.terms]
        neurons += counts.neurons
        spiking = spiking and counts.spiking
        units = cell.config.get("units")
        inputs = inputs if units is None else (int(units),)
    return Counts(tuple(terms), neurons, spiking)


@rule("Bidirectional")
def bidirectional(node: Node) -> Counts:
    """Count both directions, and one operation per element that combines their outputs."""
    terms: list[Term] = []
    neurons, spiking = 0, True
    for key in ("layer", "backward_layer"):
        counts = count(_one_direction(node, node.spec.inner(key)))
        terms += counts.terms
        neurons += counts.neurons
        spiking = spiking and counts.spiking
    if node.config.get("merge_mode") in ("sum", "mul", "ave"):
        terms.append(Term(FanOut.uniform(node.units_out(), 2), source=None))
        spiking = spiking and node.config["merge_mode"] != "mul"
    return Counts(tuple(terms), neurons, spiking)


def _one_direction(node: Node, spec: LayerSpec) -> Node:
    """Return the node of one direction, which has half of a concatenated output."""
    shape = node.outputs[0]
    if node.config.get("merge_mode") == "concat" and shape[-1] is not None:
        shape = (*shape[:-1], shape[-1] // 2)
    return replace(node, spec=spec, outputs=(shape, *node.outputs[1:]))


_Shape: TypeAlias = tuple[int, ...]


def _conv_windows(config: Any, inputs: _Shape, outputs: _Shape, *, state: bool) -> list[Windows]:
    """Return the windows along the spatial axes; windows over the state keep its size."""
    rank = len(inputs)
    kernel = as_tuple(config["kernel_size"], rank)
    strides = (1,) * rank if state else as_tuple(config["strides"], rank)
    dilation = (1,) * rank if state else as_tuple(config.get("dilation_rate", 1), rank)
    padding = "same" if state else config["padding"].lower()
    return [
        Windows(inputs[i], outputs[i], kernel[i], strides[i], dilation[i], padding)
        for i in range(rank)
    ]


@rule("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def conv_lstm(node: Node) -> Counts:
    """Count an LSTM whose kernels are convolutions; those over the state keep its size."""
    config = node.config
    first = config.get("data_format") == "channels_first"
    filters = int(config["filters"])
    inputs, outputs = node.units_in(), node.units_out()
    space_in, space_out = (s[1:] if first else s[:-1] for s in (inputs, outputs))
    along = _conv_windows(config, space_in, space_out, state=False)
    back = _conv_windows(config, space_out, space_out, state=True)

    def fan_out(windows: list[Windows], shape: _Shape) -> FanOut:
        axes = [None, *windows] if first else [*windows, None]
        return windows_fan_out(axes, shape, 4 * filters, node.options.padding)

    _, products, activations = _GATES["LSTM"]
    updates = _updates(config, activations)
    return Counts(
        (
            Term(fan_out(along, inputs)),
            Term(fan_out(back, outputs), source=None),
            Term(FanOut.uniform(outputs, products), source=None),
        ),
        updates * math.prod(outputs),
        updates == 0,
    )
