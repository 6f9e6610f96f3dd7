"""The loops over time, and their analytic gradients; no other module loops over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

Tensor = Any
States = list[Any]
Step = Callable[[Tensor, States], tuple[Tensor, States]]

TICKS = 2.0**32  # the grid of the voltage: steps in one spike


def loop(step: Step, inputs: Tensor, states: States, mask: Tensor | None = None) -> Any:
    """Apply a step over the second axis."""
    sequence = tf.transpose(inputs, [1, 0, *range(2, inputs.shape.rank)])
    steps = tf.shape(sequence)[0]
    first, _ = step(sequence[0], states)
    outputs = tf.TensorArray(first.dtype, size=steps, element_shape=first.shape)

    def body(t: Tensor, states: States, outputs: Any) -> Any:
        y, states = step(sequence[t], states)
        return t + 1, states, outputs.write(t, y)

    _, states, outputs = tf.while_loop(
        lambda t, *_: t < steps, body, (tf.constant(0), states, outputs)
    )
    y = outputs.stack()
    return tf.transpose(y, [1, 0, *range(2, y.shape.rank)]), states


def spike_step(rates: Tensor, voltage: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Take one step of the spiking dynamics, straight through in the backward pass."""
    gain = tf.cast(dt, tf.float64) * TICKS
    height = tf.cast(1.0 / tf.cast(dt, tf.float64), rates.dtype)

    @tf.custom_gradient
    def forward(rates: Tensor) -> Any:
        a = tf.stop_gradient(voltage) + tf.round(tf.cast(rates, tf.float64) * gain) * (1 / TICKS)
        n = tf.floor(a)
        out = (tf.cast(n, rates.dtype) * height, a - n)
        return out, lambda d_spikes, _d_voltage: d_spikes

    spikes, voltage = forward(rates)
    return spikes, voltage


def lowpass_step(x: Tensor, y: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    decay = tf.exp(-tf.cast(dt, tf.float64) / tf.maximum(tf.cast(tau, tf.float64), 1e-8))
    u = tf.cast(x, tf.float64)
    return u + decay * (y - u)


def alpha_step(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    s = tf.cast(dt, tf.float64) / tf.maximum(tf.cast(tau, tf.float64), 1e-8)
    e = tf.exp(-s)
    u = tf.cast(x, tf.float64)
    y, p = state[:, 0], state[:, 1]
    w = y - u
    k = e * s * (p + w)
    return tf.stack([u + (e * w + k), e * p - k], axis=1)
