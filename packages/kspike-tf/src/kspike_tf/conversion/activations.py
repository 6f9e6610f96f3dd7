"""Activation functions of a model: those that can spike, and their spiking forms."""

from __future__ import annotations

import re
from typing import Any

import keras
import tensorflow as tf

from kspike_tf.conversion.copies import copy_layer, copy_operation
from kspike_tf.conversion.graph import Graph, Node, Ref
from kspike_tf.conversion.linear import is_linear

_RECTIFIERS = ("relu", "relu6", "leaky_relu")
_ELEMENTWISE = (
    "celu", "elu", "exponential", "gelu", "hard_sigmoid", "hard_shrink", "hard_silu", "hard_swish",
    "hard_tanh", "log_sigmoid", "mish", "selu", "sigmoid", "silu", "soft_shrink", "softplus",
    "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink",
    "threshold",
)  # fmt: skip
_HOMES = (keras.activations, keras.ops, tf.nn)  # where functions of one name compute the same
_RECTIFYING_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.PReLU)


def split_activations(graph: Graph) -> None:
    """Copy the layers of a graph, and give every fused activation its own node.

    Layers that the model applies several times are copied once, and stay shared.
    """
    copies: dict[Any, tuple[Any, Any, str]] = {}
    names = {str(graph.specs[number].name): 1 for number in graph.inputs}
    labels: dict[str, int] = {}
    nodes = []
    for node in graph.nodes:
        if node.layer not in copies:
            name = _unique(node.name, names)
            copies[node.layer] = (*_split(node.layer, name, names), name)
        node.label = _unique(node.name, labels)
        node.layer, activation, node.name = copies[node.layer]
        nodes.append(node)
        if activation is not None:
            nodes.append(_apart(graph, node, activation))
    graph.nodes = nodes


def _unique(name: str, names: dict[str, int]) -> str:
    names[name] = names.get(name, 0) + 1
    return name if names[name] == 1 else _unique(f"{name}_{names[name] - 1}", names)


def _split(layer: Any, name: str, names: dict[str, int]) -> tuple[Any, Any]:
    """Return a copy of a layer and one of its fused activation, or None if it has none."""
    if not isinstance(layer, keras.layers.Layer):
        return copy_operation(layer, name), None
    if not is_linear(layer) or layer.activation is keras.activations.linear:
        return copy_layer(layer, name=name), None
    fused, own = layer.activation, _unique(f"{name}_activation", names)
    if isinstance(fused, keras.layers.Layer):
        activation = copy_layer(fused, name=own)
    else:
        activation = keras.layers.Activation(fused, name=own, dtype=layer.dtype_policy)
    return copy_layer(layer, name=name, activation="linear"), activation


def _apart(graph: Graph, node: Node, activation: Any) -> Node:
    """Return a node that applies the activation to the output of another node."""
    before, after = graph.new_tensor(node.outputs[0]), node.outputs[0]
    node.outputs = [before]
    return Node(activation, activation.name, [Ref(before)], {}, [after], node.label)


def activation_of(layer: Any) -> Any:
    """Return the fused activation of a linear layer as a layer; other layers as they are."""
    return as_layer(layer.activation) if is_linear(layer) else layer


def as_layer(activation: Any) -> Any:
    """Return an activation, which may be a function, as a layer."""
    is_layer = isinstance(activation, keras.layers.Layer)
    return activation if is_layer else keras.layers.Activation(activation)


def function_name(layer: Any) -> str:
    """Return the name of the activation function of a layer or operation, or ``""``."""
    if type(layer) is keras.layers.Activation:
        function = layer.activation
        name = getattr(function, "__name__", "")
        is_known = any(getattr(home, name, None) is function for home in _HOMES)
        return name if is_known and hasattr(keras.activations, name) else ""
    if type(layer) is keras.layers.ELU:
        return "elu"
    if isinstance(layer, keras.layers.Layer) or not type(layer).__module__.startswith("keras."):
        return ""
    name = re.sub("(?<!^)(?=[A-Z])", "_", type(layer).__name__).lower()  # an operation
    return "relu" if name == "re_l_u" else name  # keras.activations.relu with options


def is_rectifier(layer: Any) -> bool:
    """Return whether an activation is a ReLU or a relative, through which scaling passes."""
    return type(layer) in _RECTIFYING_LAYERS or function_name(layer) in _RECTIFIERS


def is_elementwise(layer: Any) -> bool:
    """Return whether a layer is an elementwise activation, rectifiers included."""
    return is_rectifier(layer) or function_name(layer) in _ELEMENTWISE


def is_identity(layer: Any) -> bool:
    """Return whether a layer is a linear activation."""
    return function_name(layer) == "linear"


def spiking_form(layer: Any, scale: float) -> Any:
    """Return a rectifier for values that are ``scale`` times as large.

    Returns
    -------
    str or keras.layers.Layer
        An activation for `kspike_tf.SpikingActivation`.
    """
    if hasattr(layer, "max_value"):  # keras.layers.ReLU or keras.activations.relu
        return _scaled_relu(layer, scale)
    if isinstance(layer, _RECTIFYING_LAYERS):
        return copy_layer(layer)
    if function_name(layer) == "relu6":
        return keras.layers.ReLU(max_value=6.0 * scale)
    if function_name(layer) == "leaky_relu" and not isinstance(layer, keras.layers.Layer):
        return keras.layers.LeakyReLU(negative_slope=layer.negative_slope)
    return function_name(layer)


def _scaled_relu(layer: Any, scale: float) -> Any:
    if layer.max_value is None and not layer.threshold and not layer.negative_slope:
        return "relu"
    return keras.layers.ReLU(
        max_value=None if layer.max_value is None else float(layer.max_value) * scale,
        negative_slope=layer.negative_slope,
        threshold=float(layer.threshold) * scale,
    )
