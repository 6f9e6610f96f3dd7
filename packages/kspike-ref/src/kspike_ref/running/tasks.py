"""Tasks: the nodes of a graph with their properties, known before a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kspike_ref.layers.recurrent import RNN
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.layers.temporal import SpikingActivation
from kspike_ref.layers.temporal_cells import SpikingActivationCell
from kspike_ref.running.graph import Graph, Node, Ref, pointwise, refs


@dataclass(frozen=True)
class Task:
    """A node to run, with its properties.

    Attributes
    ----------
    index : int
        The number of the node.
    node : Node
        The node.
    inputs, outputs, frees : tuple of Ref
        Its inputs, its outputs, and the inputs that no later task uses.
    is_plain, is_pointwise, is_stateful : bool
        Whether it takes only tensors and returns one; whether it treats positions of axis 1
        independently and in the same way; and whether it has a state.
    is_carried, is_stepped : bool
        Whether, in a stream, its state continues from step to step, and whether it takes single
        steps.
    takes_spikes : bool
        Whether its inputs are spikes.
    is_masked, makes_mask, listens : bool
        Whether an input or output carries a mask, whether the output does, and whether the layer
        applies one.
    """

    index: int
    node: Node
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]
    frees: tuple[Ref, ...]
    is_plain: bool
    is_pointwise: bool
    is_stateful: bool
    is_carried: bool
    is_stepped: bool
    takes_spikes: bool
    is_masked: bool
    makes_mask: bool
    listens: bool


class LayerCallError(Exception):
    """Raised if a layer does not take its inputs; `told` returns the error for the user.

    Parameters
    ----------
    node : Node
        The layer's application.
    error : Exception
        The exception that it raised.
    """

    def __init__(self, node: Node, error: Exception) -> None:
        super().__init__(node.name, error)
        self.node, self.error = node, error

    def told(self, shapes: Sequence[tuple[int, ...]]) -> ValueError | TypeError:
        """Return an error for the caller, whose inputs have these shapes."""
        name, kind = self.node.name, self.node.layer.class_name
        given = " and ".join(map(str, shapes))
        message = f"layer {name!r} ({kind}) does not take x of shape {given}: {self.error}"
        return (TypeError if isinstance(self.error, TypeError) else ValueError)(message)


def is_of_inputs(error: Exception) -> bool:
    """Return whether NumPy, Numba or Python raise such an error for unsuitable arrays."""
    kinds = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError)
    return isinstance(error, kinds) or type(error).__module__.startswith("numba")


def tasks_of(graph: Graph, carried: frozenset[int], stepped: frozenset[int]) -> list[Task]:
    """Return the tasks of a graph, in order.

    Parameters
    ----------
    graph : Graph
        The model.
    carried, stepped : frozenset of int
        The nodes that carry a state, and those that take single steps, if the model streams.
    """
    last: dict[Ref, int] = {}
    for index, node in enumerate(graph.nodes):
        last |= dict.fromkeys(node.inputs, index)
    for ref in refs(graph.outputs):
        last.pop(ref, None)
    spikes, masked = _spikes(graph), set(graph.masks)
    tasks = []
    for index, node in enumerate(graph.nodes):
        if isinstance(node.layer, InputLayer):
            continue
        inputs = node.inputs
        has_mask = not masked.isdisjoint([*inputs, Ref(index, 0)]) or "mask" in node.keywords
        tasks.append(
            Task(
                index,
                node,
                inputs,
                tuple(Ref(index, k) for k in range(len(node.output_shapes))),
                tuple(dict.fromkeys(ref for ref in inputs if last.get(ref) == index)),
                _is_plain(node),
                pointwise(node),
                isinstance(node.layer, StatefulLayer),
                index in carried,
                index in stepped,
                not spikes.isdisjoint(inputs),
                has_mask,
                Ref(index, 0) in masked,
                _listens(node),
            )
        )
    return tasks


def _is_plain(node: Node) -> bool:
    """Return whether a node takes only tensors, by position, and returns one."""
    if node.keywords or len(node.output_shapes) > 1:
        return False
    given = [one for value in node.arguments for one in (value if type(value) is list else [value])]
    return bool(given) and all(isinstance(one, Ref) for one in given)


def _listens(node: Node) -> bool:
    """Return whether a layer gets a mask, from its input or from its call."""
    holding = [value for value in (*node.arguments, *node.keywords.values()) if any(refs(value))]
    return "mask" in node.keywords or node.layer.hears(len(holding))


def _spikes(graph: Graph) -> set[Ref]:
    """Return the tensors that hold spikes, and so are mostly zero."""
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
