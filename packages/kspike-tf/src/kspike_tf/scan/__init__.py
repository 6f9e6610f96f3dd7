"""Time: spikes and filters over whole sequences, with analytic gradients.

No other module of the package loops over time. `spikes`, `lowpass` and `alpha` take sequences
``(batch, time, units)`` and states in float64. There are three mechanisms that answer the same:

- kernels (`kspike_tf.scan.kernels`, compiled by `kspike_tf.scan.program`), on machines without an
  accelerator: for any number of steps, without a compilation for each. TensorFlow's graphs call
  them through `kspike_tf.scan.host`, what XLA compiles through `kspike_tf.scan.xla`; both without
  Python;
- blocks (`kspike_tf.scan.blocks`) beside accelerators, if the number of steps is known when the
  graph is traced: a tree of small sums instead of a loop, so that time is as parallel as the batch;
- a loop (`kspike_tf.scan.loops`, ordinary TensorFlow operations) elsewhere: in exports, and in a
  process that has loaded a saved graph, unless XLA compiles it.

LiteRT files get operations of their own (`kspike_tf.scan.lite_rt`): the same spikes, and filters in
float32.
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
