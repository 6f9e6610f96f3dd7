"""Recordings: spikes, voltages and filter levels of layers after every time step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kspike_energy.checks import told_options
from kspike_tf.conversion.compare import repeated
from kspike_tf.conversion.graph import Node, Ref, read_graph
from kspike_tf.conversion.inputs import arrays, input_tensors
from kspike_tf.layers import AlphaCell, KerasSpikingCell, KerasSpikingLayer, LowpassCell, masking
from kspike_tf.types import Arrays

Tensor = Any


@dataclasses.dataclass(frozen=True)
class Recording:
    """Spikes, voltages and filter levels of layers over time, from `kspike_tf.record`.

    Attributes
    ----------
    spikes : dict of str to (examples, steps, *units) ndarray
        Output of every spiking layer: the number of spikes in a step times 1/dt, in Hz. Their mean
        over time is the firing rate. Your own neurons are included, with their outputs.
    voltages : dict of str to (examples, steps, *units) ndarray
        Voltages of the spiking layers after every step, in spikes, float64; empty with
        ``voltages=False``. For your own neurons, the first state, whatever its shape.
    levels : dict of str to (examples, steps, *units) ndarray
        Output of every filter before it is rounded to the layer's type: float64.
    dt : dict of str to float
        Seconds per step of every layer.
    """

    spikes: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    voltages: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    levels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    dt: dict[str, float] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        arrays = self.spikes | self.levels
        parts = [f"{name!r}: {arrays[name].shape}" for name in self.dt]
        return f"<Recording of {', '.join(parts)}>"


@told_options
def record(
    model: keras.Model,
    x: Arrays,
    layers: Iterable[str] | None = None,
    voltages: bool = True,
    timesteps: int | None = None,
) -> Recording:
    """Run a model and record spikes, voltages and filter levels after every step.

    Parameters
    ----------
    model : keras.Model
        Sequential or Functional model with spiking layers or filters.
    x : structure of (batch, time, ...) array
        Inputs; without a time axis if ``timesteps`` is passed.
    layers : iterable of str, optional
        Names of spiking layers, filters and your own neurons; by default all of them.
    voltages : bool
        Whether to record voltages, which take twice the memory of float32 spikes.
    timesteps : int, optional
        Number of steps to show inputs that have no time axis.

    Returns
    -------
    Recording
        ``spikes``, ``voltages`` and ``levels``: arrays ``(examples, steps, *units)`` by the names
        of layers, and ``dt``. A layer that is applied several times appears as ``name``,
        ``name:1``, ``name:2`` …; one within a nested model as ``outer_inner``.

    Raises
    ------
    TypeError
        If the model is of another kind.
    ValueError
        If the model has no spiking layer or filter, or none of a given name; or if one of them is
        stateful, runs backwards or starts from a state that the model computes.

    Notes
    -----
    The arrays hold all steps, even for layers with ``return_sequences=False``. Spikes equal those
    of ``model.predict`` bit for bit. All examples run at once, so memory grows with their number.

    Examples
    --------
    >>> import keras, kspike_tf, numpy as np
    >>> spiking = kspike_tf.SpikingActivation("relu", dt=0.25, seed=0, name="hidden")
    >>> model = keras.Sequential([keras.Input((None, 1)), spiking])
    >>> recording = record(model, np.float32([[1.0]]), timesteps=4)
    >>> recording
    <Recording of 'hidden': (1, 4, 1)>
    >>> recording.voltages["hidden"].round(3).ravel()
    array([0.649, 0.899, 0.149, 0.399])
    """
    graph = read_graph(model)
    x = arrays(x, graph)
    x = x if timesteps is None else repeated(x, timesteps)
    nodes = _temporal(graph.nodes)
    wanted = _wanted(nodes, layers)
    tensors = input_tensors(graph, x)
    made, names = Recording(), {node: name for name, node in nodes.items()}
    for node in graph.nodes:
        options: dict[str, Any] = {}
        if node in names:
            given = tensors[node.inputs[0]]
            start = _start(node, given)
            options["initial_state"] = start
            if names[node] in wanted:
                mask = _mask(node, tensors)
                _add(made, names[node], node, (given, mask), start, voltages)
        outputs = keras.tree.flatten(node.call(node.layer, tensors, **options))
        tensors.update(zip(node.outputs, outputs, strict=True))
    return made


def _temporal(nodes: Iterable[Node]) -> dict[str, Node]:
    """Return the applications of spiking layers and filters, by name."""
    found: dict[str, Node] = {}
    for node in nodes:
        if _cell(node.layer) is None:
            continue
        uses = sum(other.layer is node.layer for other in found.values())
        found[f"{node.name}:{uses}" if uses else node.name] = node
    return found


def _cell(layer: Any) -> Any:
    """Return the cell of a spiking layer, filter or the user's own neuron; None for others."""
    rnn = layer.layer if isinstance(layer, KerasSpikingLayer) else layer
    cell = getattr(rnn, "cell", None)
    return cell if isinstance(cell, KerasSpikingCell) else None


def _wanted(nodes: dict[str, Node], layers: Iterable[str] | None) -> set[str]:
    """Return the names of the layers to record; raise if one cannot be recorded."""
    if not nodes:
        raise ValueError("model must have a spiking layer or a filter. Received: one with neither")
    wanted = set(nodes if layers is None else [layers] if isinstance(layers, str) else layers)
    if unknown := wanted - set(nodes):
        raise ValueError(
            f"layers must be among {', '.join(nodes)}. Received: {', '.join(map(str, unknown))}"
        )
    for name, node in nodes.items():
        for option in ("stateful", "go_backwards"):
            if getattr(node.layer, option, False):
                raise ValueError(
                    "record needs layers that are neither stateful nor reversed. Received: layer "
                    f"{name!r} with {option}=True; build the model with {option}=False"
                )
        if any(isinstance(each, Ref) for each in _states_given(node)):
            raise ValueError(
                "record does not support layers whose initial_state comes from the model. "
                f"Received: layer {name!r}"
            )
    return wanted


def _states_given(node: Node) -> list[Any]:
    """Return the arguments of an application after its input, except the mask."""
    keywords = [value for key, value in node.kwargs.items() if key != "mask"]
    return list(keras.tree.flatten((node.args, keywords))[1:])


def _start(node: Node, x: Tensor) -> list[Tensor]:
    """Return the states before the first step, for both the layer and the recording."""
    batch = x.shape[1 if getattr(node.layer, "time_major", False) else 0]
    return list(_cell(node.layer).get_initial_state(batch_size=batch))


def _mask(node: Node, tensors: dict[int, Tensor]) -> Tensor | None:
    """Return the mask that a layer is called with, or that its input carries."""
    mask = node.kwargs.get("mask")
    if mask is None:
        return getattr(tensors[node.inputs[0]], "_keras_mask", None)
    return tensors[mask.number] if isinstance(mask, Ref) else keras.ops.convert_to_tensor(mask)


def _add(
    made: Recording,
    name: str,
    node: Node,
    inputs: tuple[Tensor, Tensor],
    start: list[Tensor],
    keeps_voltages: bool,
) -> None:
    """Run a layer on its input and mask, and add the results to a recording."""
    cell, (x, mask) = _cell(node.layer), inputs
    if not getattr(node.layer, "time_major", False):
        x, mask = masking.swapped(x), masking.swapped(mask)
    y, level = map(_examples_first, _over_time(cell, x, start, mask))
    if isinstance(cell, LowpassCell | AlphaCell):
        level = level[:, :, 0] if isinstance(cell, AlphaCell) else level
        made.levels[name] = level.reshape((*y.shape[:2], *cell.size))
    else:
        dtype = tf.as_dtype(node.layer.compute_dtype)
        made.spikes[name] = tf.cast(y, dtype).numpy()
        if keeps_voltages:
            made.voltages[name] = level.astype(np.float64)
    made.dt[name] = float(cell.step_length())


@tf.function(autograph=False)
def _over_time(cell: Any, x: Tensor, start: list[Tensor], mask: Tensor | None) -> Any:
    """Return outputs and first states after every step, ``(time, batch, ...)``."""
    x = tf.cast(x, cell.sequence_dtype)
    counts = tf.ones(tf.shape(x)[:2], tf.bool) if mask is None else mask

    def step(before: Any, now: Any) -> Any:
        value, is_counted = now
        y, states = cell.call_inference(value, before[1])
        after = tf.cast(y, before[0].dtype), list(states)
        return tf.nest.map_structure(lambda a, b: masking.where(is_counted, a, b), after, before)

    begin = tf.zeros_like(x[0] if x.shape[0] else tf.zeros(x.shape[1:], x.dtype)), start
    outputs, states = tf.scan(step, (x, counts), begin)
    return outputs, states[0]


def _examples_first(y: Tensor) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(y.numpy(), 0, 1))
