"""Operating points of a spiking model: accuracy, spikes, energy and latency."""

from kspike_tf.sweeping.result import Point, Sweep
from kspike_tf.sweeping.sweep import sweep

__all__ = ["Point", "Sweep", "sweep"]
