"""Nodes completed with what follows from the connections between them."""

from collections.abc import Sequence
from dataclasses import replace

from kspike_energy.counting.nodes import Node
from kspike_energy.counting.rules.table import FREE, OVER_TIME
from kspike_energy.counting.rules.units import is_plain_linear
from kspike_energy.counting.time_axis import timed_tensors
from kspike_energy.settings import Options

__all__ = ["complete_nodes"]


def complete_nodes(
    nodes: Sequence[Node],
    options: Options | None = None,
    time_axis: str | int | None = "auto",
) -> list[Node]:
    """Return the nodes of an adapter, ready for the counting rules.

    Parameters
    ----------
    nodes : sequence of Node
        In order of execution.
    options : Options, optional
        How to count.
    time_axis : {"auto", 1, None}, optional
        As in `timed_tensors`.

    Returns
    -------
    list of Node
        The same nodes with their time axes, the origin of their inputs, and the options.
    """
    timed = timed_tensors(nodes, time_axis)
    own_input = _input_tensors(nodes)
    complete: list[Node] = []
    producers: dict[int, Node] = {}
    for node in nodes:
        producer = producers.get(node.input_ids[0]) if node.input_ids else None
        done = replace(
            node,
            timed_inputs=tuple(not node.inside_time and t in timed for t in node.input_ids),
            timed_outputs=tuple(not node.inside_time and t in timed for t in node.output_ids),
            from_input=tuple(tensor in own_input for tensor in node.input_ids),
            behind_linear=producer is not None and _is_linear(producer),
            options=options or Options(),
        )
        complete.append(done)
        producers.update(dict.fromkeys(node.output_ids, done))
    return complete


def _is_linear(node: Node) -> bool:
    """Return whether the output of a node is that of a linear layer with weights."""
    kind = node.spec.kind
    if kind in OVER_TIME:
        return is_plain_linear(node.inner("layer", drop_time=True))
    if kind in ("BatchNormalization", "Dropout", "Identity") and node.behind_linear:
        return True
    return is_plain_linear(node)


def _input_tensors(nodes: Sequence[Node]) -> set[int]:
    """Return the tensors that hold the network's own input, at most rearranged."""
    produced = {tensor for node in nodes for tensor in node.output_ids}
    found: set[int] = set()
    for node in nodes:
        found |= set(node.input_ids) - produced
        if node.spec.kind == "InputLayer":
            found |= set(node.input_ids) | set(node.output_ids)
        elif node.input_ids and set(node.input_ids) <= found:
            timed = node.spec.kind in OVER_TIME
            kind = node.spec.inner("layer").kind if timed else node.spec.kind
            if kind in FREE:
                found |= set(node.output_ids)
    return found
