"""Average pooling in place of max pooling, which spikes cannot compute by themselves."""

from __future__ import annotations

import keras

from kspike_tf.conversion.graph import Graph

AVERAGES = {
    getattr(keras.layers, f"{kind}MaxPooling{n}D"): getattr(
        keras.layers, f"{kind}AveragePooling{n}D"
    )
    for kind in ("", "Global")
    for n in (1, 2, 3)
}


def average_pooling(graph: Graph) -> dict[str, str]:
    """Replace max pooling by average pooling; return the outcome for each layer, by name."""
    outcome = {}
    for node in graph.nodes:
        average = AVERAGES.get(type(node.layer))
        if average is not None:
            node.layer = average.from_config(node.layer.get_config())
            outcome[node.name] = "max pooling, replaced by average pooling"
    return outcome
