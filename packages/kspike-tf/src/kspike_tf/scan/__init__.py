"""Time: spikes and filters over whole sequences, with analytic gradients.

No other module of the package loops over time. `spikes`, `lowpass` and `alpha` take sequences
``(batch, time, units)`` and states in float64. Three mechanisms give the same answers: kernels
(`kspike_tf.scan.cpu`), blocks and a loop (`kspike_tf.scan.portable`). LiteRT files get operations
of their own: the same spikes, and filters in float32. `kspike_tf.scan.choose` says which of them
runs.
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
