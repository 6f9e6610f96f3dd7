"""Statistics by kind of layer, under the names that KerasSpiking gives them.

Each takes a `Node`, or one of Keras' own nodes, and returns a dictionary of "connections",
"neurons" and "spiking", so that it can be registered for layers that cost the same:

>>> from kspike_energy import ModelEnergy, model_energy
>>> _ = ModelEnergy.register_layer("mypackage>MyDense")(model_energy.dense_stats)
"""

from typing import Any

from kspike_energy.counting.rules import RULES
from kspike_energy.estimate import ModelEnergy
from kspike_energy.layer_stats import as_node, compute_stats, stats_dict

__all__ = [
    "ModelEnergy",
    "act_stats",
    "conv_stats",
    "dense_stats",
    "layer_stats",
    "spikingactivation_stats",
    "timedistributed_stats",
]


def layer_stats(node: Any, **_: Any) -> dict[str, Any]:
    """Return the statistics of a layer that costs nothing."""
    return {"connections": 0, "neurons": 0, "spiking": True}


def act_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of an activation layer: one update a unit."""
    node = as_node(node)
    kind = "Activation" if "activation" in node.config else "ReLU"
    return stats_dict(RULES[kind](node))


def conv_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a convolution."""
    return stats_dict(RULES["Conv2D"](as_node(node)))


def dense_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a dense layer."""
    return stats_dict(RULES["Dense"](as_node(node)))


def spikingactivation_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a spiking activation: one neuron update a unit."""
    return stats_dict(RULES["kspike_tf>SpikingActivation"](as_node(node)))


def timedistributed_stats(node: Any) -> dict[str, Any]:
    """Compute the statistics of a layer applied at each time step: those of the wrapped layer."""
    inner = as_node(node).inner("layer", drop_time=True)
    return compute_stats(inner.layer, inner)
