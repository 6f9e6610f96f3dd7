"""Energy estimates of `kspike_energy`, under the names that KerasSpiking uses."""

from kspike_energy.model_energy import (
    ModelEnergy,
    act_stats,
    conv_stats,
    dense_stats,
    layer_stats,
    spikingactivation_stats,
    timedistributed_stats,
)

__all__ = [
    "ModelEnergy",
    "act_stats",
    "conv_stats",
    "dense_stats",
    "layer_stats",
    "spikingactivation_stats",
    "timedistributed_stats",
]
