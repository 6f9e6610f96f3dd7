"""Spiking layers and synaptic filters."""

from kspike_tf.layers.alpha import Alpha, AlphaCell
from kspike_tf.layers.cell import KerasSpikingCell
from kspike_tf.layers.lowpass import Lowpass, LowpassCell
from kspike_tf.layers.sequence import KerasSpikingLayer
from kspike_tf.layers.spiking_activation import SpikingActivation, SpikingActivationCell
from kspike_tf.layers.time_folded import TimeFolded

__all__ = [
    "Alpha",
    "AlphaCell",
    "KerasSpikingCell",
    "KerasSpikingLayer",
    "Lowpass",
    "LowpassCell",
    "SpikingActivation",
    "SpikingActivationCell",
    "TimeFolded",
]
