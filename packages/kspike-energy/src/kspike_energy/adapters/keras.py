"""Keras models, seen as applications of layers; the only module that knows Keras.

It is imported when a Keras model is given, so Keras is loaded already. The model is only read:
its graph is walked with stand-ins for its tensors, and measured by calling its operations one
after the other on data, in a scope that throws state updates away. No layer, node or weight is
added to it.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from kspike_energy.adapters.base import Adapter, is_mask, positional_names
from kspike_energy.counting.graph import Application
from kspike_energy.counting.nodes import LayerSpec, Node, Shape
from kspike_energy.counting.rules import RULES
from kspike_energy.counting.rules.linear import einsum_output
from kspike_energy.counting.rules.table import OVER_TIME
from kspike_energy.measuring.batches import fitting_shapes
from kspike_energy.registry import find_statistics

__all__ = ["KerasAdapter", "class_kind", "layer_spec", "node_application", "nodes_of_layer"]

Graph: TypeAlias = Any  # keras.Model of the Functional kind
_GRAPH_TYPES = ("Functional", "Sequential")
_APPLICATION_LAYERS = ("LayerScale", "StochasticDepth")  # defined beside keras.applications


def class_kind(cls: type) -> str | None:
    """Return the name of the rule for exactly this class, if there can be one."""
    module = cls.__module__
    if module.startswith(("keras.src.layers", "keras.layers")):
        return cls.__name__
    if module.startswith(("keras.src.ops", "keras.src.backend")):
        return f"ops>{cls.__name__}"
    if module.startswith("keras.src.applications") and cls.__name__ in _APPLICATION_LAYERS:
        return cls.__name__
    registered = keras.saving.get_registered_name(cls)
    return registered if ">" in registered else None


def _resolve(layer: Any) -> tuple[str | None, Callable[[Node], Mapping[str, Any]] | None]:
    """Return the kind of a layer's class, and the statistics that a user registered.

    A subclass counts as its base as long as it does not compute something else, that is, as long
    as it has no ``call`` of its own.
    """
    for cls in type(layer).__mro__:
        kind = class_kind(cls)
        statistics = find_statistics(cls, kind)
        if statistics is not None:
            return kind, statistics
        if kind in RULES:
            return kind, None
        if "call" in vars(cls):
            return kind, None
    return None, None


def layer_spec(layer: Any, name: str | None = None) -> LayerSpec:
    """Return what the rules need to know of a Keras layer, cell or operation.

    Parameters
    ----------
    layer : keras.Operation
        The layer, cell or operation.
    name : str, optional
        Its name in reports; its own by default.
    """
    kind, statistics = _resolve(layer)

    def wrap(key: str) -> LayerSpec | list[LayerSpec]:
        wrapped = getattr(layer, "forward_layer" if _is_bidirectional(layer, key) else key)
        if isinstance(wrapped, (list, tuple)):
            return [layer_spec(one) for one in wrapped]
        return layer_spec(wrapped)

    def config() -> Mapping[str, Any]:
        if isinstance(layer, keras.layers.Layer):
            return _config_of(layer)
        attributes: dict[str, Any] = vars(layer)
        return attributes  # an operation keeps its arguments as attributes

    return LayerSpec(
        layer=layer,
        name=name or layer.name,
        kind=kind,
        type_name=type(layer).__name__,
        read_config=config,
        wrap=wrap,
        statistics=statistics,
    )


def _is_bidirectional(layer: Any, key: str) -> bool:
    return key == "layer" and isinstance(layer, keras.layers.Bidirectional)


def _config_of(layer: Any) -> Mapping[str, Any]:
    config: dict[str, Any] = layer.get_config()
    if isinstance(layer, keras.layers.Dot):
        # Negative axes mean the same as their positive twins, but Dot saves what it was given.
        axes = config["axes"]
        config["axes"] = [axes, axes] if isinstance(axes, int) else list(axes)
    return config


def _shape(tensor: Any) -> Shape:
    return tuple(None if length is None else int(length) for length in tensor.shape)


def _output_shapes(operation: Any, inputs: list[Shape], outputs: list[Any]) -> list[Shape]:
    """Return the outputs' shapes; EinsumDense forgets lengths that it could know."""
    if isinstance(operation, keras.layers.EinsumDense):
        return [einsum_output(operation.equation, inputs[0], outputs[0].shape)]
    return [_shape(tensor) for tensor in outputs]


class _Stand:
    """Stands for values while only shapes are wanted: makes fresh symbolic tensors."""

    def __init__(self) -> None:
        # By identity: a tensor, and the one that it is at each time step, or all steps of.
        self._same: dict[int, tuple[Any, Any]] = {}

    def identity(self, tensor: Any) -> int:
        """Return one identity for a signal, seen from inside a model at each time step or not."""
        while id(tensor) in self._same:
            tensor = self._same[id(tensor)][1]
        return id(tensor)

    def _is(self, tensor: Any, same: Any) -> Any:
        self._same[id(tensor)] = (tensor, same)  # kept, so that no other gets its identity
        return tensor

    def call(self, operation: Any, node: Any, args: Any, kwargs: Any) -> Any:
        given = [_shape(t) for t in keras.tree.flatten((args, kwargs)) if _is_symbolic(t)]
        outputs = node.outputs
        if given != [_shape(t) for t in node.input_tensors]:
            # A nested model on another shape than it was built for, or a shape that was left open.
            outputs = operation.compute_output_spec(*args, **kwargs)
        made = keras.tree.flatten(outputs)
        shapes = _output_shapes(operation, given, made)
        return [
            keras.KerasTensor(shape, dtype=tensor.dtype)
            for shape, tensor in zip(shapes, made, strict=True)
        ]

    def enter_time(self, value: Any) -> Any:
        step = keras.KerasTensor((None, *value.shape[2:]), dtype=value.dtype)
        return self._is(step, value)

    def leave_time(self, value: Any, like: Any) -> Any:
        steps = keras.KerasTensor((*like.shape[:2], *value.shape[1:]), dtype=value.dtype)
        return self._is(steps, value)


class _Run:
    """Calls the operations on data."""

    def call(self, operation: Any, node: Any, args: Any, kwargs: Any) -> Any:
        if getattr(operation, "_call_has_training_arg", False):
            kwargs = {**kwargs, "training": False}
        return operation(*args, **kwargs)

    def enter_time(self, value: Any) -> Any:
        return keras.ops.reshape(value, (-1, *value.shape[2:]))

    def leave_time(self, value: Any, like: Any) -> Any:
        return keras.ops.reshape(value, (*like.shape[:2], *value.shape[1:]))


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)


def _graph(model: Any) -> Graph:
    """Return the Functional model behind a model."""
    return model._functional if isinstance(model, keras.Sequential) else model


def _is_graph(layer: Any) -> bool:
    return isinstance(layer, keras.Model) and (
        isinstance(layer, keras.Sequential)
        or type(layer).__name__ == "Functional"
        or any(cls.__name__ == "Functional" for cls in type(layer).__mro__)
    )


# Name, operation, node, inputs, outputs, all arguments, whether it is applied at each time step.
_Visit: TypeAlias = tuple[str, Any, Any, list[Any], list[Any], Any, bool]


def _walk(
    model: Any, inputs: Sequence[Any], how: _Stand | _Run, prefix: str = "", inside: bool = False
) -> Generator[_Visit, None, Any]:
    """Yield each operation in order.

    Returns the outputs of the model, in its structure.
    """
    graph = _graph(model)
    values = {id(t): value for t, value in zip(graph._inputs, inputs, strict=True)}
    for depth in sorted(graph._nodes_by_depth, reverse=True):
        for node in graph._nodes_by_depth[depth]:
            operation = node.operation
            name = f"{prefix}{operation.name}"
            if node.is_input:
                if not prefix:
                    given = [values[id(t)] for t in keras.tree.flatten(node.outputs)]
                    yield name, operation, node, given, given, (), False
                continue
            args, kwargs = node.arguments.fill_in(values)
            given = [values[id(t)] for t in node.input_tensors]
            inner = operation
            over_time = _is_over_time(operation) and _is_graph(operation.layer)
            if over_time:
                inner = operation.layer
            if _is_graph(inner):
                tensors = given[: len(_graph(inner)._inputs)]  # a mask may follow
                tensors = [how.enter_time(t) for t in tensors] if over_time else tensors
                outputs = yield from _walk(inner, tensors, how, f"{name}/", inside or over_time)
                if over_time:
                    outputs = keras.tree.map_structure(
                        lambda t, like=given[0]: how.leave_time(t, like), outputs
                    )
            else:
                outputs = how.call(operation, node, args, kwargs)
                made = keras.tree.flatten(outputs)
                given = [given[i] for i in _signals(node)]
                yield name, operation, node, given, made, (args, kwargs), inside
            for tensor, value in zip(
                keras.tree.flatten(node.outputs), keras.tree.flatten(outputs), strict=True
            ):
                values[id(tensor)] = value
    flat = [values[id(t)] for t in graph._outputs]
    return keras.tree.pack_sequence_as(graph._outputs_struct, flat)


def _is_over_time(operation: Any) -> bool:
    return isinstance(operation, keras.layers.Wrapper) and any(
        class_kind(cls) in OVER_TIME for cls in type(operation).__mro__
    )


def _operands(arguments: Any) -> tuple[Shape, ...]:
    """Return the shapes of every argument that has one."""
    return tuple(_shape(t) for t in keras.tree.flatten(arguments) if hasattr(t, "shape"))


def _signals(node: Any) -> list[int]:
    """Return which of a node's tensors are signals, in the order in which ``call`` names them.

    Masks are none; and Keras sorts what it is given by name.
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


class KerasAdapter(Adapter):
    """Functional and Sequential Keras models."""

    def check(self, model: Any) -> None:
        """Raise if the model has no graph to read."""
        if isinstance(model, keras.Sequential) and model._functional is None:
            raise ValueError(
                f"model {model.name!r} has no shapes yet: give it an Input, and layers of your own "
                "a compute_output_shape"
            )
        if not _is_graph(model):
            raise TypeError(
                f"model must be a Functional or Sequential Keras model; a subclassed one has no "
                f"graph to read (describe it with kspike_energy.Network). Received: {model!r}"
            )

    def applications(self, model: Any, shapes: Any = None) -> list[Application]:
        """Return every application of a layer, in order."""
        self.check(model)
        found: list[Application] = []
        specs: dict[tuple[int, str], LayerSpec] = {}
        alive: list[Any] = []  # identities hold only as long as the tensors live
        inputs = self._stand_ins(model, shapes)
        stand = _Stand()
        for visit in _walk(model, inputs, stand):
            name, operation, node, given, outputs, arguments, inside = visit
            alive += [*given, *outputs]
            spec = specs.setdefault((id(operation), name), layer_spec(operation, name))
            found.append(
                Application(
                    spec=spec,
                    inputs=tuple(_shape(t) for t in given),
                    outputs=tuple(_shape(t) for t in outputs),
                    input_ids=tuple(stand.identity(t) for t in given),
                    output_ids=tuple(stand.identity(t) for t in outputs),
                    input_tensors=tuple(node.input_tensors[i] for i in _signals(node)),
                    output_tensors=tuple(keras.tree.flatten(node.outputs)),
                    operands=_operands(arguments),
                    inside_time=inside,
                    origin=node,
                )
            )
        del alive
        return found

    def _stand_ins(self, model: Any, shapes: Any) -> list[Any]:
        """Return a symbolic tensor for each input, of the given shapes if there are any."""
        own = _graph(model)._inputs
        wanted = [_shape(t) for t in own]
        if shapes is not None:
            wanted = fitting_shapes(shapes, wanted, [t.name for t in own])
        return [
            keras.KerasTensor(shape, dtype=tensor.dtype)
            for tensor, shape in zip(own, wanted, strict=True)
        ]

    def run(self, model: Any, batch: Any) -> Iterator[list[Any]]:
        """Yield the inputs of every application on one batch, in the same order."""
        graph = _graph(model)
        with keras.StatelessScope():
            tensors = graph._standardize_inputs(_as_tensors(batch))
            for _, _, _, given, *_ in _walk(model, tensors, _Run()):
                yield [keras.ops.convert_to_numpy(t) for t in given]

    def input_shapes(self, model: Any) -> Any:
        """Return shapes of the model's inputs, in its own structure."""
        self.check(model)
        return keras.tree.map_structure(_shape, _graph(model)._inputs_struct)

    def params(self, model: Any, layer: Any = None) -> int:
        """Return the number of weights of the model or of one layer."""
        target = model if layer is None else layer
        return int(target.count_params()) if isinstance(target, keras.layers.Layer) else 0

    def layer_dt(self, layer: Any) -> float | None:
        """Return the time step of a layer that has one, such as those of kspike_tf."""
        dt = getattr(layer, "dt", getattr(getattr(layer, "cell", None), "dt", None))
        if dt is None:
            return None
        try:
            return float(np.asarray(keras.ops.convert_to_numpy(dt)))
        except (TypeError, ValueError):
            return None

    def name(self, model: Any) -> str:
        """Return the model's name."""
        return str(model.name)


def _as_tensors(batch: Any) -> Any:
    return keras.tree.map_structure(
        lambda a: a if keras.ops.is_tensor(a) else keras.ops.convert_to_tensor(a), batch
    )


def nodes_of_layer(layer: Any) -> list[Application]:
    """Return every application of one layer, whatever model it belongs to."""
    return [node_application(node) for node in layer._inbound_nodes]


def node_application(node: Any) -> Application:
    """Return the application of a layer that one of Keras' own nodes stands for."""
    layer = node.operation
    given, outputs = list(node.input_tensors), keras.tree.flatten(node.outputs)
    given = [given[i] for i in _signals(node)]
    if node.is_input:
        given = outputs
    inputs = [_shape(t) for t in given]
    return Application(
        spec=layer_spec(layer),
        inputs=tuple(inputs),
        outputs=tuple(_output_shapes(layer, inputs, outputs)),
        input_ids=tuple(id(t) for t in given),
        output_ids=tuple(id(t) for t in outputs),
        input_tensors=tuple(given),
        output_tensors=tuple(outputs),
        operands=_operands((node.arguments.args, node.arguments.kwargs)),
        origin=node,
    )
