"""The graph of a model: nodes in execution order, and the tensors between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Shape


class Ref(NamedTuple):
    """A tensor: the index of its node, and of the output of that node."""

    node: int
    output: int


@dataclass(frozen=True, eq=False)
class Node:
    """One application of a layer. Nodes are compared and hashed by identity.

    Attributes
    ----------
    name : str
        The layer's name; ``outer/inner`` within a nested model.
    layer : Layer
        The layer that is applied.
    arguments : tuple
        The positional arguments of the call, with a `Ref` in place of every tensor.
    keywords : dict
        The keyword arguments, likewise.
    input_shapes, output_shapes : tuple of tuple
        The shapes, with None for the batch and for unknown lengths.
    sources : tuple of int
        The nodes that compute the inputs, in the order of ``input_shapes``.
    node_index : int
        The number of this application of the layer.
    """

    name: str
    layer: Layer
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    sources: tuple[int, ...]
    node_index: int

    @property
    def inputs(self) -> tuple[Ref, ...]:
        """The tensors that the node takes, in order."""
        return tuple(refs([list(self.arguments), self.keywords]))


@dataclass
class Graph:
    """A model's nodes, inputs and outputs.

    Attributes
    ----------
    name : str
        The model's name.
    nodes : list of Node
        In execution order, inputs first.
    inputs : str, list or dict
        The names of the inputs, in the model's own structure.
    outputs : Ref, list or dict
        The outputs, likewise.
    masks : dict of Ref to int
        The tensors that carry a mask of steps to use, and the mask's number of axes.
    """

    name: str
    nodes: list[Node] = field(default_factory=list)
    inputs: Any = None
    outputs: Any = None
    masks: dict[Ref, int] = field(default_factory=dict)


def names_of(nodes: Sequence[Node]) -> list[str]:
    """Return the names of applications: ``name``, and ``name:1`` for a layer's second one."""
    return [f"{one.name}:{one.node_index}" if one.node_index else one.name for one in nodes]


def structured(outputs: Any, values: Sequence[Any]) -> Any:
    """Return values in the structure of a graph's outputs."""
    rest = iter(values)
    return substitute(outputs, lambda _: next(rest))


def refs(value: Any) -> Iterator[Ref]:
    """Yield the tensors in nested arguments, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from refs(item)


def substitute(value: Any, tensor: Callable[[Ref], Any]) -> Any:
    """Return nested arguments with every tensor replaced."""
    if isinstance(value, Ref):
        return tensor(value)
    if isinstance(value, list):
        return [substitute(item, tensor) for item in value]
    if isinstance(value, tuple):
        return tuple(substitute(item, tensor) for item in value)
    if isinstance(value, dict):
        return {key: substitute(item, tensor) for key, item in value.items()}
    return value


def is_flat(node: Node) -> bool:
    """Return whether no tensor of a call is nested in an argument or passed by name."""
    return not node.keywords and sum(type(one) is Ref for one in node.arguments) == len(node.inputs)


def flat_arguments(node: Node, tensor: Callable[[Ref], Any]) -> Callable[[], list[Any]]:
    """Return a function that does what `substitute` does to the arguments of a flat call."""
    places = [(i, ref) for i, ref in enumerate(node.arguments) if type(ref) is Ref]

    def arguments() -> list[Any]:
        made = list(node.arguments)
        for i, ref in places:
            made[i] = tensor(ref)
        return made

    return arguments


def pointwise(node: Node) -> bool:
    """Return whether a node treats all positions of axis 1 independently and alike."""
    return not _mixes(node) and node.layer.pointwise(*_shapes(node))


def streams(node: Node) -> bool:
    """Return whether a node can run one time step at a time, from inputs with a time axis."""
    return not _mixes(node) and node.layer.streams(*_shapes(node))


def _shapes(node: Node) -> Any:
    shapes: dict[Ref, Any] = dict(zip(node.inputs, node.input_shapes, strict=True))
    return substitute(node.arguments, shapes.__getitem__)


def _mixes(node: Node) -> bool:
    """Return whether an option of the call makes a node mix positions."""
    options = [node.keywords.get(name) for name in node.layer.mixing_options]
    return any(option is not None and option is not False for option in options)
