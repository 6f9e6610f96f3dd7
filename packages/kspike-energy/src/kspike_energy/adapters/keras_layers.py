"""Conversion of Keras layers, cells and operations to `LayerSpec`."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from kspike_energy.counting.nodes import LayerSpec, Node
from kspike_energy.counting.rules import RULES
from kspike_energy.registry import find_statistics

__all__ = ["class_kind", "layer_spec"]

_APPLICATION_LAYERS = ("LayerScale", "StochasticDepth")  # defined in keras.applications


def class_kind(cls: type) -> str | None:
    """Return the name of the rule for a class; None if there can be none."""
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
    """Return the kind of a layer's class, and the function that a user registered for it.

    A subclass counts as its base class, unless it defines its own ``call`` and so may compute
    something else.
    """
    for cls in type(layer).__mro__:
        kind = class_kind(cls)
        statistics = find_statistics(cls, kind)
        if statistics is not None:
            return kind, statistics
        if kind in RULES or "call" in vars(cls):
            return kind, None
    return None, None


def layer_spec(layer: Any, name: str | None = None) -> LayerSpec:
    """Return the `LayerSpec` of a Keras layer, cell or operation.

    Parameters
    ----------
    layer : keras.Operation
        The layer, cell or operation.
    name : str, optional
        Its name in reports; by default the layer's own name.
    """
    kind, statistics = _resolve(layer)

    def wrap(key: str) -> LayerSpec | list[LayerSpec]:
        both = key == "layer" and isinstance(layer, keras.layers.Bidirectional)
        wrapped = getattr(layer, "forward_layer" if both else key)
        if isinstance(wrapped, (list, tuple)):
            return [layer_spec(one) for one in wrapped]
        return layer_spec(wrapped)

    return LayerSpec(
        layer=layer,
        name=name or layer.name,
        kind=kind,
        type_name=type(layer).__name__,
        read_config=lambda: _config_of(layer),
        wrap=wrap,
        statistics=statistics,
    )


def _config_of(layer: Any) -> Mapping[str, Any]:
    if not isinstance(layer, keras.layers.Layer):
        attributes: dict[str, Any] = vars(layer)
        return attributes  # an operation keeps its arguments as attributes
    config: dict[str, Any] = layer.get_config()
    return config
