"""The adapter for kspike_ref models.

It reads only a model's public attributes, and does not import kspike_ref.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kspike_energy.adapters.base import Adapter, is_mask, positional_names
from kspike_energy.counting.nodes import LayerSpec, Node, Shape
from kspike_energy.counting.shapes import fitting_shapes
from kspike_energy.registry import find_statistics

__all__ = ["RefAdapter"]


def _kind(key: str) -> str:
    """Return the name of the rule for a layer, from kspike_ref's key for its saved class."""
    return key.removeprefix("custom:").replace("ops:", "ops>")


def _into_time(node: Any) -> int | None:
    """Return how a node changes the depth of time-distributed models; None for a layer.

    It is 1 where such a model begins, -1 where it ends, and 0 where it receives a mask.
    """
    return {"fold": 1, "unfold": -1, "mask": 0}.get(getattr(node.layer, "verb", ""))


def _operands(node: Any, shapes: Iterator[Shape]) -> tuple[Shape, ...]:
    """Return the shapes of all tensor arguments, constants included."""
    given = [*node.arguments, *node.keywords.values()]
    return tuple(
        tuple(next(shapes)) if hasattr(value, "node") else np.shape(value)
        for value in given
        if hasattr(value, "node") or isinstance(value, np.ndarray)
    )


def _arguments(node: Any) -> tuple[list[Any], list[Any]]:
    """Return a node's signals, in the order of the parameters of ``call``, and its masks."""
    names = positional_names(node.layer.call)
    given = [(names[i] if i < len(names) else "", one) for i, one in enumerate(node.arguments)]
    given += node.keywords.items()
    kept = [(name, value) for name, value in given if not is_mask(name)]
    kept.sort(key=lambda pair: names.index(pair[0]) if pair[0] in names else len(names))
    masks = [value for name, value in given if is_mask(name)]
    return [ref for _, value in kept for ref in _refs(value)], list(_refs(masks))


def _refs(value: Any) -> Iterator[Any]:
    """Yield the tensors in nested arguments."""
    if hasattr(value, "node"):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _refs(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _refs(one)


def _spec(layer: Any, name: str, kind: str, config: Mapping[str, Any]) -> LayerSpec:
    """Return the `LayerSpec` of a layer, or of one saved inside another."""
    statistics = find_statistics(type(layer), kind)

    def wrap(key: str) -> LayerSpec | list[LayerSpec]:
        inner = config[key]
        if isinstance(inner, list):
            return [_inner(one) for one in inner]
        return _inner(inner)

    type_name = kind.rsplit(">", 1)[-1]
    return LayerSpec(layer, name, kind, type_name, lambda: config, wrap, statistics)


def _inner(saved: Mapping[str, Any]) -> LayerSpec:
    """Return the `LayerSpec` of a layer saved in another layer's configuration."""
    config = saved.get("config", {})
    kind = str(saved["class_name"])
    if str(saved.get("module")).split(".")[0] != "keras":
        kind = str(saved.get("registered_name") or kind)
    return _spec(None, str(config.get("name", kind)), kind, config)


def _shapes(model: Any, given: Any) -> list[tuple[Shape, ...]]:
    """Return the shapes of every node's outputs; ``given`` replaces those of the inputs."""
    if given is None:
        return [tuple(tuple(shape) for shape in node.output_shapes) for node in model.nodes]
    own = _input_shapes(model)
    known = dict(zip(own, fitting_shapes(given, list(own.values()), list(own)), strict=True))
    made: list[tuple[Shape, ...]] = []
    for node in model.nodes:
        if not node.inputs and node.name in known:
            made.append((known[node.name],))
            continue
        named = {key: value for key, value in node.keywords.items() if key != "mask"}
        shapes = node.layer.output_shape(
            *_with_shapes(node.arguments, made), **_with_shapes(named, made)
        )
        outputs = shapes if isinstance(shapes, list) else [shapes]
        made.append(tuple(tuple(shape) for shape in outputs))
    return made


def _input_shapes(model: Any) -> dict[str, Shape]:
    """Return the shapes of the model's inputs by name, in their order."""
    nodes = {node.name: node for node in model.nodes if not node.inputs}
    return {name: tuple(nodes[name].output_shapes[0]) for name in model.inputs}


def _with_shapes(value: Any, made: list[tuple[Shape, ...]]) -> Any:
    """Return a structure of arguments with shapes in place of tensors."""
    if hasattr(value, "node"):
        return made[value.node][value.output]
    if isinstance(value, Mapping):
        return {key: _with_shapes(one, made) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_shapes(one, made) for one in value)
    return value


def _weights(layers: Iterable[Any]) -> list[Any]:
    """Return the weights of layers; a weight that several of them share comes once."""
    every = {id(weight): weight for layer in layers for weight in layer.weights.values()}
    return list(every.values())


class RefAdapter(Adapter):
    """Adapter for the models that `kspike_ref.load_model` returns."""

    def applications(self, model: Any, shapes: Any = None) -> list[Node]:
        """Return every application of a layer, in order.

        Raises
        ------
        ValueError
            If ``shapes`` do not fit those of the model's inputs.
        """
        made = _shapes(model, shapes)
        found: list[Node] = []
        identities: dict[tuple[int, int], int] = {}
        depths: dict[tuple[int, int], int] = {}  # number of enclosing time-distributed models

        def identity(node: int, output: int) -> int:
            return identities.setdefault((node, output), len(identities))

        for index, node in enumerate(model.nodes):
            depth = max((depths[ref] for ref in node.inputs), default=0)
            # The boundary of a time-distributed model is not a layer: the signal stays the same.
            if (step := _into_time(node)) is not None:
                identities[index, 0] = identity(*node.inputs[0])
                depths[index, 0] = depths[node.inputs[0]] + step
                continue
            outputs = tuple(identity(index, i) for i in range(len(made[index])))
            depths.update({(index, i): depth for i in range(len(outputs))})
            signals, masks = _arguments(node)
            inputs = tuple(identity(ref.node, ref.output) for ref in signals)
            given = tuple(made[ref.node][ref.output] for ref in signals)
            operands = _operands(node, iter(made[ref.node][ref.output] for ref in node.inputs))
            if not inputs:  # an input of the model
                inputs, given = outputs, made[index]
            layer = node.layer
            found.append(
                Node(
                    spec=_spec(layer, node.name, _kind(layer.key), layer.config),
                    inputs=given,
                    outputs=made[index],
                    input_ids=inputs,
                    output_ids=outputs,
                    operands=operands,
                    inside_time=depth > 0,
                    mask_ids=tuple(identity(ref.node, ref.output) for ref in masks),
                    returned=node.name in model.outputs,
                )
            )
        return found

    def run(self, model: Any, batch: Any) -> Iterator[list[Any]]:
        """Yield the inputs of every application on one batch, in the order of `applications`."""
        return (inputs for inputs, _ in self.signals(model, batch))

    def signals(self, model: Any, batch: Any) -> Iterator[tuple[list[Any], list[Any]]]:
        """Yield the inputs and outputs of every application on one batch."""
        return self.signals_of(model, list(model.activity(batch).values()))

    def signals_of(self, model: Any, values: list[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
        """Yield the inputs and outputs of every application, from the outputs of all nodes."""
        every = [list(made) if isinstance(made, list | tuple) else [made] for made in values]
        for node, outputs in zip(model.nodes, every, strict=True):
            if _into_time(node) is None:
                inputs = [every[ref.node][ref.output] for ref in _arguments(node)[0]]
                yield inputs or outputs[:1], outputs

    def weights(self, layer: Any) -> dict[str, Any]:
        """Return the weights of a layer by name."""
        return dict(layer.weights)

    def footprint(self, model: Any) -> int:
        """Return the bytes of all weights of a model."""
        return sum(np.asarray(weight).nbytes for weight in _weights(model.layers))

    def input_shapes(self, model: Any) -> Any:
        """Return the shapes of the model's inputs: one shape, or a list of several."""
        shapes = list(_input_shapes(model).values())
        return shapes[0] if len(shapes) == 1 else shapes

    def params(self, model: Any, layer: Any = None) -> int:
        """Return the number of weights of the model or of one layer."""
        layers = model.layers if layer is None else [layer]
        return sum(int(np.size(weight)) for weight in _weights(layers))

    def layer_dt(self, layer: Any) -> float | None:
        """Return the time step saved with a layer; None if there is none."""
        config = layer.config
        cell = config.get("cell")  # an RNN saves its cell as a separate object
        if isinstance(cell, Mapping):
            config = cell.get("config", {})
        dt = config.get("dt")
        return float(dt) if isinstance(dt, (int, float)) and not isinstance(dt, bool) else None

    def name(self, model: Any) -> str:
        """Return the model's name."""
        return str(model.name)
