"""Time: spikes and filters over whole sequences, with analytic gradients.

No other module of the package loops over time. `spikes`, `lowpass` and `alpha` take sequences
``(batch, time, units)`` and states in float64. Each has two mechanisms that answer the same:

- blocks (`kspike_tf.scan.blocks`, compiled by XLA), where the number of steps is known when the
  graph is traced: a tree of small sums instead of a loop, so that time is as parallel as the batch;
- a loop (`kspike_tf.scan.loops`, ordinary TensorFlow operations), where it is not: a compilation
  for each length would cost more than it saves. Exports use it as well.
"""

from kspike_tf.scan.filters import alpha, alpha_step, lowpass, lowpass_step
from kspike_tf.scan.spikes import on_grid, spike_step, spikes, uniform_voltage

__all__ = [
    "alpha",
    "alpha_step",
    "lowpass",
    "lowpass_step",
    "on_grid",
    "spike_step",
    "spikes",
    "uniform_voltage",
]
