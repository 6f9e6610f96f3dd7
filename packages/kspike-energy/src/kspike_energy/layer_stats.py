"""Statistics of single layers outside a model, under KerasSpiking's names."""

import sys
import warnings
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from typing import Any

from kspike_energy.checks import level_of_user
from kspike_energy.counting.graph import complete_nodes
from kspike_energy.counting.nodes import Counts, Node
from kspike_energy.counting.rules import RULES, UnknownLayerError, count
from kspike_energy.counting.statistics import registered_statistics, stats_dict
from kspike_energy.registry import STATISTICS, Statistics, forget_statistics, set_statistics

__all__ = [
    "LayerStatsComputers",
    "act_stats",
    "compute_stats",
    "conv_stats",
    "dense_stats",
    "layer_stats",
    "spikingactivation_stats",
    "timedistributed_stats",
]

# Only Keras' own layers and nodes need the Keras adapter, so it is imported on demand.


def _as_node(node: Any) -> Node:
    """Return a `Node`, converting one of Keras' own nodes if necessary.

    Raises
    ------
    TypeError
        If ``node`` is neither.
    """
    if isinstance(node, Node):
        return node
    if not all(hasattr(node, name) for name in ("operation", "arguments", "outputs")):
        raise TypeError(
            "node must be a kspike_energy.Node or a node of Keras, such as "
            f"layer._inbound_nodes[0]. Received: {node!r}"
        )
    from kspike_energy.adapters.keras import node_application

    return complete_nodes([node_application(node)])[0]


def compute_stats(layer: Any, node: Any = None) -> dict[str, Any]:
    """Return the statistics of one layer.

    Parameters
    ----------
    layer : keras.layers.Layer
        A layer that has been applied.
    node : Node or a node of Keras, optional
        The application to count, such as ``layer._inbound_nodes[0]``; by default all of them,
        summed.

    Returns
    -------
    dict
        "connections", "neurons" and "spiking"; for a registered layer, the result of its function.

    Raises
    ------
    TypeError
        If ``layer`` is not a Keras layer and no node is passed, or ``node`` is neither a `Node` nor
        a node of Keras.
    ValueError
        If the layer was never applied.
    """
    if node is not None:
        node = _as_node(node)
        if layer is not None and layer is not node.layer:  # such as a layer that node.layer wraps
            from kspike_energy.adapters.keras import layer_spec

            node = replace(node, spec=layer_spec(layer))
        return _node_stats(node)
    if not hasattr(layer, "_inbound_nodes"):
        raise TypeError(f"layer must be a Keras layer, unless node is passed. Received: {layer!r}")
    # Count every application separately, because they may belong to different models.
    every = [_node_stats(_as_node(inbound)) for inbound in layer._inbound_nodes]
    if not every:
        name = getattr(layer, "name", repr(layer))
        raise ValueError(f"layer {name!r} was never applied to an input, so it has no shapes")
    total = every[0]
    for stats in every[1:]:
        for key, value in stats.items():
            if key == "spiking":
                total[key] = total.get(key, True) and value
            else:
                total[key] = total.get(key, 0) + value
    return total


def _node_stats(node: Node) -> dict[str, Any]:
    if node.spec.statistics is not None:
        return registered_statistics(node)
    try:
        return stats_dict(count(node))
    except UnknownLayerError as error:
        warnings.warn(f"{error}; the layer is counted as zero", stacklevel=level_of_user())
        return stats_dict(Counts())


def layer_stats(node: Any, **_: Any) -> dict[str, Any]:
    """Return the statistics of a layer that costs nothing."""
    return {"connections": 0, "neurons": 0, "spiking": True}


def act_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of an activation layer: one update per unit."""
    node = _as_node(node)
    kind = "Activation" if "activation" in node.config else "ReLU"
    return stats_dict(RULES[kind](node))


def conv_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a convolution."""
    return stats_dict(RULES["Conv2D"](_as_node(node)))


def dense_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a dense layer."""
    return stats_dict(RULES["Dense"](_as_node(node)))


def spikingactivation_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a spiking activation: one neuron update per unit."""
    return stats_dict(RULES["kspike_tf>SpikingActivation"](_as_node(node)))


def timedistributed_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a layer applied at every time step: those of the wrapped layer."""
    inner = _as_node(node).inner("layer", drop_time=True)
    return compute_stats(inner.layer, inner)


class LayerStatsComputers(MutableMapping[type | str, Statistics]):
    """Counting functions by layer class, or by the name under which Keras saves the class.

    Lookup tries registered functions first, then the built-in rules. Assignment registers a
    function without a warning. Deletion removes a registered function; built-in rules stay.
    """

    def __getitem__(self, layer_class: type | str) -> Statistics:
        registered = STATISTICS.get(layer_class)
        if registered is not None:
            return registered
        kind = layer_class if isinstance(layer_class, str) else _kind(layer_class)
        if kind not in RULES:
            raise KeyError(layer_class)
        rule = RULES[kind]

        def statistics(node: Any) -> dict[str, Any]:
            return stats_dict(rule(_as_node(node)))

        statistics.__doc__ = rule.__doc__
        return statistics

    def __setitem__(self, layer_class: type | str, function: Statistics) -> None:
        set_statistics(layer_class, function)

    def __delitem__(self, layer_class: type | str) -> None:
        forget_statistics(layer_class)

    def __iter__(self) -> Iterator[type | str]:
        yield from STATISTICS
        yield from (kind for kind in RULES if kind not in STATISTICS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _kind(layer_class: type) -> str | None:
    """Return the name of the rule for a class; only Keras' own classes have one."""
    if "keras" not in sys.modules or not isinstance(layer_class, type):
        return None
    from kspike_energy.adapters.keras import class_kind

    return class_kind(layer_class)
