"""Statistics of one layer on its own, without a model around it."""

import warnings
from typing import Any

from kspike_energy.counting.nodes import Counts, Node
from kspike_energy.counting.rules import UnknownLayerError, count
from kspike_energy.counting.rules.wrappers import registered_statistics

__all__ = ["as_node", "compute_stats", "stats_dict"]


def stats_dict(counts: Counts) -> dict[str, Any]:
    """Return counts as the dictionary that registered functions use."""
    return {
        "connections": counts.connections,
        "neurons": counts.neurons,
        "spiking": counts.spiking,
    }


def as_node(node: Any) -> Node:
    """Return a node that the rules take, from one of theirs or one of Keras' own.

    Parameters
    ----------
    node : Node or a node of Keras
        One application of a layer, such as ``layer._inbound_nodes[0]``.

    Raises
    ------
    TypeError
        If it is neither.
    """
    if isinstance(node, Node):
        return node
    if not all(hasattr(node, name) for name in ("operation", "arguments", "outputs")):
        raise TypeError(
            "node must be a kspike_energy.Node or a node of Keras, such as "
            f"layer._inbound_nodes[0]. Received: {node!r}"
        )
    from kspike_energy.adapters.keras import node_application  # given a Keras node, Keras is loaded
    from kspike_energy.counting.graph import build_nodes

    return build_nodes([node_application(node)])[0]


def compute_stats(layer: Any, node: Any = None) -> dict[str, Any]:
    """Return the statistics of a layer; see `ModelEnergy.compute_layer_stats`."""
    from kspike_energy.counting.graph import build_nodes

    if node is not None:
        return _node_stats(_with_layer(as_node(node), layer))
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
    if node.spec.statistics is not None:
        return registered_statistics(node)
    try:
        return stats_dict(count(node))
    except UnknownLayerError as error:
        warnings.warn(f"{error}; it counts as nothing", stacklevel=4)
        return stats_dict(Counts())
