"""Step-by-step runs: the role of every tensor, and the layers that carry a state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.layers.wrapper import Fold, Unfold
from kspike_ref.running.axes import Axes, has_time_first
from kspike_ref.running.graph import Graph, Node, Ref, refs, streams


class Kind(Enum):
    """The role of a tensor at one step of a stream."""

    STATIC = "the same at every step"
    STEP = "one step of the time axis"
    SO_FAR = "a value over the steps so far"
    FOLDED = "one step, with time folded into the batch"


@dataclass(frozen=True)
class Stream:
    """The step-by-step execution of a model.

    Attributes
    ----------
    carried : frozenset of int
        The nodes that carry a state from step to step. Other stateful layers start from fresh
        states: they run over another axis within every step, or over the steps so far.
    stepped : frozenset of int
        The nodes that take a time axis of one step and treat steps independently.
    outputs : tuple of bool
        For each output, whether it has a time axis.
    """

    carried: frozenset[int]
    stepped: frozenset[int]
    outputs: tuple[bool, ...]


def plan(graph: Graph, axes: Axes) -> Stream:
    """Plan a step-by-step execution with the same results as one whole run.

    Parameters
    ----------
    graph : Graph
        The model.
    axes : Axes
        Its time axes.

    Returns
    -------
    Stream
        The plan.

    Raises
    ------
    ValueError
        If there is no time axis, or a layer mixes time steps; the message names the layer.
    """
    time = _time(graph, axes)
    kinds: dict[Ref, Kind] = {}
    carried, stepped = set(), set()
    for i, node in enumerate(graph.nodes):
        given = [kinds[ref] for ref in node.inputs]
        kind = _kind(node, given, Ref(i, 0) in time)
        outputs = [kind] * len(node.output_shapes)
        if Kind.STEP in given and isinstance(node.layer, StatefulLayer):
            carried.add(i)
            # The outputs after the first are the states.
            outputs[1:] = [Kind.SO_FAR] * (len(outputs) - 1)
            if node.layer.reduces:
                outputs[0] = Kind.SO_FAR
        elif kind is Kind.STEP and node.inputs:
            stepped.add(i)
        kinds |= {Ref(i, k): one for k, one in enumerate(outputs)}
    ends = tuple(kinds[ref] is Kind.STEP for ref in refs(graph.outputs))
    return Stream(frozenset(carried), frozenset(stepped), ends)


def _time(graph: Graph, axes: Axes) -> set[Ref]:
    """Return the inputs with the time axis, and the vectors that are repeated along it."""
    nodes = graph.nodes
    inputs = axes.inputs(graph)
    time = repeated = axes.repeated(graph)
    if inputs:
        shared = {axes.group(ref) for ref in inputs}
        time = [*inputs, *(ref for ref in repeated if axes.group(ref) in shared)]
    if not time:
        raise ValueError("this model has no time axis, so it cannot run step by step")
    lengths = {ref: nodes[ref.node].output_shapes[0][1] for ref in time}
    if len({n for n in lengths.values() if n is not None}) > 1:
        found = ", ".join(
            f"{n} at {nodes[ref.node].name!r}" for ref, n in lengths.items() if n is not None
        )
        raise ValueError(
            f"this model has time axes of several lengths ({found}), so it cannot run step by step"
        )
    return set(time)


def _kind(node: Node, given: list[Kind], is_time: bool) -> Kind:
    """Return the role of a node's first output, from the roles of its inputs."""
    if has_time_first(node.layer):
        raise ValueError(
            f"layer {node.name!r} ({node.layer.class_name}) takes time as the first axis "
            "(time_major=True), so the model cannot run step by step"
        )
    if is_time and set(given) <= {Kind.STATIC}:
        return Kind.STEP
    if isinstance(node.layer, Fold) and given == [Kind.STEP]:
        return Kind.FOLDED
    if isinstance(node.layer, Unfold):
        return given[1]
    if Kind.STEP in given:
        if set(given) > {Kind.STEP}:
            raise ValueError(
                f"layer {node.name!r} ({node.layer.class_name}) combines single time steps with "
                "other tensors, so the model cannot run step by step"
            )
        if not _streams(node):
            raise ValueError(
                f"layer {node.name!r} ({node.layer.class_name}) mixes time steps, or takes its "
                "initial state from the model, so the model cannot run step by step"
            )
        return Kind.STEP
    for kind in (Kind.FOLDED, Kind.SO_FAR):
        if kind in given:
            return kind
    return Kind.STATIC


def _streams(node: Node) -> bool:
    states = [value for key, value in node.keywords.items() if key != "mask" and any(refs(value))]
    return not states and streams(node)
