"""From a parsed model to a list of nodes in the order in which they run.

Nested models are flattened: their nodes are named ``outer/inner``. A layer that is applied several
times has one node for each application, and its weights once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from kspike_ref._spec import MAX_NESTING, Leaf, Member, ModelSpec, leaf_of, leaves, map_leaves
from kspike_ref.archive import ArchiveError, Weights
from kspike_ref.layers.base import (
    Layer,
    Shape,
    UnsupportedLayerError,
    UnsupportedUseError,
    check_size,
)
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.wrapper import Fold, Unfold

_MAX_NODES = 10_000  # models that apply each other twice, many levels deep, grow exponentially
_IGNORED = ("training", "mask")  # arguments of a call that are checked and dropped


class Ref(NamedTuple):
    """A tensor: the node that makes it, and which of its outputs it is."""

    node: int
    output: int


@dataclass(frozen=True)
class Node:
    """One application of a layer.

    Attributes
    ----------
    name : str
        The layer's name; within a nested model ``outer/inner``.
    layer : Layer
        What is applied.
    arguments : tuple
        The positional arguments of the call, with a `Ref` for each tensor.
    keywords : dict
        The keyword arguments, likewise.
    input_shapes, output_shapes : tuple of tuple
        With None for the batch and for what is unknown.
    sources : tuple of int
        The nodes that make the inputs, in the order of ``input_shapes``.
    node_index : int
        Which application of the layer it is.
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
        """The tensors it takes, in order."""
        return tuple(refs([list(self.arguments), self.keywords]))


@dataclass
class Graph:
    """A model's nodes, and which tensors go in and come out.

    Attributes
    ----------
    name : str
        The model's name.
    nodes : list of Node
        In the order in which they run; the inputs first.
    inputs : str, list or dict
        The names of the inputs, in the model's own structure.
    outputs : Ref, list or dict
        The outputs, likewise.
    """

    name: str
    nodes: list[Node] = field(default_factory=list)
    inputs: Any = None
    outputs: Any = None


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
    """Return nested arguments with each tensor replaced."""
    if isinstance(value, Ref):
        return tensor(value)
    if isinstance(value, list):
        return [substitute(item, tensor) for item in value]
    if isinstance(value, tuple):
        return tuple(substitute(item, tensor) for item in value)
    if isinstance(value, dict):
        return {key: substitute(item, tensor) for key, item in value.items()}
    return value


def build(spec: ModelSpec, store: Weights) -> Graph:
    """Connect the layers of a model and load their weights.

    Parameters
    ----------
    spec : ModelSpec
        The parsed configuration.
    store : Weights
        The weights.

    Returns
    -------
    Graph
        Ready to run.

    Raises
    ------
    UnsupportedLayerError
        If layers are used in a way that is not supported; all of them are listed.
    ArchiveError
        If the connections, shapes or weights do not make sense.
    """
    builder = _Builder(spec.name, store)
    inputs = []
    for name, application, output in leaves(spec.inputs):
        member = spec.members.get(name)
        if member is None or not isinstance(member.layer, InputLayer) or application or output:
            raise ArchiveError(f"the input {name!r} is not an InputLayer")
        inputs += builder.apply(member, member.layer, (), {})
    outputs = builder.expand(spec, inputs)
    if builder.unsupported:
        raise UnsupportedLayerError(list(dict.fromkeys(builder.unsupported)))
    builder.graph.inputs = map_leaves(spec.inputs, lambda leaf: leaf[0])
    builder.graph.outputs = outputs
    return builder.graph


class _Builder:
    def __init__(self, name: str, store: Weights) -> None:
        self.graph = Graph(name)
        self.store = store
        self.unsupported: list[str] = []
        self.masked: set[Ref] = set()  # tensors that carry a mask in Keras
        self.applied: dict[int, int] = {}  # how often each layer was applied, by identity

    def expand(self, spec: ModelSpec, inputs: list[Ref]) -> Any:
        """Add the nodes of a model applied to tensors; return its outputs in its structure."""
        made: dict[tuple[str, int], list[Ref]] = {}
        names = [leaf[0] for leaf in leaves(spec.inputs)]
        if len(names) != len(inputs):
            raise ArchiveError(f"model {spec.name!r} takes {len(names)} inputs, not {len(inputs)}")
        for name, tensor in zip(names, inputs, strict=True):
            made[name, 0] = [tensor]
        for name, number in _order(spec):
            member = spec.members[name]
            arguments, keywords = _arguments(member.applications[number])
            find = _finder(made, name)
            arguments, keywords = _resolve(arguments, find), _resolve(keywords, find)
            made[name, number] = self.call(member, tuple(arguments), keywords)
        find = _finder(made, spec.name)
        return map_leaves(spec.outputs, find)

    def call(self, member: Member, arguments: tuple[Any, ...], keywords: Any) -> list[Ref]:
        """Apply a member, and return its outputs as a list."""
        self._check_keywords(member.name, keywords)
        if member.model is not None:
            if keywords or len(arguments) != 1:
                raise ArchiveError(f"model {member.name!r} must be called with its inputs only")
            tensors = list(leaves(map_leaves(arguments[0], _tensor_only)))
            if member.folds:
                return self._distributed(member, member.model, tensors)
            return list(leaves(self.expand(member.model, tensors)))
        assert member.layer is not None  # noqa: S101 (the parser has listed the others)
        return self.apply(member, member.layer, arguments, keywords)

    def _distributed(self, member: Member, model: ModelSpec, tensors: list[Ref]) -> list[Ref]:
        """Apply a model to every time step: fold time into the batch, and unfold it."""
        fold, unfold = (
            kind(f"{member.name}/{kind.verb}", "Reshape", {}) for kind in (Fold, Unfold)
        )
        place = Member(member.name, "-", [])
        folded = [self.apply(place, fold, (tensor,), {})[0] for tensor in tensors]
        outputs = leaves(self.expand(model, folded))
        return [self.apply(place, unfold, (y, tensors[0]), {})[0] for y in outputs]

    def apply(
        self, member: Member, layer: Layer, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> list[Ref]:
        """Add a node, and return its outputs."""
        nodes = self.graph.nodes
        if len(nodes) >= _MAX_NODES:
            raise ArchiveError(f"a model of more than {_MAX_NODES} nodes")
        shape_of = self._shape_of
        shapes = substitute(arguments, shape_of)
        named = substitute(dict(keywords), shape_of)
        taken = list(refs([list(arguments), keywords]))
        first = self.applied.setdefault(id(layer), 0)
        self.applied[id(layer)] += 1
        try:
            output = _sensible(layer.name, layer.output_shape, *shapes, **named)
            check_size(layer.name, output)
            if first == 0:
                _sensible(layer.name, layer.load, self.store, member.path, *shapes)
        except UnsupportedUseError as error:
            self.unsupported.append(f"{layer.name}: {error}")
            output = shapes[0] if shapes and isinstance(shapes[0], tuple) else (None,)
        outputs = output if isinstance(output, list) else [output]
        node = Node(
            layer.name, layer, arguments, keywords, tuple(shape_of(t) for t in taken),
            tuple(outputs), tuple(t.node for t in taken), first,
        )  # fmt: skip
        nodes.append(node)
        made = [Ref(len(nodes) - 1, i) for i in range(len(outputs))]
        if not self.masked.isdisjoint(taken) or layer.makes_mask:
            if layer.uses_mask:
                self.unsupported.append(f"{layer.name}: {layer.class_name} of inputs with a mask")
            self.masked.update(made)
        return made

    def _shape_of(self, tensor: Ref) -> Shape:
        return self.graph.nodes[tensor.node].output_shapes[tensor.output]

    def _check_keywords(self, name: str, keywords: dict[str, Any]) -> None:
        if keywords.pop("training", None):
            self.unsupported.append(f"{name}: called with training=True")
        if keywords.pop("mask", None) is not None:
            self.unsupported.append(f"{name}: called with a mask")
        for key in [key for key, value in keywords.items() if value is None]:
            del keywords[key]


def _sensible(name: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call what depends on a stranger's configuration; its failures are the archive's fault."""
    try:
        return function(*args, **kwargs)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        if isinstance(error, ArchiveError):
            raise
        raise ArchiveError(f"layer {name!r} does not fit its inputs {args}: {error}") from error


def _tensor_only(value: Any) -> Ref:
    if not isinstance(value, Ref):
        raise ArchiveError(f"a model must be applied to tensors. Received: {value!r:.80}")
    return value


def _arguments(application: Any) -> tuple[list[Any], dict[str, Any]]:
    if not isinstance(application, Mapping):
        raise ArchiveError(f"an inbound node must be an object. Received: {application!r:.80}")
    arguments, keywords = application.get("args"), application.get("kwargs")
    if not isinstance(arguments, list) or not isinstance(keywords, dict):
        raise ArchiveError("an inbound node must hold args and kwargs")
    return arguments, keywords


def _history(value: Any) -> Leaf | None:
    """Return which tensor a serialised argument is, or None if it is no tensor."""
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        return None
    config = value.get("config")
    leaf = leaf_of(config.get("keras_history")) if isinstance(config, Mapping) else None
    if leaf is None:
        raise ArchiveError(f"a tensor without history: {value!r:.80}")
    return leaf


def _resolve(value: Any, find: Callable[[Leaf], Ref], depth: int = 0) -> Any:
    """Return serialised arguments as Python values, with a `Ref` for each tensor."""
    if depth > MAX_NESTING:
        raise ArchiveError("arguments are nested too deeply")
    leaf = _history(value)
    if leaf is not None:
        return find(leaf)
    if isinstance(value, list):
        return [_resolve(item, find, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind == "__slice__" and isinstance(config, Mapping):
        return slice(config.get("start"), config.get("stop"), config.get("step"))
    if kind == "__ellipsis__":
        return Ellipsis
    if kind in ("__tensor__", "__numpy__") and isinstance(config, Mapping):
        try:
            return np.asarray(config.get("value"), dtype=str(config.get("dtype")))
        except (TypeError, ValueError) as error:
            raise ArchiveError(f"a constant that is no array: {error}") from None
    if kind is not None and "module" in value:
        raise ArchiveError(f"an argument that is neither tensor nor number: {value!r:.80}")
    return {key: _resolve(item, find, depth + 1) for key, item in value.items()}


def _finder(made: dict[tuple[str, int], list[Ref]], name: str) -> Callable[[Leaf], Ref]:
    def find(leaf: Leaf) -> Ref:
        outputs = made.get(leaf[:2], [])
        if leaf[2] >= len(outputs):
            raise ArchiveError(f"{name!r} takes a tensor that does not exist: {leaf}")
        return outputs[leaf[2]]

    return find


def _dependencies(value: Any, depth: int = 0) -> Iterator[tuple[str, int]]:
    if depth > MAX_NESTING:
        raise ArchiveError("arguments are nested too deeply")
    leaf = _history(value)
    if leaf is not None:
        yield leaf[:2]
    elif isinstance(value, list | dict):
        for item in value if isinstance(value, list) else value.values():
            yield from _dependencies(item, depth + 1)


def _order(spec: ModelSpec) -> list[tuple[str, int]]:
    """Return the applications that the outputs need, each after those it depends on."""
    if spec.order is not None:
        return spec.order
    given = {(leaf[0], 0) for leaf in leaves(spec.inputs)}
    needs: dict[tuple[str, int], list[tuple[str, int]]] = {}
    pending = [leaf[:2] for leaf in leaves(spec.outputs)]
    while pending:
        at = pending.pop()
        if at in needs or at in given:
            continue
        member = spec.members.get(at[0])
        if member is None or at[1] >= len(member.applications):
            raise ArchiveError(f"the model needs {at}, which does not exist")
        arguments, keywords = _arguments(member.applications[at[1]])
        needs[at] = list(dict.fromkeys(_dependencies([arguments, keywords])))
        pending += needs[at]
    position = {name: i for i, name in enumerate(spec.members)}
    waiting = sorted(needs, key=lambda at: (position[at[0]], at[1]))
    spec.order = _sorted_by_need(waiting, needs, given)
    return spec.order


def _sorted_by_need(
    waiting: list[tuple[str, int]],
    needs: dict[tuple[str, int], list[tuple[str, int]]],
    given: set[tuple[str, int]],
) -> list[tuple[str, int]]:
    """Return an order in which everything comes after what it needs (Kahn, 1962)."""
    users: dict[tuple[str, int], list[tuple[str, int]]] = {}
    missing = {}
    for at in waiting:
        open_needs = [need for need in needs[at] if need not in given]
        missing[at] = len(open_needs)
        for need in open_needs:
            users.setdefault(need, []).append(at)
    ready = [at for at in waiting if missing[at] == 0]
    for at in ready:
        for user in users.get(at, []):
            missing[user] -= 1
            if missing[user] == 0:
                ready.append(user)
    if len(ready) < len(waiting):
        left = next(at for at in waiting if missing[at])
        raise ArchiveError(f"the model's graph has a cycle through {left[0]!r}")
    return ready
