"""Completion of nodes with properties that follow from the graph."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from kspike_energy.counting.nodes import Node
from kspike_energy.counting.rules.table import FREE, unwrapped
from kspike_energy.counting.rules.units import is_plain_linear
from kspike_energy.counting.time_axis import timed_tensors
from kspike_energy.settings import Options

__all__ = ["complete_nodes"]


def complete_nodes(
    nodes: Sequence[Node],
    options: Options | None = None,
    time_axis: str | int | None = "auto",
) -> list[Node]:
    """Return the nodes of an adapter, in order, with all that follows from the graph.

    These are their time axes, the origin of their inputs, and the options.
    """
    nodes = _with_masks(nodes)
    timed = timed_tensors(nodes, time_axis)
    own_input = _input_tensors(nodes)
    alone = _tensors_of_one_layer(nodes)
    complete: list[Node] = []
    producers: dict[int, Node] = {}
    for node in nodes:
        first = node.input_ids[0] if node.input_ids else None
        producer = producers.get(first) if first in alone else None
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


def _with_masks(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes, and mark those whose outputs are used only as masks."""
    signals = {t for node in nodes if node.returned for t in node.output_ids}
    masks: set[int] = set()
    marked = []
    for node in reversed(nodes):
        outputs = set(node.output_ids)
        only_mask = bool(outputs & masks) and not outputs & signals and not node.returned
        only_mask = only_mask and node.spec.kind != "InputLayer"
        (masks if only_mask else signals).update(node.input_ids)
        masks.update(node.mask_ids)
        marked.append(replace(node, only_mask=only_mask))
    return marked[::-1]


def _tensors_of_one_layer(nodes: Sequence[Node]) -> set[int]:
    """Return the tensors with a single consumer, the same for every use of the producing layer.

    If another layer reads a tensor, or the model returns it, then the next layer cannot be folded
    into the producing one.
    """
    readers: dict[int, list[int]] = defaultdict(list)
    tensors: dict[int, list[int]] = defaultdict(list)
    for node in nodes:
        for tensor in (*node.input_ids, *node.mask_ids):
            readers[tensor].append(_identity(node))
        tensors[_identity(node)] += node.output_ids
        if node.returned:
            for tensor in node.output_ids:
                readers[tensor].append(0)
    return {
        tensor
        for outputs in tensors.values()
        for tensor in outputs
        if all(len(readers[t]) == 1 and readers[t] == readers[outputs[0]] for t in outputs)
    }


def _identity(node: Node) -> int:
    """Return a number that all applications of a layer share."""
    return id(node if node.spec.layer is None else node.spec.layer)


def _is_linear(node: Node) -> bool:
    """Return whether the output of a node is that of a linear layer with weights."""
    if node.spec.kind in ("BatchNormalization", "Dropout", "Identity") and node.behind_linear:
        return True
    return is_plain_linear(unwrapped(node))


def _input_tensors(nodes: Sequence[Node]) -> set[int]:
    """Return the tensors that hold the network's own input, possibly rearranged."""
    produced = {tensor for node in nodes for tensor in node.output_ids}
    found: set[int] = set()
    for node in nodes:
        found |= set(node.input_ids) - produced
        if node.spec.kind == "InputLayer":
            found |= set(node.input_ids) | set(node.output_ids)
        elif node.input_ids and set(node.input_ids) <= found and unwrapped(node).spec.kind in FREE:
            found |= set(node.output_ids)
    return found
