"""Time constants that training may take below zero: clipped, with a gradient that brings them back.

At 1e-8 s, to which they are clipped, the decay exp(−dt/τ) of a step is zero and so is its slope in
τ: a clip that passes gradients on would pass on zero. So below, the gradient is that by the decay,
times the slope that the decay has at τ = dt; and zero where descent would take τ further down, as
the outputs do not change there. The gradient by the decay is found at the ratio `FLATTEST`, where
it is small but not zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kspike_tf.scan.adjoints import FLATTEST

Tensor = Any

SHORTEST_TAU = 1e-8  # seconds


def ratio(tau: Tensor, dt: Tensor, order: int) -> Tensor:
    """Return dt/τ, with τ clipped to be positive.

    Parameters
    ----------
    tau : tf.Tensor
        Time constants in seconds.
    dt : float or tf.Tensor
        Seconds.
    order : int
        Of the filter, 1 or 2: what depends on the ratio r does so like r^(order − 1)·e⁻ʳ.

    Returns
    -------
    tf.Tensor
        Float64.
    """
    seconds = tf.cast(dt, tf.float64)
    longest = tf.stop_gradient(tf.reduce_max(seconds))

    @tf.custom_gradient
    def clipped(tau: Tensor) -> Any:
        def back(d_tau: Tensor) -> Tensor:
            flattest = tf.minimum(longest / SHORTEST_TAU, FLATTEST)
            # From the slope of r^(order − 1)·e⁻ʳ at `flattest`, and of dt/τ at the shortest τ, to
            # those at r = 1.
            steeper = tf.exp(flattest - 1) * (SHORTEST_TAU / flattest ** (order - 1)) * SHORTEST_TAU
            upwards = tf.where(d_tau >= 0, tf.zeros_like(d_tau), d_tau)
            brought_back = upwards * tf.math.divide_no_nan(steeper, longest**2)
            return tf.where(tau <= SHORTEST_TAU, brought_back, d_tau)

        return tf.maximum(tau, SHORTEST_TAU), back

    return seconds / clipped(tf.cast(tau, tf.float64))


def weights(function: Callable[[Tensor], list[Tensor]], ratio: Tensor) -> list[Tensor]:
    """Return a function of a ratio, with gradients that do not vanish above `FLATTEST`."""

    @tf.custom_gradient
    def found(ratio: Tensor) -> Any:
        def back(*d_weights: Tensor) -> Tensor:
            steepest = tf.minimum(ratio, FLATTEST)
            with tf.GradientTape() as tape:
                tape.watch(steepest)
                again = function(steepest)
            return tape.gradient(again, steepest, output_gradients=list(d_weights))

        return function(ratio), back

    result = found(ratio)
    return list(result) if isinstance(result, list | tuple) else [result]
