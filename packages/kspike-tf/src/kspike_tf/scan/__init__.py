"""Spikes and filters over whole sequences, with analytic gradients.

All time loops of the package's own layers are here. `spikes`, `lowpass` and `alpha` take
sequences ``(batch, time, units)`` and float64 states. Three mechanisms give the same results:
compiled kernels (`kspike_tf.scan.cpu`), and blocks and a loop (`kspike_tf.scan.portable`). A
fourth, for LiteRT files, gives the same spikes but filters in float32.
`kspike_tf.scan.choose` selects the mechanism.
"""

from kspike_tf.scan.filters import alpha, alpha_step, lowpass, lowpass_step
from kspike_tf.scan.spikes import on_grid, rectified_spikes, spike_step, spikes, uniform_voltage

__all__ = [
    "alpha",
    "alpha_step",
    "lowpass",
    "lowpass_step",
    "on_grid",
    "rectified_spikes",
    "spike_step",
    "spikes",
    "uniform_voltage",
]
