"""The dynamics as plain Keras 3 RNN cells: one step in `call`, autodiff for the rest.

This is how one would port a spiking model to Keras 3 by hand: float32 state, one voltage and filter
state per unit, and a straight-through estimator for the spikes.
"""

from __future__ import annotations

import keras
from keras import ops


class PlainSpikingCell(keras.layers.Layer):
    """Integrate-and-fire neurons with a ReLU.

    Parameters
    ----------
    units : int
        Number of neurons.
    dt : float
        Length of a step in seconds.
    """

    def __init__(self, units: int, dt: float, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.output_size = units
        self.dt = dt

    def call(self, inputs, states):
        """Advance by one step."""
        rates = ops.relu(inputs)
        voltage = states[0] + ops.stop_gradient(rates) * self.dt
        spikes = ops.floor(voltage)
        output = rates + ops.stop_gradient(spikes / self.dt - rates)
        return output, [voltage - spikes]


class _PlainFilterCell(keras.layers.Layer):
    """Base class of both filters: a trainable time constant and initial level per unit."""

    def __init__(self, units: int, tau: float, dt: float, **kwargs):
        super().__init__(**kwargs)
        self.state_size = self.output_size = units
        self.initial_tau, self.dt = tau, dt

    def build(self, input_shape):
        """Create the weights."""
        units = self.output_size
        start = keras.initializers.Constant(self.initial_tau)
        self.tau = self.add_weight(shape=(1, units), initializer=start, name="tau")
        self.initial_level = self.add_weight(
            shape=(1, units), initializer="zeros", name="initial_level"
        )


class PlainLowpassCell(_PlainFilterCell):
    """A lowpass filter."""

    def get_initial_state(self, batch_size=None):
        """Start from the trainable level."""
        return [ops.tile(self.initial_level, (batch_size, 1))]

    def call(self, inputs, states):
        """Advance by one step."""
        decay = ops.exp(-self.dt / ops.maximum(self.tau, 1e-8))
        level = decay * states[0] + (1 - decay) * inputs
        return level, [level]


class PlainAlphaCell(_PlainFilterCell):
    """An alpha filter: two first-order states."""

    def __init__(self, units: int, tau: float, dt: float, **kwargs):
        super().__init__(units, tau, dt, **kwargs)
        self.state_size = [units, units]

    def get_initial_state(self, batch_size=None):
        """Start from the trainable level, at rest."""
        level = ops.tile(self.initial_level, (batch_size, 1))
        return [level, ops.zeros_like(level)]

    def call(self, inputs, states):
        """Advance by one step."""
        level, slope = states
        s = self.dt / ops.maximum(self.tau, 1e-8)
        e = ops.exp(-s)
        new_slope = e * ((1 - s) * slope - s * level + s * inputs)
        new_level = e * (s * slope + (1 + s) * level) + (1 - e * (1 + s)) * inputs
        return new_level, [new_level, new_slope]
