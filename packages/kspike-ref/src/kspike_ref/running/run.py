"""Runs a graph: node after node, each intermediate freed after its last use."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kspike_ref.layers.base import Array, State, StatefulLayer
from kspike_ref.layers.recurrent import RNN
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.temporal import SpikingActivation, SpikingActivationCell
from kspike_ref.running import interrupt
from kspike_ref.running.counts import FIELDS, Counts, Tally
from kspike_ref.running.graph import Graph, Node, Ref, refs, substitute

States = dict[int, State]


@dataclass(frozen=True)
class _Task:
    """A node, with what can be known before it runs."""

    index: int
    node: Node
    inputs: tuple[Ref, ...]
    output: Ref  # the first
    is_simple: bool  # one tensor in, and nothing else
    is_pointwise: bool
    is_stateful: bool
    is_carried: bool  # a state from step to step, where the model streams
    is_stepped: bool  # it treats each step alone, where the model streams
    takes_spikes: bool
    frees: tuple[Ref, ...]
    is_masked: bool  # a mask comes, or is made
    listens: bool  # and it is used


class LayerCallError(Exception):
    """A layer does not take what it was given; the model tells it in the user's own shapes.

    Parameters
    ----------
    node : Node
        The layer's application.
    error : Exception
        What it raised.
    """

    def __init__(self, node: Node, error: Exception) -> None:
        super().__init__(node.name, error)
        self.node, self.error = node, error

    def told(self, shapes: Sequence[tuple[int, ...]]) -> ValueError | TypeError:
        """Return an error for the caller, who gave inputs of these shapes."""
        name, kind = self.node.name, self.node.layer.class_name
        given = " and ".join(map(str, shapes))
        message = f"layer {name!r} ({kind}) does not take x of shape {given}: {self.error}"
        return (TypeError if isinstance(self.error, TypeError) else ValueError)(message)


def _is_of_inputs(error: Exception) -> bool:
    """Return whether an error is what NumPy, Numba and Python raise for arrays that do not fit."""
    kinds = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
    return isinstance(error, kinds) or type(error).__module__.startswith("numba")


class Runner:
    """Runs a graph on arrays.

    Parameters
    ----------
    graph : Graph
        What to run.
    carried, stepped : frozenset of int
        The nodes that carry a state, and those that take single steps, where the model streams.
    """

    def __init__(
        self,
        graph: Graph,
        carried: frozenset[int] = frozenset(),
        stepped: frozenset[int] = frozenset(),
    ) -> None:
        self.graph = graph
        self.outputs = list(refs(graph.outputs))
        last: dict[Ref, int] = {}
        for index, node in enumerate(graph.nodes):
            last |= dict.fromkeys(node.inputs, index)
        for ref in self.outputs:
            last.pop(ref, None)
        spikes = _spikes(graph)
        masked = set(graph.masks)
        self._tasks = [
            _Task(
                index,
                node,
                node.inputs,
                Ref(index, 0),
                len(node.arguments) == 1
                and isinstance(node.arguments[0], Ref)
                and not node.keywords,
                pointwise(node),
                isinstance(node.layer, StatefulLayer),
                index in carried,
                index in stepped,
                not spikes.isdisjoint(node.inputs),
                tuple(dict.fromkeys(ref for ref in node.inputs if last.get(ref) == index)),
                not masked.isdisjoint([*node.inputs, Ref(index, 0)]) or "mask" in node.keywords,
                _listens(node),
            )
            for index, node in enumerate(graph.nodes)
            if not isinstance(node.layer, InputLayer)
        ]

    def run(
        self,
        inputs: list[Array],
        states: States | None = None,
        keep: Collection[int] | None = (),
    ) -> tuple[list[Array], dict[int, Any], States, Counts]:
        """Run all nodes.

        Parameters
        ----------
        inputs : list of ndarray
            One for each input node.
        states : dict, optional
            The states of the nodes that carry one, before a step of a stream. Without, all steps
            run from fresh states.
        keep : collection of int or None
            The nodes whose outputs to return; None for all.

        Returns
        -------
        outputs : list of ndarray
            The model's outputs.
        kept : dict of int to ndarray
            What ``keep`` asked for.
        states : dict
            The states after the last step, if states were given.
        counts : (nodes, FIELDS) ndarray of int64
            The operations and events of each node.

        Raises
        ------
        LayerCallError
            If a layer does not take what it was given.
        """
        values: dict[Ref, Array] = {Ref(i, 0): x for i, x in enumerate(inputs)}
        kept: dict[int, Any] = {i: x for i, x in enumerate(inputs) if keep is None or i in keep}
        after: States = {}
        masks: dict[Ref, Array] = {}
        counts = np.zeros((len(self.graph.nodes), FIELDS), np.int64)
        stop = interrupt.current()
        for task in self._tasks:
            if stop is not None:
                interrupt.check(stop)
            try:
                options: dict[str, Any] = {}
                if task.node.layer.takes_tally:
                    options["tally"] = Tally(task.takes_spikes, counts[task.index])
                if task.is_masked:
                    y = self._apply_masked(task, values, masks, states, after, options)
                else:
                    y = self._apply(task, values, states, after, options)
            except Exception as error:
                if _is_of_inputs(error):
                    raise LayerCallError(task.node, error) from error
                raise
            if keep is None or task.index in keep:
                kept[task.index] = y
            if isinstance(y, (list, tuple)):
                values |= {Ref(task.index, i): output for i, output in enumerate(y)}
            else:
                values[task.output] = y
            for ref in task.frees:
                del values[ref]
                masks.pop(ref, None)
        return [values[ref] for ref in self.outputs], kept, after, counts

    def _apply(
        self,
        task: _Task,
        values: dict[Ref, Array],
        states: States | None,
        after: States,
        options: dict[str, Any],
    ) -> Any:
        """Return what a node makes of its inputs."""
        node, layer = task.node, task.node.layer
        if task.is_simple:
            arguments: tuple[Any, ...] = (values[task.inputs[0]],)
            keywords = options
        else:
            arguments = substitute(node.arguments, values.__getitem__)
            keywords = substitute(node.keywords, values.__getitem__) | options
        if states is not None and (task.is_carried or task.is_stepped):
            received = layer.received
            arguments = (received(arguments[0]),) if task.is_simple else received(arguments)
            if task.is_stepped:
                return layer.call_step(*arguments, **keywords)
            assert isinstance(layer, StatefulLayer)  # noqa: S101 (the plan holds no others)
            y, after[task.index] = layer.scan(states[task.index], *arguments, **options)
            return y
        if task.is_pointwise and not task.is_stateful:
            return _once_if_static(task, arguments, keywords, values, options)
        return layer(*arguments, **keywords)

    def _apply_masked(
        self,
        task: _Task,
        values: dict[Ref, Array],
        masks: dict[Ref, Array],
        states: States | None,
        after: States,
        options: dict[str, Any],
    ) -> Any:
        """Return what a node makes of inputs with masks, and note the mask of its output."""
        node, layer = task.node, task.node.layer
        arguments = substitute(node.arguments, values.__getitem__)
        keywords = substitute(node.keywords, values.__getitem__)
        given = substitute(node.arguments, masks.get)
        if "mask" in keywords:
            given = (_as_bools(keywords.pop("mask")), *given[1:])
        if task.listens:
            options = {**options, "mask": given if layer.takes_all_masks else given[0]}
        if layer.drops_masks:
            for ref in refs(list(node.arguments)):
                masks.pop(ref, None)
        if Ref(task.index, 0) in self.graph.masks:
            mask = layer.mask(given, *arguments)
            masks |= {Ref(task.index, i): mask for i in range(layer.masked_outputs)}
        if states is not None:
            if task.is_carried:
                assert isinstance(layer, StatefulLayer)  # noqa: S101 (the plan holds no others)
                arguments = layer.received(arguments)
                y, after[task.index] = layer.scan(states[task.index], *arguments, **options)
                return y
            if task.is_stepped:
                return layer.call_step(*layer.received(arguments), **keywords, **options)
        if task.is_pointwise and not task.is_stateful and not task.listens:
            return _once_if_static(task, arguments, keywords, values, options)
        return layer(*arguments, **keywords, **options)


def _as_bools(mask: Any) -> Any:
    """Return a mask, or a list of masks, as arrays of bools."""
    if isinstance(mask, list):
        return [_as_bools(one) for one in mask]
    return None if mask is None else mask.astype(bool)


def _listens(node: Node) -> bool:
    """Return whether a layer is given the mask of its input, or one that it is called with."""
    holding = [value for value in (*node.arguments, *node.keywords.values()) if any(refs(value))]
    return "mask" in node.keywords or node.layer.hears(len(holding))


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
    task: _Task,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    values: dict[Ref, Array],
    options: dict[str, Any],
) -> Any:
    """Compute one step for all where the inputs are the same at every step."""
    layer = task.node.layer
    given = [values[ref] for ref in task.inputs]
    if not all(is_static(x) for x in given):
        return layer(*arguments, **{**keywords, **options})
    steps = given[0].shape[1]
    first = {ref: values[ref][:, :1] for ref in task.inputs}
    arguments = substitute(task.node.arguments, first.__getitem__)
    arguments = layer.received(arguments)
    keywords = substitute(task.node.keywords, first.__getitem__)
    y: Array = layer.call_step(*arguments, **keywords, **options)
    return np.broadcast_to(y, (y.shape[0], steps, *y.shape[2:]))
