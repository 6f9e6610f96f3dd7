"""Clipping of time constants, with a gradient that brings back those below the limit.

Training may take a time constant τ below zero, so τ is clipped to 1e-8 s. There, the decay
exp(−dt/τ) of a step and its slope in τ are zero. A plain clip would only pass on gradients of zero,
and τ would never recover. Below the limit, the gradient is therefore the one with respect to the
decay, times the slope of the decay at τ = dt. It is zero where descent would lower τ further,
since that no longer changes the outputs. The gradient with respect to the decay is taken at the
ratio `FLATTEST`, where it is small but not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        Order of the filter, 1 or 2. Outputs depend on the ratio r like r^(order − 1)·e⁻ʳ.

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
            # Convert the slopes of r^(order − 1)·e⁻ʳ at `flattest`, and of dt/τ at the shortest
            # τ, to those at r = 1.
            steeper = tf.exp(flattest - 1) * (SHORTEST_TAU / flattest ** (order - 1)) * SHORTEST_TAU
            upwards = tf.where(d_tau >= 0, tf.zeros_like(d_tau), d_tau)
            brought_back = upwards * tf.math.divide_no_nan(steeper, longest**2)
            return tf.where(tau <= SHORTEST_TAU, brought_back, d_tau)

        return tf.maximum(tau, SHORTEST_TAU), back

    return seconds / clipped(tf.cast(tau, tf.float64))


def weights(function: Callable[..., Sequence[Tensor]], ratio: Tensor) -> tuple[Tensor, ...]:
    """Apply a function to a ratio, with gradients that do not vanish above `FLATTEST`."""

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
    return tuple(result) if isinstance(result, list | tuple) else (result,)
