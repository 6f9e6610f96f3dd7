"""Runs a graph: node after node, each intermediate freed after its last use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspike_ref.counting import LayerRun, tally
from kspike_ref.graph import Graph, Node, Ref, refs, substitute
from kspike_ref.layers.base import Array, State, StatefulLayer
from kspike_ref.layers.recurrent import RNN
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.temporal import SpikingActivation, SpikingActivationCell

States = dict[int, State]


@dataclass(frozen=True)
class _Task:
    """A node, with what can be known before it runs."""

    index: int
    node: Node
    inputs: tuple[Ref, ...]
    is_simple: bool  # one tensor in, and nothing else
    is_pointwise: bool
    is_stateful: bool
    takes_spikes: bool
    frees: tuple[Ref, ...]


class Runner:
    """Runs a graph on arrays.

    Parameters
    ----------
    graph : Graph
        What to run.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = list(refs(graph.outputs))
        last: dict[Ref, int] = {}
        for index, node in enumerate(graph.nodes):
            last |= dict.fromkeys(node.inputs, index)
        for ref in self.outputs:
            last.pop(ref, None)
        spikes = _spikes(graph)
        self._tasks = [
            _Task(
                index,
                node,
                node.inputs,
                len(node.arguments) == 1
                and isinstance(node.arguments[0], Ref)
                and not node.keywords,
                pointwise(node),
                isinstance(node.layer, StatefulLayer),
                not spikes.isdisjoint(node.inputs),
                tuple(dict.fromkeys(ref for ref in node.inputs if last.get(ref) == index)),
            )
            for index, node in enumerate(graph.nodes)
            if not isinstance(node.layer, InputLayer)
        ]

    def run(
        self,
        inputs: list[Array],
        states: States | None = None,
        keep: Collection[int] | None = (),
        record: dict[int, LayerRun] | None = None,
    ) -> tuple[list[Array], dict[int, Any], States]:
        """Run all nodes.

        Parameters
        ----------
        inputs : list of ndarray
            One for each input node.
        states : dict, optional
            The states of the stateful nodes before the first step; fresh ones without.
        keep : collection of int or None
            The nodes whose outputs to return; None for all.
        record : dict, optional
            Filled with what the nodes did.

        Returns
        -------
        outputs : list of ndarray
            The model's outputs.
        kept : dict of int to ndarray
            What ``keep`` asked for.
        states : dict
            The states after the last step, if states were given.
        """
        values: dict[Ref, Array] = {Ref(i, 0): x for i, x in enumerate(inputs)}
        kept: dict[int, Any] = {i: x for i, x in enumerate(inputs) if keep is None or i in keep}
        after: States = {}
        for task in self._tasks:
            tally.spikes = task.takes_spikes
            y = self._apply(task, values, states, after)
            done = tally.take()
            if done is not None and record is not None:
                record[task.index] = done
            if keep is None or task.index in keep:
                kept[task.index] = y
            for i, output in enumerate(y if isinstance(y, list | tuple) else (y,)):
                values[Ref(task.index, i)] = output
            for ref in task.frees:
                del values[ref]
        return [values[ref] for ref in self.outputs], kept, after

    def _apply(
        self, task: _Task, values: dict[Ref, Array], states: States | None, after: States
    ) -> Any:
        """Return what a node makes of its inputs."""
        node, layer = task.node, task.node.layer
        if task.is_simple:
            arguments: tuple[Any, ...] = (values[task.inputs[0]],)
            keywords = {}
        else:
            arguments = substitute(node.arguments, values.__getitem__)
            keywords = substitute(node.keywords, values.__getitem__)
        if states is not None and isinstance(layer, StatefulLayer):
            y, after[task.index] = layer.scan(states[task.index], *arguments)
            return y
        if task.is_pointwise and not task.is_stateful:
            return _once_if_static(task, arguments, keywords, values)
        return layer.call(*arguments, **keywords)


def _spikes(graph: Graph) -> set[Ref]:
    """Return the tensors that hold spikes, mostly zero."""
    spikes: set[Ref] = set()
    for i, node in enumerate(graph.nodes):
        layer = node.layer
        fires = isinstance(layer, SpikingActivation) or (
            isinstance(layer, RNN) and isinstance(layer.cell, SpikingActivationCell)
        )
        inner = getattr(layer, "layer", layer)  # of TimeDistributed
        if fires or (inner.keeps_zeros and not spikes.isdisjoint(node.inputs)):
            spikes.add(Ref(i, 0))
    return spikes


def pointwise(node: Node) -> bool:
    """Return whether a node treats each position of axis 1 alone and alike."""
    shapes: dict[Ref, Any] = dict(zip(node.inputs, node.input_shapes, strict=True))
    return node.layer.pointwise(*substitute(node.arguments, shapes.__getitem__))


def is_static(x: Array) -> bool:
    """Return whether axis 1 repeats one input, as `numpy.broadcast_to` makes it."""
    return x.ndim > 2 and x.shape[1] > 1 and x.strides[1] == 0


def _once_if_static(
    task: _Task, arguments: tuple[Any, ...], keywords: dict[str, Any], values: dict[Ref, Array]
) -> Any:
    """Compute one step for all where the inputs are the same at every step."""
    layer = task.node.layer
    given = [values[ref] for ref in task.inputs]
    if not all(is_static(x) for x in given):
        return layer.call(*arguments, **keywords)
    steps = given[0].shape[1]
    first = {ref: values[ref][:, :1] for ref in task.inputs}
    arguments = substitute(task.node.arguments, first.__getitem__)
    y: Array = layer.call(*arguments, **substitute(task.node.keywords, first.__getitem__))
    return np.broadcast_to(y, (y.shape[0], steps, *y.shape[2:]))
