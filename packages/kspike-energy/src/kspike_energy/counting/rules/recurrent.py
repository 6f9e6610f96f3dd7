"""Recurrent layers and their cells, counted per time step.

Convention: the kernels are dense connections, from the input and from the cell's own state; each
product of two gates is one operation a unit; each application of an activation is one unit update.
Signals that stay inside the layer (the state) have no rate of their own: the mean count uses the
layer's input rate for them, the exact count takes every element at every step.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from kspike_energy.counting.fan_out import FanOut, Windows, windows_fan_out
from kspike_energy.counting.nodes import Counts, LayerSpec, Node, Term
from kspike_energy.counting.rules.linear import as_tuple
from kspike_energy.counting.rules.table import is_linear, rule

__all__ = ["cell_counts"]

# Kernels from input and state, products of gates, and how often each activation is applied.
_GATES = {
    "SimpleRNN": (1, 0, {"activation": 1}),
    "LSTM": (4, 3, {"activation": 2, "recurrent_activation": 3}),
    "GRU": (3, 3, {"activation": 1, "recurrent_activation": 2}),
}


def _updates(config: Any, activations: dict[str, int]) -> int:
    """Return unit updates a unit: linear activations are none."""
    return sum(times for key, times in activations.items() if not is_linear(config.get(key)))


def _gated(kind: str, config: Any, inputs: tuple[int, ...]) -> Counts:
    kernels, products, activations = _GATES[kind]
    units = int(config["units"])
    updates = _updates(config, activations)
    terms = [
        Term(FanOut.uniform(inputs, kernels * units)),
        Term(FanOut.uniform((units,), kernels * units), source=None),
    ]
    if products:
        terms.append(Term(FanOut.uniform((units,), products), source=None))
    return Counts(tuple(terms), updates * units, updates == 0)


def _plain_layer(kind: str) -> Callable[[Node], Counts]:
    def layer_rule(node: Node) -> Counts:
        return _gated(kind, node.config, node.units_in())

    layer_rule.__doc__ = f"Count a {kind} layer as its cell at one time step."
    return layer_rule


for _kind in _GATES:
    rule(_kind, f"{_kind}Cell")(_plain_layer(_kind))


def cell_counts(node: Node, spec: LayerSpec, inputs: tuple[int, ...]) -> Counts:
    """Return what a cell costs at one time step, given the shape of its input.

    Parameters
    ----------
    node : Node
        The layer that runs the cell.
    spec : LayerSpec
        The cell.
    inputs : tuple of int
        Shape of its input, without batch and time.
    """
    from kspike_energy.counting.rules import count  # the table is complete only now

    units = spec.config.get("units")
    outputs = inputs if units is None else (int(units),)
    step = replace(
        node,
        spec=spec,
        full_inputs=((None, *inputs),),
        full_outputs=((None, *outputs),),
        timed_inputs=(False,),
        timed_outputs=(False,),
    )
    return count(step)


@rule("RNN")
def rnn(node: Node) -> Counts:
    """Count the cell at one time step."""
    return _cells(node, node.spec.wrap("cell"), node.units_in())


@rule("StackedRNNCells")
def stacked(node: Node) -> Counts:
    """Count every cell; each takes the output of the one before."""
    return _cells(node, node.spec, node.units_in())


def _cells(node: Node, spec: LayerSpec | list[LayerSpec], inputs: tuple[int, ...]) -> Counts:
    if isinstance(spec, LayerSpec) and spec.kind == "StackedRNNCells":
        spec = spec.wrap("cells")
    if isinstance(spec, LayerSpec):
        return cell_counts(node, spec, inputs)
    terms: list[Term] = []
    neurons, spiking = 0, True
    for position, cell in enumerate(spec):
        counts = cell_counts(node, cell, inputs)
        # Only the first cell sees the layer's input; between the cells the signals are internal.
        terms += counts.terms if position == 0 else [replace(t, source=None) for t in counts.terms]
        neurons += counts.neurons
        spiking = spiking and counts.spiking
        units = cell.config.get("units")
        inputs = inputs if units is None else (int(units),)
    return Counts(tuple(terms), neurons, spiking)


@rule("Bidirectional")
def bidirectional(node: Node) -> Counts:
    """Count both directions, and one operation an element where their outputs are combined."""
    from kspike_energy.counting.rules import count  # the table is complete only now

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
    """Return a node for one direction: half of a concatenated output."""
    shape = node.full_outputs[0]
    if node.config.get("merge_mode") == "concat" and shape[-1] is not None:
        shape = (*shape[:-1], shape[-1] // 2)
    return replace(
        node,
        spec=spec,
        full_outputs=(shape, *node.full_outputs[1:]),
        timed_outputs=node.timed_outputs,
    )


_Shape: TypeAlias = tuple[int, ...]


def _conv_windows(config: Any, inputs: _Shape, outputs: _Shape, *, state: bool) -> list[Windows]:
    """Return windows along each spatial axis; those over the state keep its size."""
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
