"""Trainable spiking layers and synaptic filters for Keras 3."""

from kspike_tf import (
    callbacks,
    config,
    constraints,
    export,
    layers,
    model_energy,
    regularizers,
)
from kspike_tf.config import default
from kspike_tf.layers import (
    Alpha,
    AlphaCell,
    Lowpass,
    LowpassCell,
    SpikingActivation,
    SpikingActivationCell,
    TimeFolded,
)
from kspike_tf.model_energy import ModelEnergy

__all__ = [
    "Alpha",
    "AlphaCell",
    "Lowpass",
    "LowpassCell",
    "ModelEnergy",
    "SpikingActivation",
    "SpikingActivationCell",
    "TimeFolded",
    "callbacks",
    "config",
    "constraints",
    "default",
    "export",
    "layers",
    "model_energy",
    "regularizers",
]
