"""Checks of models before a conversion."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kspike_tf.conversion import activations
from kspike_tf.conversion.copies import unbuilt_copy
from kspike_tf.conversion.graph import Graph, Node
from kspike_tf.conversion.options import Options
from kspike_tf.conversion.pool import is_max_pooling
from kspike_tf.layers import KerasSpikingCell, KerasSpikingLayer


def check_convertible(graph: Graph, options: Options) -> None:
    """Raise a ValueError that names every layer that cannot be converted, with the reason."""
    problems: dict[str, str] = {}
    for node in graph.nodes:
        reason = _problem(node, options) or _problem_of_shape(graph, node)
        if reason:
            problems[node.name] = reason
    if problems:
        lines = "".join(f"\n- {name}: {reason}" for name, reason in problems.items())
        raise ValueError(f"model {graph.name!r} cannot be converted:{lines}")


def _problem(node: Node, options: Options) -> str | None:
    """Return why a layer cannot be converted, or None."""
    layer = node.layer
    parts = layer._flatten_layers() if isinstance(layer, keras.layers.Layer) else []
    if any(_spikes(each) for each in parts):
        return f"{type(layer).__name__} has a time axis already; convert the ordinary model"
    if any(getattr(each, "stateful", False) for each in parts):
        return "it is stateful, and would see time steps as examples"
    if any(not np.all(np.isfinite(weight)) for weight in _numbers(layer)):
        return "its weights are not finite"
    if getattr(layer, "mask_zero", False) or isinstance(layer, keras.layers.Masking):
        return "it makes a mask, and masks cannot be converted"
    if getattr(layer, "quantization_mode", None):
        mode = layer.quantization_mode
        return f"it is quantised ({mode}); convert the model before quantising it"
    if getattr(layer, "lora_enabled", False):
        return "it has LoRA weights; train without, or convert the model before adding them"
    if options.max_pooling == "refuse" and is_max_pooling(layer):
        return "max pooling; pass max_pooling='average' or 'keep'"
    if options.other_activations == "refuse":
        return _problem_of_activation(layer) or _problem_of_copy(layer)
    return _problem_of_copy(layer)


def _problem_of_shape(graph: Graph, node: Node) -> str | None:
    shape = graph.shape(node.outputs[0])
    if None in shape[1:] and activations.is_rectifier(activations.activation_of(node.layer)):
        return (
            f"its neurons need a fixed shape, not {shape}; build the model anew with an Input of "
            "fixed lengths, and pass it the weights"
        )
    return None


def _problem_of_copy(layer: Any) -> str | None:
    """Return why Keras cannot make a copy of a layer, or None."""
    if not isinstance(layer, keras.layers.Layer):
        return None
    try:
        unbuilt_copy(layer)
    except Exception as error:  # from a layer's own code, so of any kind
        return f"Keras cannot copy it: {' '.join(str(error).split())}"
    return None


def _spikes(layer: Any) -> bool:
    """Return whether a layer or cell is one of this package, or derived from one."""
    is_own = isinstance(layer, (KerasSpikingLayer, KerasSpikingCell))
    return is_own or type(layer).__module__.startswith("kspike_tf.")


def _problem_of_activation(layer: Any) -> str | None:
    fused = getattr(layer, "activation", None)
    layer = layer if fused is None else activations.as_layer(fused)
    name = activations.function_name(layer)
    if isinstance(layer, keras.layers.Activation) and not name:
        return "its activation is none of Keras' functions"
    fine = name in ("", "linear", "softmax", "log_softmax") or activations.is_rectifier(layer)
    return None if fine else f"its activation {name} is not a rectifier"


def _numbers(layer: Any) -> list[np.ndarray]:
    weights = layer.get_weights() if isinstance(layer, keras.layers.Layer) else []
    return [weight for weight in weights if np.issubdtype(weight.dtype, np.floating)]
