"""Which tensors have a time axis, and whether a model can run one time step at a time."""

from __future__ import annotations

from typing import Any

from kspike_ref.graph import Graph, Node, Ref, refs, substitute
from kspike_ref.layers.base import StatefulLayer
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
    timed: set[Ref] = set()
    linked: list[set[Ref]] = []
    for i, node in enumerate(graph.nodes):
        inputs, outputs = node.layer.timed()
        timed |= {node.inputs[k] for k in inputs if k < len(node.inputs)}
        timed |= {Ref(i, k) for k in outputs}
        if node.inputs and not isinstance(node.layer, StatefulLayer) and pointwise(node):
            linked.append({*node.inputs, *(Ref(i, k) for k in range(len(node.output_shapes)))})
    before = -1
    while before < len(timed):
        before = len(timed)
        for tensors in [*linked, *reversed(linked)]:
            if timed & tensors:
                timed |= tensors
    return timed


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
    if not any(Ref(i, 0) in timed for i, node in enumerate(graph.nodes) if not node.inputs):
        raise ValueError("this model has no time axis, so it cannot run step by step")
    for node in graph.nodes:
        if not timed.isdisjoint(node.inputs) and not _streams(node):
            raise ValueError(
                f"layer {node.name!r} ({node.layer.class_name}) mixes time steps, or takes its "
                "initial state from the model, so the model cannot run step by step"
            )


def _streams(node: Node) -> bool:
    shapes: dict[Ref, Any] = dict(zip(node.inputs, node.input_shapes, strict=True))
    arguments = substitute(node.arguments, shapes.__getitem__)
    states = [value for key, value in node.keywords.items() if key != "mask" and any(refs(value))]
    return not states and node.layer.streams(*arguments)
