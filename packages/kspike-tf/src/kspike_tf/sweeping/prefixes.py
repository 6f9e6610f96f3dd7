"""Outputs of a model for several numbers of time steps, from one run of the longest.

The output of a causal layer at a step only depends on the steps so far. So the first steps of a
long presentation give the same outputs as a shorter one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import keras

from kspike_energy import Application
from kspike_tf.conversion.families import MERGES, ON_LAST_AXIS
from kspike_tf.conversion.graph import Graph, Node, read_graph
from kspike_tf.conversion.inputs import input_tensors
from kspike_tf.layers import Alpha, Lowpass, SpikingActivation, TimeFolded
from kspike_tf.sweeping.replayed import Runner, Signals, reference_runner
from kspike_tf.types import ReferenceModel

_OWN = (Alpha, Lowpass, SpikingActivation)
_ON_STEPS = (*ON_LAST_AXIS, keras.layers.Dropout, keras.layers.Identity)


def prefix_runner(model: Any, adapter: Any, nodes: Sequence[Application]) -> Runner:
    """Return a function from a batch and numbers of steps to outputs and signals.

    A batch has as many steps as the largest number. The model's outputs are by number of steps; the
    signals are the outputs of every application in one run of the whole batch, from which the
    model's outputs are taken as far as layers are causal.
    """
    if isinstance(model, ReferenceModel):
        return reference_runner(model, adapter)
    return _Split(model, adapter, nodes)


class _Split:
    """A Keras model in two parts: causal layers, which run once, and the others."""

    def __init__(self, model: keras.Model, adapter: Any, nodes: Sequence[Application]) -> None:
        self.model, self.adapter, self.applications = model, adapter, nodes
        self.graph = read_graph(model)
        causal, timed = _causal(self.graph)
        self.causal = [node for node in self.graph.nodes if node in causal]
        self.others = [node for node in self.graph.nodes if node not in causal]
        read = {number for node in self.others for number in node.inputs}
        self.cut = timed & (read | set(self.graph.output_numbers()))

    def __call__(self, x: Any, timesteps: Sequence[int]) -> tuple[dict[int, Any], Signals]:
        """Return the model's outputs by number of steps, and the signals of the whole run."""
        found, tensors = {}, input_tensors(self.graph, x)
        signals = [outputs for _, outputs in self.adapter.signals(self.model, x)]
        with keras.StatelessScope():  # states of stateful layers stay as they are
            _run(self.causal, tensors, self._known(signals))
            for steps in timesteps:
                own = {n: t[:, :steps] if n in self.cut else t for n, t in tensors.items()}
                _run(self.others, own, {})
                found[steps] = self._outputs(own)
        return found, signals

    def _known(self, signals: Sequence[list[Any]]) -> dict[Node, list[Any]]:
        """Return the outputs of those nodes that signals hold.

        Shared layers, and models inside `TimeFolded`, whose inner layers the signals hold instead,
        are left out: they run again.
        """
        made: dict[Any, list[list[Any]]] = defaultdict(list)
        for one, outputs in zip(self.applications, signals, strict=True):
            if not one.inside_time:
                made[one.spec.layer].append(outputs)
        alone = Counter(node.layer for node in self.graph.nodes)
        return {
            node: made[node.layer][0]
            for node in self.causal
            if alone[node.layer] == len(made[node.layer]) == 1
        }

    def _outputs(self, tensors: dict[int, Any]) -> Any:
        return keras.tree.map_structure(
            lambda ref: keras.ops.convert_to_numpy(tensors[ref.number]), self.graph.outputs
        )


def _run(nodes: Sequence[Node], tensors: dict[int, Any], known: dict[Node, list[Any]]) -> None:
    """Compute the outputs of nodes, unless they are known."""
    for node in nodes:
        outputs = known.get(node) or keras.tree.flatten(node.call(node.layer, tensors))
        tensors.update(zip(node.outputs, outputs, strict=True))


def _causal(graph: Graph) -> tuple[set[Node], set[int]]:
    """Return the causal nodes before the end of the time axis, and the tensors that have one."""
    timed = {n for n in graph.inputs if len(graph.shape(n)) > 1 and graph.shape(n)[1] is None}
    found = set()
    for node in graph.nodes:
        shapes = [graph.shape(number) for number in node.inputs]
        if timed.issuperset(node.inputs) and _is_causal(node.layer, shapes):
            found.add(node)
            timed.update(node.outputs)
    return found, timed


def _is_causal(layer: Any, shapes: Sequence[tuple[int | None, ...]]) -> bool:
    """Return whether a layer keeps the time axis and never reads later steps."""
    kind, axes = type(layer), {len(shape) for shape in shapes}
    if kind in _OWN:
        options = layer.time_major, layer.return_state, not layer.return_sequences
        return len(shapes) == 1 and not any(options)
    if kind is keras.layers.EinsumDense:
        inputs, rest = layer.equation.split(",")
        kernel, outputs = rest.split("->")
        return inputs[1:2] == outputs[1:2] and inputs[1] not in kernel and "." not in inputs
    if kind is TimeFolded:
        return True
    return min(axes, default=0) > 2 and (kind in _ON_STEPS or (kind in MERGES and len(axes) == 1))
