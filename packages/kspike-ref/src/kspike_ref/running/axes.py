"""Time and batch axes: which tensors of a graph share a time axis, and which have time first."""

from __future__ import annotations

from collections.abc import Iterable

from kspike_ref.layers.base import Layer
from kspike_ref.layers.shape import RepeatVector
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.running.graph import Graph, Node, Ref, pointwise, refs


class Axes:
    """The time axes of a graph.

    Axis 1 of a tensor is time if a temporal layer takes or returns the tensor, if the tensor is an
    input of unknown length, or if layers that treat positions of axis 1 independently connect it
    to such a tensor.

    Parameters
    ----------
    graph : Graph
        The model.

    Attributes
    ----------
    timed : set of Ref
        The tensors that have a time axis.
    time_major : set of Ref
        The tensors whose first axis is time and whose second axis is the batch.
    """

    def __init__(self, graph: Graph) -> None:
        timed: set[Ref] = set()
        time_major: set[Ref] = set()
        linked: list[set[Ref]] = []
        for i, node in enumerate(graph.nodes):
            inputs, outputs = node.layer.timed()
            own = {node.inputs[k] for k in inputs if k < len(node.inputs)}
            own |= {Ref(i, k) for k in outputs}
            timed |= own
            if has_time_first(node.layer):
                time_major |= own
            linked += _links(i, node, own)
        self._group = _groups(linked)
        self.timed, self.time_major = self._spread(timed), self._spread(time_major)

    def group(self, tensor: Ref) -> Ref:
        """Return the representative of all tensors that share the time axis of this one."""
        return self._group.get(tensor, tensor)

    def _spread(self, tensors: set[Ref]) -> set[Ref]:
        """Return tensors and all that share their time axes."""
        groups = {self.group(ref) for ref in tensors}
        return tensors | {ref for ref, group in self._group.items() if group in groups}

    def inputs(self, graph: Graph) -> list[Ref]:
        """Return the inputs that have a time axis."""
        inputs = [Ref(i, 0) for i, node in enumerate(graph.nodes) if not node.inputs]
        return [ref for ref in inputs if ref in self.timed]

    def repeated(self, graph: Graph) -> list[Ref]:
        """Return the vectors that a layer repeats along a time axis."""
        layers = enumerate(node.layer for node in graph.nodes)
        vectors = [Ref(i, 0) for i, layer in layers if isinstance(layer, RepeatVector)]
        return [ref for ref in vectors if ref in self.timed]


def repeats(graph: Graph, axes: Axes) -> int:
    """Return the number of steps for which the model repeats a vector; 1 if it does not."""
    nodes = [graph.nodes[ref.node] for ref in axes.repeated(graph)]
    return max((node.output_shapes[0][1] or 1 for node in nodes), default=1)


def has_time_first(layer: Layer) -> bool:
    """Return whether a layer, or one that it wraps, takes time as the first axis."""
    inner: Layer | None = layer
    while inner is not None:
        if getattr(inner, "time_major", False):
            return True
        inner = getattr(inner, "layer", None)
    return False


def _links(i: int, node: Node, own: set[Ref]) -> list[set[Ref]]:
    """Return the sets of tensors that share their axis 1 through a node."""
    if not node.inputs:
        return []
    if not isinstance(node.layer, StatefulLayer) and pointwise(node):
        return [{*node.inputs, *(Ref(i, k) for k in range(len(node.output_shapes)))}]
    if isinstance(node.layer, StatefulLayer):
        own = own | set(refs(node.keywords.get("mask")))
    return [own] if len(own) > 1 else []


def _groups(linked: Iterable[set[Ref]]) -> dict[Ref, Ref]:
    """Return the representative of its group for every linked tensor."""
    parent: dict[Ref, Ref] = {}

    def root(ref: Ref) -> Ref:
        while parent.setdefault(ref, ref) != ref:
            parent[ref] = parent[parent[ref]]
            ref = parent[ref]
        return ref

    for together in linked:
        first, *others = together
        for other in others:
            parent[root(other)] = root(first)
    return {ref: root(ref) for ref in parent}
