"""Which tensors have a time axis, and whether a model can run one time step at a time."""

from __future__ import annotations

from kspike_ref.graph import Graph, Node, Ref, refs
from kspike_ref.layers.base import StatefulLayer
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.wrapper import TimeDistributed
from kspike_ref.run import pointwise


def time_tensors(graph: Graph) -> set[Ref]:
    """Return the tensors whose axis 1 is time.

    That is what temporal layers take and give, inputs of unknown length, and what layers
    connect to them that treat each position of axis 1 alone.

    Parameters
    ----------
    graph : Graph
        The model.

    Returns
    -------
    set of Ref
        The tensors.
    """
    timed = {ref for i, node in enumerate(graph.nodes) for ref in _seeds(i, node)}
    linked = [
        {*node.inputs, *(Ref(i, k) for k in range(len(node.output_shapes)))}
        for i, node in enumerate(graph.nodes)
        if node.inputs and not isinstance(node.layer, StatefulLayer) and pointwise(node)
    ]
    before = -1
    while before < len(timed):
        before = len(timed)
        for tensors in [*linked, *reversed(linked)]:
            if timed & tensors:
                timed |= tensors
    return timed


def _seeds(index: int, node: Node) -> list[Ref]:
    if isinstance(node.layer, InputLayer):
        shape = node.output_shapes[0]
        unknown = len(shape) > 2 and shape[1] is None and None not in shape[2:]
        return [Ref(index, 0)] if unknown else []
    if isinstance(node.layer, StatefulLayer):
        return [node.inputs[0]] + ([] if node.layer.reduces else [Ref(index, 0)])
    if isinstance(node.layer, TimeDistributed):
        return [node.inputs[0], Ref(index, 0)]
    return []


def check_streaming(graph: Graph, timed: set[Ref]) -> None:
    """Refuse models whose layers look at several time steps at once.

    Parameters
    ----------
    graph : Graph
        The model.
    timed : set of Ref
        What `time_tensors` returned.

    Raises
    ------
    ValueError
        If there is no time axis, or a layer mixes time steps; it is named.
    """
    if not timed & {Ref(i, 0) for i, n in enumerate(graph.nodes) if not n.inputs}:
        raise ValueError("this model has no time axis, so it cannot run step by step")
    for node in graph.nodes:
        if timed.isdisjoint(node.inputs):
            continue
        if isinstance(node.layer, StatefulLayer):
            if node.keywords or len(node.inputs) > 1:
                raise ValueError(
                    f"layer {node.name!r} takes its initial state from the model, so the model "
                    "cannot run step by step"
                )
        elif not pointwise(node):
            raise ValueError(
                f"layer {node.name!r} ({node.layer.class_name}) mixes time steps, so the model "
                "cannot run step by step"
            )


def outputs_with_time(graph: Graph, timed: set[Ref]) -> list[bool]:
    """Return for each output whether it has a time axis."""
    return [ref in timed for ref in refs(graph.outputs)]
