"""Filters over time, with analytic gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kspike_tf.scan import blocks, loops
from kspike_tf.scan.compiled import uses_blocks
from kspike_tf.scan.systems import (
    System,
    alpha_slope,
    alpha_system,
    lowpass_slope,
    lowpass_system,
)

Tensor = Any
MakeSystem = Callable[[Tensor], System]
MakeSlope = Callable[[Tensor], tuple[Tensor, Tensor]]

SHORTEST_TAU = 1e-8  # seconds; training may take a time constant below


def lowpass(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Filter a sequence by 1/(τ·s + 1).

    Parameters
    ----------
    x : (batch, time, units) tf.Tensor
        Float32 or float64.
    state : (batch, 1, units) tf.Tensor
        The output before the first step, float64.
    tau : (units,) tf.Tensor
        Time constants in seconds, clipped to at least 1e-8.
    dt : float or tf.Tensor
        Seconds a step, float64.

    Returns
    -------
    y : (batch, time, units) tf.Tensor
        The output, of the type of ``x``.
    state : (batch, 1, units) tf.Tensor
        The state after the last step.
    """
    return _filtered(x, state, ratio(tau, dt), lowpass_system, lowpass_slope)


def alpha(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Filter a sequence by 1/(τ·s + 1)².

    Parameters
    ----------
    x : (batch, time, units) tf.Tensor
        Float32 or float64.
    state : (batch, 2, units) tf.Tensor
        The output before the first step and τ times its derivative, float64.
    tau : (units,) tf.Tensor
        Time constants in seconds, clipped to at least 1e-8.
    dt : float or tf.Tensor
        Seconds a step, float64.

    Returns
    -------
    y : (batch, time, units) tf.Tensor
        The output, of the type of ``x``.
    state : (batch, 2, units) tf.Tensor
        The state after the last step.
    """
    return _filtered(x, state, ratio(tau, dt), alpha_system, alpha_slope)


def lowpass_step(x: Tensor, y: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the lowpass filter's state after one more step, on arrays without the time axis."""
    u = tf.cast(x, tf.float64)
    return u + tf.exp(-ratio(tau, dt)) * (y - u)


def alpha_step(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the alpha filter's state ``(batch, 2, units)`` after one more step."""
    r = ratio(tau, dt)
    e = tf.exp(-r)
    u = tf.cast(x, tf.float64)
    y, p = state[:, 0], state[:, 1]
    w = y - u
    k = e * r * (p + w)
    return tf.stack([u + (e * w + k), e * p - k], axis=1)


def ratio(tau: Tensor, dt: Tensor) -> Tensor:
    """Return dt/τ in float64, with τ clipped to be positive."""
    return tf.cast(dt, tf.float64) / tf.maximum(tf.cast(tau, tf.float64), SHORTEST_TAU)


def _filtered(
    x: Tensor,
    state: Tensor,
    ratio: Tensor,
    system: MakeSystem,
    slope: MakeSlope,
) -> tuple[Tensor, Tensor]:
    mechanism = blocks if uses_blocks(x) else _Loop

    @tf.custom_gradient
    def forward(x: Tensor, state: Tensor, ratio: Tensor) -> Any:
        # A tape would otherwise look into the compiled scan, which it cannot differentiate.
        args = [tf.stop_gradient(each) for each in (x, state, ratio)]

        def backward(d_y: Tensor, d_state: Tensor) -> Any:
            return mechanism.gradients(system, slope, *args, d_y, d_state)

        return mechanism.respond(system, *args), backward

    y, final = forward(x, state, ratio)
    return y, final


class _Loop:
    """The mechanism of ordinary operations, step after step."""

    @staticmethod
    def respond(
        system: MakeSystem, x: Tensor, state: Tensor, ratio: Tensor
    ) -> tuple[Tensor, Tensor]:
        return _respond(system(ratio), x, state)

    @staticmethod
    def gradients(
        system: MakeSystem,
        slope: MakeSlope,
        x: Tensor,
        state: Tensor,
        ratio: Tensor,
        d_y: Tensor,
        d_state: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        forth, back = system(ratio), system(ratio).adjoint
        d_step, d_enter = slope(ratio)

        forward_step, backward_step = forth.step, back.step

        def record(u: Tensor, s: Tensor) -> Any:
            return s, [_next(forth, forward_step, u, s)]

        before, _ = loops.scan(record, [x], [state], output=state)

        def step(g: Tensor, u: Tensor, s: Tensor, carry: Tensor, total: Tensor) -> Any:
            # The output is the state's first number: its gradient joins that number's.
            adjoint = carry + tf.pad(g[:, None], [[0, 0], [0, before.shape[2] - 1], [0, 0]])
            total += tf.reduce_sum(adjoint * (_product(d_step, s) + d_enter * u[:, None]), [0, 1])
            return _output(back, g, carry), [_next(back, backward_step, g, carry), total]

        g, u = tf.cast(d_y, tf.float64), tf.cast(x, tf.float64)
        d_x, (d_start, d_ratio) = loops.scan(
            step, [g, u, before], [d_state, tf.zeros_like(ratio)], reverse=True
        )
        return tf.cast(d_x, x.dtype), d_start, d_ratio


def _respond(system: System, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    matrix = system.step  # outside the loop

    def step(u: Tensor, s: Tensor) -> Any:
        u = tf.cast(u, tf.float64)
        return tf.cast(_output(system, u, s), x.dtype), [_next(system, matrix, u, s)]

    y, (state,) = loops.scan(step, [x], [state])
    return y, state


def _output(system: System, u: Tensor, s: Tensor) -> Tensor:
    return tf.reduce_sum(system.leave * s, 1) + system.direct * u


def _next(system: System, matrix: Tensor, u: Tensor, s: Tensor) -> Tensor:
    return _product(matrix, s) + system.enter * tf.expand_dims(tf.cast(u, tf.float64), 1)


def _product(matrix: Tensor, s: Tensor) -> Tensor:
    """Multiply (n, n, units) by (batch, n, units)."""
    return tf.reduce_sum(matrix * tf.expand_dims(s, 1), 2)
