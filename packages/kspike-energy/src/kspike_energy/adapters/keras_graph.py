"""A walk through the graph of a Keras model, on symbolic tensors or on data.

It relies on private attributes of Keras' Functional models: ``_inputs``, ``_outputs``,
``_inputs_struct``, ``_outputs_struct`` and ``_nodes_by_depth``, and ``_functional`` of Sequential
models. Keras 3.8 to 3.15 have all of them. Keras has no public way to call the operations of a
model one by one.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from kspike_energy.adapters.base import is_mask, positional_names
from kspike_energy.adapters.keras_layers import class_kind
from kspike_energy.counting.nodes import Shape
from kspike_energy.counting.rules.linear import einsum_output
from kspike_energy.counting.rules.table import OVER_TIME

__all__ = [
    "Run",
    "Stand",
    "Visit",
    "functional",
    "is_graph",
    "output_shapes",
    "shape_of",
    "signals_of",
    "walk",
]


def shape_of(tensor: Any) -> Shape:
    """Return the shape of a symbolic tensor, with None for open lengths."""
    return tuple(None if length is None else int(length) for length in tensor.shape)


def output_shapes(operation: Any, inputs: list[Shape], outputs: list[Any]) -> list[Shape]:
    """Return the outputs' shapes, including known lengths that EinsumDense leaves open."""
    if isinstance(operation, keras.layers.EinsumDense):
        return [einsum_output(operation.equation, inputs[0], outputs[0].shape)]
    return [shape_of(tensor) for tensor in outputs]


class Stand:
    """Shape inference: fresh symbolic tensors stand in for values."""

    def __init__(self) -> None:
        # By the id of a tensor that enters or leaves time: the tensor, and its counterpart.
        self._same: dict[int, tuple[Any, Any]] = {}

    def identity(self, tensor: Any) -> int:
        """Return a signal's identity, shared by the whole sequence and its single time steps."""
        while id(tensor) in self._same:
            tensor = self._same[id(tensor)][1]
        return id(tensor)

    def _is(self, tensor: Any, same: Any) -> Any:
        self._same[id(tensor)] = (tensor, same)  # kept alive, so that its id stays unique
        return tensor

    def call(self, operation: Any, node: Any, args: Any, kwargs: Any) -> Any:
        """Return symbolic outputs."""
        given = [shape_of(t) for t in keras.tree.flatten((args, kwargs)) if _is_symbolic(t)]
        outputs = node.outputs
        if given != [shape_of(t) for t in node.input_tensors]:
            # A nested model called with another shape, or a length that the model leaves open.
            outputs = operation.compute_output_spec(*args, **kwargs)
        made = keras.tree.flatten(outputs)
        shapes = output_shapes(operation, given, made)
        return [
            keras.KerasTensor(shape, dtype=tensor.dtype)
            for shape, tensor in zip(shapes, made, strict=True)
        ]

    def enter_time(self, value: Any) -> Any:
        """Return a signal at one time step."""
        step = keras.KerasTensor((None, *value.shape[2:]), dtype=value.dtype)
        return self._is(step, value)

    def leave_time(self, value: Any, like: Any) -> Any:
        """Return a signal at all time steps of ``like``."""
        steps = keras.KerasTensor((*like.shape[:2], *value.shape[1:]), dtype=value.dtype)
        return self._is(steps, value)


class Run:
    """Execution of the operations on data."""

    def call(self, operation: Any, node: Any, args: Any, kwargs: Any) -> Any:
        """Return the outputs in inference mode."""
        if getattr(operation, "_call_has_training_arg", False):
            kwargs = {**kwargs, "training": False}
        return operation(*args, **kwargs)

    def enter_time(self, value: Any) -> Any:
        """Fold the time steps of a signal into the batch."""
        return keras.ops.reshape(value, (-1, *value.shape[2:]))

    def leave_time(self, value: Any, like: Any) -> Any:
        """Unfold a signal into the batch and the time steps of ``like``."""
        return keras.ops.reshape(value, (*like.shape[:2], *value.shape[1:]))


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def functional(model: Any) -> Any:
    """Return the Functional model behind a model."""
    return model._functional if isinstance(model, keras.Sequential) else model


def is_graph(layer: Any) -> bool:
    """Return whether a layer is a Functional or Sequential model, whose layers can be read.

    A subclass with its own ``call`` is not: it may compute something else.
    """
    calls = next((cls for cls in type(layer).__mro__ if "call" in vars(cls)), object)
    return calls is keras.Sequential or calls.__name__ == "Functional"


@dataclass(frozen=True)
class Visit:
    """One operation of a walk, with symbolic tensors or data in place of its tensors.

    Parameters
    ----------
    name : str
        Name of the operation, prefixed with the names of the enclosing models.
    node : object
        Keras' node.
    inputs, outputs : list
        Values of its signals.
    masks : sequence
        Values of its masks.
    arguments : tuple
        All arguments.
    inside_time : bool
        Whether an enclosing model runs at every time step.
    """

    name: str
    node: Any
    inputs: list[Any]
    outputs: list[Any]
    masks: Sequence[Any] = ()
    arguments: Any = ()
    inside_time: bool = False


def walk(
    model: Any, inputs: Sequence[Any], how: Stand | Run, prefix: str = "", inside: bool = False
) -> Generator[Visit, None, Any]:
    """Yield every operation in order, and return the outputs in the model's structure.

    Parameters
    ----------
    model : keras.Model
        A Functional or Sequential model.
    inputs : sequence
        Values for its inputs.
    how : Stand or Run
        Computes outputs.
    prefix, inside
        Names of the enclosing models, and whether one of them runs at every time step.
    """
    graph = functional(model)
    values = {id(t): value for t, value in zip(graph._inputs, inputs, strict=True)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            name = f"{prefix}{node.operation.name}"
            if node.is_input:
                if not prefix:
                    own = [values[id(t)] for t in keras.tree.flatten(node.outputs)]
                    yield Visit(name, node, own, own)
                continue
            outputs = yield from _apply(node, values, how, name, inside)
            for tensor, value in zip(
                keras.tree.flatten(node.outputs), keras.tree.flatten(outputs), strict=True
            ):
                values[id(tensor)] = value
    flat = [values[id(t)] for t in graph._outputs]
    return keras.tree.pack_sequence_as(graph._outputs_struct, flat)


def _apply(
    node: Any, values: dict[int, Any], how: Stand | Run, name: str, inside: bool
) -> Generator[Visit, None, Any]:
    """Yield the operations of one node, and return its outputs."""
    operation = node.operation
    inputs = [values[id(t)] for t in node.input_tensors]
    over_time = _is_over_time(operation) and is_graph(operation.layer)
    inner = operation.layer if over_time else operation
    if not is_graph(inner):
        args, kwargs = node.arguments.fill_in(values)
        outputs = how.call(operation, node, args, kwargs)
        indices = signals_of(node)
        signals = [inputs[i] for i in indices]
        masks = [value for i, value in enumerate(inputs) if i not in indices]
        flat = keras.tree.flatten(outputs)
        yield Visit(name, node, signals, flat, masks, (args, kwargs), inside)
        return outputs
    own = inputs[: len(functional(inner)._inputs)]  # drop a mask: the inner layers do not get it
    if not over_time:
        return (yield from walk(inner, own, how, f"{name}/", inside))
    steps = [how.enter_time(t) for t in own]
    outputs = yield from walk(inner, steps, how, f"{name}/", True)
    return keras.tree.map_structure(lambda t: how.leave_time(t, inputs[0]), outputs)


def _is_over_time(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Wrapper) and any(
        class_kind(cls) in OVER_TIME for cls in type(operation).__mro__
    )


def signals_of(node: Any) -> list[int]:
    """Return the indices of a node's signals, in the order of the parameters of ``call``.

    Masks are not signals. Keras sorts tensors passed by keyword; this restores their order.
    """
    operation, arguments = node.operation, node.arguments
    found = []
    flat = keras.tree.flatten_with_path((list(arguments.args), arguments.kwargs))
    paths = [path for path, value in flat if _is_symbolic(value)]
    if not isinstance(operation, keras.layers.Layer) or len(paths) != len(node.input_tensors):
        return list(range(len(node.input_tensors)))
    names = positional_names(operation.call)
    for i, (kind, at, *_) in enumerate(paths):
        name = (names[at] if at < len(names) else "") if kind == 0 else at
        if not is_mask(name):
            found.append((names.index(name) if name in names else len(names), i))
    return [i for _, i in sorted(found)]
