"""Trainable spiking layers and synaptic filters for Keras 3."""

from kspike_tf import callbacks, config, constraints, layers, regularizers
from kspike_tf.config import default
from kspike_tf.layers import (
    Alpha,
    AlphaCell,
    Lowpass,
    LowpassCell,
    SpikingActivation,
    SpikingActivationCell,
)

__all__ = [
    "Alpha",
    "AlphaCell",
    "Lowpass",
    "LowpassCell",
    "SpikingActivation",
    "SpikingActivationCell",
    "callbacks",
    "config",
    "constraints",
    "default",
    "layers",
    "regularizers",
]
