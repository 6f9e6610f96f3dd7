"""The adapter for Keras models.

This module is imported only for a user's model, so Keras is already loaded. The adapter does not
modify the model and adds no layer, node or weight. It reads the graph by walking it with symbolic
tensors, and measures by calling the operations one by one on data, in a scope that discards state
updates.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kspike_energy.adapters.base import Adapter
from kspike_energy.adapters.keras_graph import (
    Run,
    Stand,
    Visit,
    functional,
    is_graph,
    output_shapes,
    shape_of,
    signals_of,
    walk,
)
from kspike_energy.adapters.keras_layers import class_kind, layer_spec
from kspike_energy.counting.nodes import Node, Shape
from kspike_energy.counting.shapes import fitting_shapes

__all__ = ["KerasAdapter", "class_kind", "layer_spec", "node_application"]


def _operands(arguments: Any) -> tuple[Shape, ...]:
    """Return the shapes of every argument that has one."""
    return tuple(shape_of(t) for t in keras.tree.flatten(arguments) if hasattr(t, "shape"))


class KerasAdapter(Adapter):
    """Adapter for Functional and Sequential Keras models."""

    def check(self, model: Any) -> None:
        """Raise if the model has no graph to read."""
        if isinstance(model, keras.Sequential) and model._functional is None:
            raise ValueError(
                f"model {model.name!r} has no shapes yet: add an Input, and define "
                "compute_output_shape in custom layers"
            )
        if not is_graph(model):
            raise TypeError(
                "model must be a Functional or Sequential Keras model; a subclassed one, or one "
                "with its own call, has no graph to read: describe it with kspike_energy.Network. "
                f"Received: {model!r}"
            )

    def applications(self, model: Any, shapes: Any = None) -> list[Node]:
        """Return every application of a layer, in order."""
        self.check(model)
        found: list[Node] = []
        alive: list[Any] = []  # the id of a tensor is unique only while the tensor exists
        inputs = self._stand_ins(model, shapes)
        stand = Stand()
        ends: list[Any] = []

        def visits() -> Iterator[Visit]:
            outputs = yield from walk(model, inputs, stand)
            ends.extend(keras.tree.flatten(outputs))

        for one in visits():
            alive += [*one.inputs, *one.outputs, *one.masks]
            found.append(
                Node(
                    spec=layer_spec(one.node.operation, one.name),
                    inputs=tuple(map(shape_of, one.inputs)),
                    outputs=tuple(map(shape_of, one.outputs)),
                    input_ids=tuple(map(stand.identity, one.inputs)),
                    output_ids=tuple(map(stand.identity, one.outputs)),
                    input_tensors=tuple(one.node.input_tensors[i] for i in signals_of(one.node)),
                    output_tensors=tuple(keras.tree.flatten(one.node.outputs)),
                    operands=_operands(one.arguments),
                    inside_time=one.inside_time,
                    origin=one.node,
                    mask_ids=tuple(map(stand.identity, one.masks)),
                )
            )
        returned = set(map(stand.identity, ends))
        del alive
        return [replace(node, returned=bool(returned & set(node.output_ids))) for node in found]

    def _stand_ins(self, model: Any, shapes: Any) -> list[Any]:
        """Return a symbolic tensor for every input, of its own shape or one from ``shapes``."""
        own = functional(model)._inputs
        wanted = [shape_of(t) for t in own]
        if shapes is not None:
            wanted = fitting_shapes(shapes, wanted, [t.name for t in own])
        return [
            keras.KerasTensor(shape, dtype=tensor.dtype)
            for tensor, shape in zip(own, wanted, strict=True)
        ]

    def run(self, model: Any, batch: Any) -> Iterator[list[Any]]:
        """Yield the inputs of every application on one batch, in the order of `applications`."""
        for one in _visits(model, batch):
            yield _arrays(one.inputs)

    def signals(self, model: Any, batch: Any) -> Iterator[tuple[list[Any], list[Any]]]:
        """Yield the inputs and outputs of every application on one batch."""
        for one in _visits(model, batch):
            yield _arrays(one.inputs), _arrays(one.outputs)

    def weights(self, layer: Any) -> dict[str, Any]:
        """Return the weights of a layer by path."""
        return {w.path: keras.ops.convert_to_numpy(w) for w in getattr(layer, "weights", [])}

    def footprint(self, model: Any) -> int:
        """Return the bytes of all weights of a model."""
        return sum(keras.ops.convert_to_numpy(w).nbytes for w in model.weights)

    def input_shapes(self, model: Any) -> Any:
        """Return the shapes of the model's inputs, in its own structure."""
        self.check(model)
        return keras.tree.map_structure(shape_of, functional(model)._inputs_struct)

    def params(self, model: Any, layer: Any = None) -> int:
        """Return the number of weights of the model or of one layer."""
        target = model if layer is None else layer
        return int(target.count_params()) if isinstance(target, keras.layers.Layer) else 0

    def layer_dt(self, layer: Any) -> float | None:
        """Return the time step of a layer that has one, as kspike_tf's layers do."""
        dt = getattr(layer, "dt", getattr(getattr(layer, "cell", None), "dt", None))
        if dt is None:
            return None
        try:
            # A variable of kspike_tf's layers is a number too: its first value. The shortest
            # decimal of a float32 is the number that was set.
            now = keras.ops.convert_to_numpy(getattr(dt, "variable", dt))
            return float(str(np.asarray(now)))
        except (TypeError, ValueError):
            return None

    def name(self, model: Any) -> str:
        """Return the model's name."""
        return str(model.name)


def _arrays(tensors: list[Any]) -> list[Any]:
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


def _visits(model: Any, batch: Any) -> Iterator[Visit]:
    """Yield the operations of a model on one batch, in inference mode."""
    with keras.StatelessScope():
        tensors = functional(model)._standardize_inputs(_as_tensors(batch))
        yield from walk(model, tensors, Run())


def _as_tensors(batch: Any) -> Any:
    return keras.tree.map_structure(
        lambda a: a if keras.ops.is_tensor(a) else keras.ops.convert_to_tensor(a), batch
    )


def node_application(node: Any) -> Node:
    """Convert one of Keras' own nodes to a `Node`."""
    layer = node.operation
    given, outputs = list(node.input_tensors), keras.tree.flatten(node.outputs)
    given = [given[i] for i in signals_of(node)]
    if node.is_input:
        given = outputs
    inputs = [shape_of(t) for t in given]
    return Node(
        spec=layer_spec(layer),
        inputs=tuple(inputs),
        outputs=tuple(output_shapes(layer, inputs, outputs)),
        input_ids=tuple(id(t) for t in given),
        output_ids=tuple(id(t) for t in outputs),
        input_tensors=tuple(given),
        output_tensors=tuple(outputs),
        operands=_operands((node.arguments.args, node.arguments.kwargs)),
        origin=node,
    )
