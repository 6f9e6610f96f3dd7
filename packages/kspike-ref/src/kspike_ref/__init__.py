"""kspike_ref: exact spike and filter dynamics on a CPU, without TensorFlow."""

from kspike_ref.spiking import initial_voltage, spiking_activation
from kspike_ref.synapses import alpha, lowpass

__all__ = ["alpha", "initial_voltage", "lowpass", "spiking_activation"]
