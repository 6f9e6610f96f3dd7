"""Construction of graphs: nodes in execution order, with their weights.

Nested models are flattened: their nodes are named ``outer/inner``. A layer that is applied several
times has one node per application, and one set of weights.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import (
    SavedElsewhereError,
    Shape,
    UnsupportedLayerError,
    UnsupportedUseError,
    check_size,
)
from kspike_ref.layers.loading import load_part
from kspike_ref.layers.shape import InputLayer
from kspike_ref.layers.wrapper import Carrier, Fold, Unfold
from kspike_ref.running.graph import Graph, Node, Ref, refs, substitute
from kspike_ref.saved.applications import arguments_of, order_of, resolve
from kspike_ref.saved.archive import Weights
from kspike_ref.saved.calls import (
    check_call,
    guarded,
    in_keras_form,
    in_order,
    tensors_in,
    without_options,
)
from kspike_ref.saved.config import Leaf, Member, ModelSpec
from kspike_ref.saved.errors import ArchiveError
from kspike_ref.saved.limits import MAX_NODES
from kspike_ref.saved.structure import leaves, map_leaves


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
        The graph, ready to run.

    Raises
    ------
    UnsupportedLayerError
        If layers are used in a way that is not supported; the error lists all of them.
    ArchiveError
        If connections, shapes or weights do not fit.
    """
    builder = _Builder(spec.name, store)
    inputs = []
    for name, application, output in leaves(spec.inputs):
        member = spec.members.get(name)
        if member is None or not isinstance(member.layer, InputLayer) or application or output:
            raise ArchiveError(f"the input {name!r} is not an InputLayer")
        inputs += builder.apply(member, member.layer, (), {})
    try:
        outputs = builder.expand(spec, inputs)
        builder.load_the_rest()
    except ArchiveError:
        if not builder.unsupported:
            raise
        outputs = None  # layers after an unsupported one do not fit their inputs
    if builder.unsupported:
        raise UnsupportedLayerError(list(dict.fromkeys(builder.unsupported)))
    store.check_all_read()
    builder.number()
    builder.graph.inputs = _bare(map_leaves(spec.inputs, lambda leaf: leaf[0]))
    builder.graph.outputs = _bare(outputs)
    return builder.graph


def _bare(structure: Any) -> Any:
    """Unwrap a list of one item, as Keras' Functional models do with inputs and outputs."""
    return structure[0] if isinstance(structure, list) and len(structure) == 1 else structure


_Around = Carrier | Fold | Unfold  # layers that are inserted around a model


class _Builder:
    """A graph under construction."""

    def __init__(self, name: str, store: Weights) -> None:
        self.graph = Graph(name)
        self.store = store
        self.unsupported: list[str] = []
        self.unknown: set[int] = set()  # nodes with unknown shapes, after unsupported ones
        self.applied: dict[int, int] = {}  # number of applications of every layer, by id
        self.at: tuple[int, ...] = ()  # numbers of this application, and of the models around it
        self.places: list[tuple[int, ...]] = []  # the same for every node
        self.dropped: set[Ref] = set()  # tensors whose masks a layer dropped
        self.own: dict[tuple[int, type[_Around]], Layer] = {}  # inserted layers, which no file has
        # Layers that hold shared layers, with their loading, which waits for the others.
        self.waiting: dict[int, list[Callable[[], Any]]] = {}

    def expand(self, spec: ModelSpec, inputs: list[Ref]) -> Any:
        """Add the nodes of a model applied to tensors; return its outputs in its structure."""
        made: dict[tuple[str, int], list[Ref]] = {}
        names = [leaf[0] for leaf in leaves(spec.inputs)]
        if len(names) != len(inputs):
            raise ArchiveError(f"model {spec.name!r} takes {len(names)} inputs, not {len(inputs)}")
        for name, tensor in zip(names, inputs, strict=True):
            made[name, 0] = [tensor]
        for name, number in order_of(spec):
            member = spec.members[name]
            arguments, keywords = arguments_of(member.applications[number])
            find = self._finder(made, name)
            arguments = [resolve(value, find) for value in arguments]
            keywords = {key: resolve(value, find) for key, value in keywords.items()}
            outer, self.at = self.at, (*self.at, number)
            made[name, number] = self.call(member, tuple(arguments), keywords)
            self.at = outer
        find = self._finder(made, spec.name)
        return map_leaves(spec.outputs, find)

    def number(self) -> None:
        """Assign Keras' numbers to the nodes of every layer, whatever their execution order."""
        nodes = self.graph.nodes
        counts: dict[int, int] = {}
        for i in sorted(range(len(nodes)), key=self.places.__getitem__):
            index = counts.setdefault(id(nodes[i].layer), 0)
            counts[id(nodes[i].layer)] += 1
            nodes[i] = replace(nodes[i], node_index=index)

    def call(self, member: Member, arguments: tuple[Any, ...], keywords: Any) -> list[Ref]:
        """Apply a member and return its outputs as a list."""
        if member.model is not None:
            return self._call_model(member, member.model, arguments, keywords)
        assert member.layer is not None  # noqa: S101 (the parser has listed the others)
        arguments, keywords = in_keras_form(member.layer, arguments, keywords)
        keywords, reasons = without_options(member, keywords)
        self.unsupported += reasons
        return self.apply(member, member.layer, arguments, keywords)

    def _call_model(
        self, member: Member, model: ModelSpec, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> list[Ref]:
        keywords, reasons = without_options(member, keywords)
        self.unsupported += reasons
        masks = list(leaves(keywords.pop("mask", None)))
        if keywords or len(arguments) != 1:
            raise ArchiveError(f"model {member.name!r} must be called with its inputs only")
        tensors = self._with_masks(member, tensors_in(arguments[0]), masks)
        if member.folds:
            return self._distributed(member, model, tensors)
        return list(leaves(self.expand(model, tensors)))

    def _with_masks(self, member: Member, tensors: list[Ref], masks: list[Any]) -> list[Ref]:
        """Return a model's inputs with the masks of the call attached."""
        place, carried = Member(member.name, "-", []), []
        for tensor, mask in itertools.zip_longest(tensors, masks[: len(tensors)]):
            if mask is None:
                carried.append(tensor)
                continue
            carrier = self._own(member, Carrier, "Identity")
            carried += self.apply(place, carrier, (tensor,), {"mask": mask})
        return carried

    def _distributed(self, member: Member, model: ModelSpec, tensors: list[Ref]) -> list[Ref]:
        """Apply a model to every time step: fold time into the batch, then unfold it."""
        fold, unfold = (self._own(member, kind, "Reshape") for kind in (Fold, Unfold))
        place = Member(member.name, "-", [])
        folded = [self.apply(place, fold, (tensor,), {})[0] for tensor in tensors]
        outputs = leaves(self.expand(model, folded))
        return [self.apply(place, unfold, (y, tensors[0]), {})[0] for y in outputs]

    def _own(self, member: Member, kind: type[_Around], class_name: str) -> Layer:
        """Return the inserted layer of a kind for a model, the same for all applications."""
        key = (id(member), kind)
        if key not in self.own:
            self.own[key] = kind(f"{member.name}/{kind.verb}", class_name, {})
        return self.own[key]

    def apply(
        self, member: Member, layer: Layer, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> list[Ref]:
        """Add a node and return its outputs."""
        nodes = self.graph.nodes
        if len(nodes) >= MAX_NODES:
            raise ArchiveError(f"the model has more than {MAX_NODES} nodes")
        arguments, keywords = in_order(layer, arguments, keywords)
        shape_of = self._shape_of
        shapes = substitute(arguments, shape_of)
        named = substitute({k: v for k, v in keywords.items() if k != "mask"}, shape_of)
        taken = list(refs([list(arguments), keywords]))
        first = self.applied.setdefault(id(layer), 0)
        self.applied[id(layer)] += 1
        axes = None
        output: Any = shapes[0] if shapes and isinstance(shapes[0], tuple) else (None,)
        if not self.unknown.isdisjoint(ref.node for ref in taken):
            self.unknown.add(len(nodes))
        else:
            try:
                output, axes = self._checked(member, layer, arguments, keywords, shapes, named)
            except UnsupportedUseError as error:
                self.unsupported.append(f"{layer.name}: {error}")
                self.unknown.add(len(nodes))
        outputs = output if isinstance(output, list) else [output]
        node = Node(
            layer.name, layer, arguments, keywords, tuple(shape_of(t) for t in taken),
            tuple(outputs), tuple(t.node for t in taken), first,
        )  # fmt: skip
        nodes.append(node)
        self.places.append(self.at)
        if layer.drops_masks:
            self.dropped |= set(refs(list(arguments)))
        made = [Ref(len(nodes) - 1, i) for i in range(len(outputs))]
        if axes is not None:
            self.graph.masks |= dict.fromkeys(made[: layer.masked_outputs], axes)
        return made

    def _checked(
        self,
        member: Member,
        layer: Layer,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        shapes: tuple[Any, ...],
        named: dict[str, Any],
    ) -> tuple[Any, int | None]:
        """Return the shape of a node's output and the axes of its mask; load a new layer."""
        if not isinstance(layer, InputLayer):  # shapes may fit although the call does not
            check_call(layer, shapes, named)
        output = guarded(layer.name, layer.output_shape, *shapes, **named)
        check_size(layer.name, output)
        if not any(refs([list(arguments), keywords])) and not isinstance(layer, InputLayer):
            raise ArchiveError(f"layer {layer.name!r} must be called with a tensor of the model")
        self._load(member, layer, shapes)
        given = self._mask_axes(arguments, keywords)
        options = named if layer.takes_all_masks else {}
        return output, guarded(layer.name, layer.mask_axes, given, *shapes, **options)

    def _load(self, member: Member, layer: Layer, shapes: tuple[Any, ...]) -> None:
        """Load a layer at its first application; check the shapes of later ones."""
        if self.applied[id(layer)] > 1:
            job = partial(guarded, layer.name, layer.check_again, *shapes)
            if id(layer) in self.waiting:
                self.waiting[id(layer)].append(job)
            else:
                job()
            return
        job = partial(guarded, layer.name, load_part, layer, self.store, member.path, *shapes)
        try:
            job()
        except SavedElsewhereError:
            self.waiting[id(layer)] = [job]

    def load_the_rest(self) -> None:
        """Load the layers that hold layers whose weights are saved elsewhere."""
        self.store.is_last_chance = True
        for job in [job for jobs in self.waiting.values() for job in jobs]:
            try:
                job()
            except UnsupportedUseError as error:
                self.unsupported.append(str(error))

    def _mask_axes(self, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Return the number of axes of every argument's mask, None for no mask."""
        given = substitute(arguments, self._carried)
        if "mask" not in keywords:
            return given
        axes = map_leaves(
            keywords["mask"], lambda mask: None if mask is None else len(self._shape_of(mask))
        )
        return (axes, *given[1:])

    def _carried(self, tensor: Ref) -> int | None:
        """Return the number of axes of a tensor's mask, None for no mask."""
        return None if tensor in self.dropped else self.graph.masks.get(tensor)

    def _finder(self, made: dict[tuple[str, int], list[Ref]], name: str) -> Callable[[Leaf], Ref]:
        def find(leaf: Leaf) -> Ref:
            outputs = made.get(leaf[:2], [])
            if outputs and outputs[0].node in self.unknown:
                return outputs[0]
            if leaf[2] >= len(outputs):
                raise ArchiveError(f"{name!r} takes a tensor that does not exist: {leaf}")
            return outputs[leaf[2]]

        return find

    def _shape_of(self, tensor: Ref) -> Shape:
        return self.graph.nodes[tensor.node].output_shapes[tensor.output]
