"""Statistics of one layer on its own, without a model around it."""

import warnings
from typing import Any

from kspike_energy.nodes import Counts, Node
from kspike_energy.rules import UnknownLayerError, count
from kspike_energy.rules.wrappers import check_statistics

__all__ = ["compute_stats", "stats_dict"]


def stats_dict(counts: Counts) -> dict[str, Any]:
    """Return counts as the dictionary that registered functions use."""
    return {
        "connections": counts.connections,
        "neurons": counts.neurons,
        "spiking": counts.spiking,
    }


def compute_stats(layer: Any, node: Node | None = None) -> dict[str, Any]:
    """Return the statistics of a layer; see `ModelEnergy.compute_layer_stats`."""
    from kspike_energy.graph import build_nodes

    if node is not None:
        return _node_stats(_with_layer(node, layer))
    name = getattr(layer, "name", repr(layer))
    if not hasattr(layer, "_inbound_nodes"):
        raise TypeError(f"layer must be a Keras layer, or a node be given. Received: {layer!r}")
    from kspike_energy.adapters.keras import nodes_of_layer  # given a Keras layer, Keras is loaded

    applications = nodes_of_layer(layer)
    if not applications:
        raise ValueError(f"layer {name!r} was never applied to an input, so it has no shapes")
    # Each application alone: two of them need not belong to one model.
    every = [_node_stats(build_nodes([application])[0]) for application in applications]
    total = dict(every[0])
    for stats in every[1:]:
        for key, value in stats.items():
            total[key] = (
                (total.get(key, True) and value)
                if key == "spiking"
                else (total.get(key, 0) + value)
            )
    return total


def _with_layer(node: Node, layer: Any) -> Node:
    """Return the node with a layer in place of its own, such as one that it wraps."""
    if layer is None or layer is node.layer:
        return node
    from dataclasses import replace

    from kspike_energy.adapters.keras import layer_spec

    return replace(node, spec=layer_spec(layer))


def _node_stats(node: Node) -> dict[str, Any]:
    statistics = node.spec.statistics
    if statistics is not None:
        return check_statistics(node.spec.name, statistics(node))
    try:
        return stats_dict(count(node))
    except UnknownLayerError as error:
        warnings.warn(f"{error}; it counts as nothing", stacklevel=4)
        return stats_dict(Counts())
