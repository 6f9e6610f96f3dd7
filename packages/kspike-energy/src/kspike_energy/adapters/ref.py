"""Models of kspike_ref, seen as applications of layers; the only module that knows kspike_ref.

It needs no import of kspike_ref: a model's own public attributes say everything.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kspike_energy.adapters.base import Adapter
from kspike_energy.graph import Application
from kspike_energy.nodes import LayerSpec, Shape
from kspike_energy.registry import find_statistics

__all__ = ["RefAdapter"]


# kspike_ref names layers by their class; no layer of Keras has one of these names.
_OF_KSPIKE_TF = frozenset(
    f"{name}{suffix}"
    for name in ("SpikingActivation", "Lowpass", "Alpha")
    for suffix in ("", "Cell")
)


def _kind(class_name: str, config: Mapping[str, Any]) -> str:
    """Return the name of the rule for a saved object."""
    if class_name in _OF_KSPIKE_TF:
        return f"kspike_tf>{class_name}"
    # Keras saves of every layer a dtype policy, and of no operation.
    return class_name if "dtype" in config else f"ops>{class_name}"


def _operands(node: Any) -> tuple[Shape, ...]:
    """Return the shapes of every argument that has one, constants included."""
    shapes = iter(node.input_shapes)
    given = [*node.arguments, *node.keywords.values()]
    return tuple(
        tuple(next(shapes)) if hasattr(value, "node") else np.shape(value)
        for value in given
        if hasattr(value, "node") or isinstance(value, np.ndarray)
    )


def _spec(layer: Any, name: str, kind: str, config: Mapping[str, Any]) -> LayerSpec:
    """Return what the rules need to know of a layer, or of one saved inside another."""
    statistics = find_statistics(type(layer), kind)

    def wrap(key: str) -> LayerSpec | list[LayerSpec]:
        inner = config[key]
        if isinstance(inner, list):
            return [_inner(one) for one in inner]
        return _inner(inner)

    type_name = kind.rsplit(">", 1)[-1]
    return LayerSpec(layer, name, kind, type_name, lambda: config, wrap, statistics)


def _inner(saved: Mapping[str, Any]) -> LayerSpec:
    """Return the spec of a layer that is saved in another one's configuration."""
    config = saved.get("config", {})
    kind = _kind(str(saved["class_name"]), config)
    return _spec(None, str(config.get("name", kind)), kind, config)


class RefAdapter(Adapter):
    """Models that `kspike_ref.load_model` returns."""

    def applications(self, model: Any, shapes: Any = None) -> list[Application]:
        """Return every application of a layer, in order; the shapes are those it was saved with."""
        found: list[Application] = []
        identities: dict[tuple[int, int], int] = {}

        def identity(node: int, output: int) -> int:
            return identities.setdefault((node, output), len(identities))

        for index, node in enumerate(model.nodes):
            outputs = tuple(identity(index, i) for i in range(len(node.output_shapes)))
            inputs = tuple(identity(ref.node, ref.output) for ref in node.inputs)
            given: tuple[Shape, ...] = tuple(tuple(shape) for shape in node.input_shapes)
            if not inputs:  # an input of the model
                inputs, given = outputs, tuple(tuple(shape) for shape in node.output_shapes)
            layer = node.layer
            found.append(
                Application(
                    spec=_spec(
                        layer, node.name, _kind(layer.class_name, layer.config), layer.config
                    ),
                    inputs=given,
                    outputs=tuple(tuple(shape) for shape in node.output_shapes),
                    input_ids=inputs,
                    output_ids=outputs,
                    operands=_operands(node),
                )
            )
        return found

    def run(self, model: Any, batch: Any) -> Iterator[list[Any]]:
        """Yield the inputs of every application on one batch, in the same order."""
        outputs = list(model.activity(batch).values())
        for index, node in enumerate(model.nodes):
            refs = [(ref.node, ref.output) for ref in node.inputs] or [(index, 0)]
            yield [
                made[output] if isinstance(made := outputs[at], (list, tuple)) else made
                for at, output in refs
            ]

    def input_shapes(self, model: Any) -> Any:
        """Return shapes of the model's inputs: one, or a dictionary by name."""
        shapes = {
            name: tuple(node.output_shapes[0])
            for name in model.inputs
            for node in model.nodes
            if node.name == name
        }
        return next(iter(shapes.values())) if len(shapes) == 1 else list(shapes.values())

    def params(self, model: Any, layer: Any = None) -> int:
        """Return the number of weights of the model or of one layer."""
        layers = model.layers if layer is None else [layer]
        return sum(int(np.size(w)) for one in layers for w in one.weights.values())

    def layer_dt(self, layer: Any) -> float | None:
        """Return the time step of a layer that saved one."""
        config = layer.config
        cell = config.get("cell")  # of an RNN, saved as an object of its own
        if isinstance(cell, Mapping):
            config = cell.get("config", {})
        dt = config.get("dt")
        return float(dt) if isinstance(dt, (int, float)) and not isinstance(dt, bool) else None

    def name(self, model: Any) -> str:
        """Return the model's name."""
        return str(model.name)
