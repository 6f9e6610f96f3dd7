"""Keras models as flat lists of applied layers, without nesting."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

import keras

from kspike_energy.adapters.keras_graph import is_graph

Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Ref:
    """A reference to a tensor of a graph, in the arguments of a node."""

    number: int


@dataclasses.dataclass(eq=False)
class Node:
    """A layer or operation applied to tensors.

    Attributes
    ----------
    layer : keras.Operation
        Layer or operation.
    name : str
        Name of the layer, prefixed with those of the models that contain it.
    args, kwargs : list, dict
        Arguments of the call, with `Ref` in place of tensors.
    outputs : list of int
        Numbers of the tensors that it produces.
    label : str
        Name of the layer of the ordinary model that it stands for.
    """

    layer: Any
    name: str
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[int]
    label: str

    @property
    def inputs(self) -> list[int]:
        """Numbers of the tensors that it reads."""
        return [each.number for each in _refs((self.args, self.kwargs))]

    def call(self, layer: Any, tensors: dict[int, Any], **options: Any) -> Any:
        """Apply a layer to the tensors that this node reads."""

        def filled(each: Any) -> Any:
            return tensors[each.number] if isinstance(each, Ref) else each

        args, kwargs = keras.tree.map_structure(filled, (self.args, self.kwargs))
        return layer(*args, **kwargs, **options)


@dataclasses.dataclass(eq=False)
class Graph:
    """The applied layers of a model, in an order of computation.

    Attributes
    ----------
    nodes : list of Node
        Applied layers.
    inputs : list of int
        Numbers of the model's inputs, in Keras' order.
    outputs : structure of Ref
        The model's outputs, in its own structure.
    specs : dict of int to keras.KerasTensor
        Shape, dtype and name of every tensor.
    name : str
        Name of the model.
    input_structure : structure of Ref
        The model's inputs, in its own structure.
    """

    nodes: list[Node]
    inputs: list[int]
    outputs: Any
    specs: dict[int, Any]
    name: str
    input_structure: Any

    def new_tensor(self, like: int) -> int:
        """Add a tensor with the shape and dtype of another."""
        number = max(self.specs) + 1
        old = self.specs[like]
        self.specs[number] = keras.KerasTensor(old.shape, dtype=old.dtype)
        return number

    def shape(self, number: int) -> Shape:
        """Return the shape of a tensor, with its batch axis."""
        return tuple(self.specs[number].shape)

    def output_numbers(self) -> list[int]:
        """Return the numbers of the outputs."""
        return [each.number for each in _refs(self.outputs)]

    def producers(self) -> dict[int, Node]:
        """Return the node that produces each tensor; inputs have none."""
        return {number: node for node in self.nodes for number in node.outputs}

    def consumers(self) -> dict[int, list[Node]]:
        """Return the nodes that read each tensor."""
        found: dict[int, list[Node]] = {number: [] for number in self.specs}
        for node in self.nodes:
            for number in dict.fromkeys(node.inputs):
                found[number].append(node)
        return found

    def is_only_for(self, number: int, node: Node) -> bool:
        """Return whether one node, and nothing else, reads a tensor."""
        readers = self.consumers()[number]
        return readers == [node] and number not in self.output_numbers()

    def applications(self, layer: Any) -> list[Node]:
        """Return the nodes that apply a layer."""
        return [node for node in self.nodes if node.layer is layer]

    def replace(self, old: int, new: int) -> None:
        """Make all readers of one tensor read another."""

        def swap(each: Any) -> Any:
            return Ref(new) if isinstance(each, Ref) and each.number == old else each

        for node in self.nodes:
            node.args, node.kwargs = keras.tree.map_structure(swap, (node.args, node.kwargs))
        self.outputs = keras.tree.map_structure(swap, self.outputs)

    def upstream(self, starts: Iterable[Node]) -> set[Node]:
        """Return nodes, and all nodes whose results they need."""
        producers, found = self.producers(), set()
        waiting = list(starts)
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += [producers[n] for n in node.inputs if n in producers]
        return found

    def downstream(self, starts: Iterable[Node]) -> set[Node]:
        """Return nodes, and all nodes that need their results."""
        reached = set(starts)
        touched = {number for node in reached for number in node.outputs}
        for node in self.nodes:
            if touched.intersection(node.inputs):
                reached.add(node)
                touched.update(node.outputs)
        return reached


def _refs(structure: Any) -> list[Ref]:
    return [each for each in keras.tree.flatten(structure) if isinstance(each, Ref)]


def read_graph(model: keras.Model) -> Graph:
    """Return the graph of a model, with the layers of nested models in place of those models.

    Parameters
    ----------
    model : keras.Model
        Sequential or Functional model. It is not changed.

    Raises
    ------
    TypeError
        If the model is neither.
    ValueError
        If it is a Sequential model that was not built.
    """
    if not is_graph(model):
        raise TypeError(
            "model must be a Sequential or Functional Keras model; the layers of a subclassed one, "
            f"or of one with its own call, cannot be read. Received: model={model!r}"
        )
    if not model.built:
        raise ValueError(
            f"model must have been built: give it an Input, or call it once. Received: {model!r}"
        )
    reader = _Reader()
    view = _functional(model)
    inputs = keras.tree.map_structure(reader.tensor, view.input)
    outputs = reader.read(view, "", inputs)
    return Graph(
        nodes=reader.nodes,
        inputs=[each.number for each in keras.tree.flatten(inputs)],
        outputs=outputs,
        specs=reader.specs,
        name=model.name,
        input_structure=inputs,
    )


def _functional(model: Any) -> Any:
    """Return a Functional model of the same layers, with a structure of inputs and outputs."""
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0])
    return keras.Model(model.input, model.output)


class _Applied(keras.Operation):
    """Stands for a layer while a graph is read, so that the layer itself is not applied again."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(*args, **kwargs)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer(*args, **kwargs)


def _chosen(layer: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call without a ``training=True`` that Keras filled in.

    It does so for augmentation layers, whose ``call`` has that default.
    """
    parameter = inspect.signature(layer.call).parameters.get("training")
    filled_in = parameter is not None and parameter.default is True
    return {k: v for k, v in kwargs.items() if not (filled_in and k == "training" and v is True)}


class _Reader:
    """Collects applied layers: Keras clones the graph, and a callback sees every call."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.specs: dict[int, Any] = {}
        self._known: dict[int, Ref] = {}  # by the identity of tensors
        self._alive: list[Any] = []  # an identity is only valid while its tensor lives

    def tensor(self, tensor: Any) -> Ref:
        """Return the reference to a tensor; create one at its first use."""
        if id(tensor) not in self._known:
            self.specs[len(self.specs)] = tensor
            self._known[id(tensor)] = Ref(len(self.specs) - 1)
        return self._known[id(tensor)]

    def read(self, view: Any, prefix: str, inputs: Any) -> Any:
        """Collect the layers of a Functional model; return its outputs, in its structure."""
        starts = keras.tree.map_structure(
            lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name), view.input
        )
        pairs = zip(keras.tree.flatten(starts), keras.tree.flatten(inputs), strict=True)
        for start, ref in pairs:
            self._keep(start, ref)

        def see(layer: Any, *args: Any, **kwargs: Any) -> Any:
            outputs = _Applied(layer)(*args, **kwargs)
            args, kwargs = keras.tree.map_structure(self._ref, (list(args), _chosen(layer, kwargs)))
            name = f"{prefix}{layer.name}"
            if is_graph(layer):
                given = args[0] if args else kwargs["inputs"]
                inner = self.read(_functional(layer), f"{name}_", given)
                made, refs = keras.tree.flatten(outputs), keras.tree.flatten(inner)
                for tensor, ref in zip(made, refs, strict=True):
                    self._keep(tensor, ref)
            else:
                numbers = [self.tensor(t).number for t in keras.tree.flatten(outputs)]
                self.nodes.append(Node(layer, name, list(args), kwargs, numbers, label=name))
            return outputs

        clone = keras.models.clone_model(
            view, input_tensors=starts, clone_function=lambda layer: layer, call_function=see
        )
        return keras.tree.map_structure(self._ref, clone.output)

    def _keep(self, tensor: Any, ref: Ref) -> None:
        self._known[id(tensor)] = ref
        self._alive.append(tensor)

    def _ref(self, each: Any) -> Any:
        return self.tensor(each) if isinstance(each, keras.KerasTensor) else each
