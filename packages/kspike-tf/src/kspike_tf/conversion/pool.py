"""Average pooling in place of max pooling, which spikes cannot compute by themselves."""

from __future__ import annotations

from typing import Any

import keras

from kspike_tf.conversion.activations import function_name
from kspike_tf.conversion.families import in_dimensions
from kspike_tf.conversion.graph import Graph, Node

_AVERAGES = {  # Keras 3.8 has no adaptive pooling
    cls: getattr(keras.layers, cls.__name__.replace("Max", "Average"))
    for cls in in_dimensions("MaxPooling{}D", "GlobalMaxPooling{}D", "AdaptiveMaxPooling{}D")
}
_OPERATIONS = {  # the kind of layer, and the attributes that are its options
    "max_pool": ("", ("pool_size", "strides", "padding", "data_format")),
    "adaptive_max_pool": ("Adaptive", ("output_size", "data_format")),
}


def is_max_pooling(layer: Any) -> bool:
    """Return whether a layer or operation is max pooling."""
    return type(layer) in _AVERAGES or function_name(layer) in _OPERATIONS


def average_pooling(graph: Graph) -> dict[str, str]:
    """Replace max pooling by average pooling; return the outcome for each layer, by name."""
    outcome = {}
    for node in graph.nodes:
        if is_max_pooling(node.layer):
            node.layer = _average(graph, node)
            outcome[node.name] = "max pooling, replaced by average pooling"
    return outcome


def _average(graph: Graph, node: Node) -> Any:
    layer = node.layer
    if type(layer) in _AVERAGES:
        return _AVERAGES[type(layer)].from_config(layer.get_config())
    kind, names = _OPERATIONS[function_name(layer)]
    axes = len(graph.shape(node.inputs[0])) - 2
    options = {each: getattr(layer, each) for each in names}
    return getattr(keras.layers, f"{kind}AveragePooling{axes}D")(**options, name=node.name)


def kept_pooling(
    graph: Graph, spiking: set[Node], over_time: set[Node], filtered: bool
) -> dict[str, str]:
    """Return what max pooling that stays acts on, by name; ``over_time`` runs at every step."""
    behind = graph.downstream(spiking)
    outcome = {}
    for node in graph.nodes:
        if not is_max_pooling(node.layer):
            continue
        if node not in behind:
            outcome[node.name] = "max pooling, kept before the first spikes"
        elif node not in over_time:
            outcome[node.name] = "max pooling, kept behind the readout"
        else:
            spikes = "filtered spikes" if filtered else "single spikes, whose maxima are too large"
            outcome[node.name] = f"max pooling, kept: it acts on {spikes}"
    return outcome
