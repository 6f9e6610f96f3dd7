"""Filters over time, with analytic gradients.

Kernels and loops follow the formulas of `kspike_tf.scan.kernels`. For blocks, both filters are made
of first-order systems s ← e·s + …, with e = exp(−r) and r = dt/τ: the lowpass filter is one, the
alpha filter two in a row. The adjoint of such a system, which takes gradients from its outputs to
its inputs, is again such a system, run backwards in time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kspike_tf.scan import blocks, host, kernels, loops, xla
from kspike_tf.scan.blocks import Weights
from kspike_tf.scan.compiled import Way, stage, way

Tensor = Any

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
    return _scan(_LOWPASS, x, state, ratio(tau, dt))


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
    return _scan(_ALPHA, x, state, ratio(tau, dt))


def lowpass_step(x: Tensor, y: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the lowpass filter's state after one more step, on arrays without the time axis."""
    weights = kernels.lowpass.coefficients(ratio(tau, dt))
    (y,), _ = kernels.lowpass.formula([y], [_double(x)], weights)
    return y


def alpha_step(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the alpha filter's state ``(batch, 2, units)`` after one more step."""
    weights = kernels.alpha.coefficients(ratio(tau, dt))
    states, _ = kernels.alpha.formula([state[:, 0], state[:, 1]], [_double(x)], weights)
    return tf.stack(states, axis=1)


def ratio(tau: Tensor, dt: Tensor) -> Tensor:
    """Return dt/τ in float64, with τ clipped to be positive."""
    return tf.cast(dt, tf.float64) / tf.maximum(tf.cast(tau, tf.float64), SHORTEST_TAU)


class _Filter(NamedTuple):
    """A filter's functions of a sequence, a state and the ratio of dt to τ, and their adjoints.

    Kernels and loops take the same. Adjoints in blocks also take what went through the
    filter and between its systems.
    """

    kernel: Any
    back_kernel: Any
    in_loops: Any
    back_in_loops: Any
    more: Any  # arguments of those adjoints, as a function of the ratio
    in_blocks: Any
    back_in_blocks: Any


def _scan(kind: _Filter, x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Filter, in the way that fits, differentiably."""
    if 0 in x.shape:
        return tf.identity(x), tf.identity(state)  # which XLA would refuse
    how = way(x)

    @tf.custom_gradient
    def filtered(x: Tensor, state: Tensor, ratio: Tensor) -> Any:
        # A tape would otherwise look into the scan, which it cannot differentiate.
        args = [tf.stop_gradient(each) for each in (x, state, ratio)]
        between: list[Tensor] = []
        if how is Way.HOST:
            y, end = host.call(kind.kernel, args, kind.in_loops)
        elif how is Way.FROM_XLA:
            y, end = xla.call(kind.kernel, args)
        elif how is Way.LOOP:
            y, end = kind.in_loops(*args)
        else:
            y, end, *between = kind.in_blocks(*args)

        def back(d_y: Tensor, d_end: Tensor) -> Any:
            if how is Way.BLOCKS:
                known = [tf.stop_gradient(each) for each in (y, *between)]
                return kind.back_in_blocks(*args, *known, d_y, d_end)
            given = *args, *kind.more(args[2]), d_y, d_end
            if how is Way.LOOP:
                return kind.back_in_loops(*given)
            if how is Way.FROM_XLA:
                return xla.call(kind.back_kernel, given)
            return host.call(kind.back_kernel, given, kind.back_in_loops)

        return (y, end), _once(back)

    y, end = filtered(x, state, ratio)
    return y, end


def _once(back: Any) -> Any:
    """Refuse to differentiate gradients: of what they read, they know no derivatives."""

    @tf.custom_gradient
    def gradients(*d_outputs: Tensor) -> Any:
        def refuse(*_: Tensor) -> Any:
            text = "second derivatives of Lowpass and Alpha are not available"
            if tf.executing_eagerly():
                raise NotImplementedError(text)
            # When it runs, for TensorFlow traces this just to save a graph. XLA leaves checks out.
            with tf.control_dependencies([tf.debugging.Assert(False, [text])]):
                return [tf.fill(tf.shape(each), tf.cast(np.nan, each.dtype)) for each in d_outputs]

        return back(*d_outputs), refuse

    return gradients


def _summed(terms: Any) -> Any:
    """Return a function that sums terms of each step over batch and time."""
    in_parts = stage(lambda *args: blocks.partial_sums(terms(*args)))
    return lambda *args: tf.reduce_sum(in_parts(*args), [0, 1])


# In blocks, the lowpass filter: y ← e·y + (1 − e)·x.


def _lowpass_weights(ratio: Tensor) -> Weights:
    gain = -tf.math.expm1(-ratio)
    return Weights(ratio, gain, tf.exp(-ratio), gain)


def _lowpass(x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    y, end = blocks.respond(_lowpass_weights(ratio), x, state[:, 0])
    return y, tf.expand_dims(end, 1)


def _lowpass_back(
    x: Tensor,
    state: Tensor,
    ratio: Tensor,
    y: Tensor,
    d_y: Tensor,
    d_end: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    weights = _lowpass_weights(ratio)
    d_x, d_start = blocks.respond(weights.adjoint, d_y, d_end[:, 0], reverse=True)
    change = _lowpass_terms(x, y, state[:, 0], d_x)
    # dy/dr = −e·(y before − x), times the gradient of y, which is d_x/(1 − e).
    return d_x, tf.expand_dims(d_start, 1), -tf.exp(-ratio) / weights.enter * change


@_summed
def _lowpass_terms(x: Tensor, y: Tensor, start: Tensor, d_x: Tensor) -> Tensor:
    return _double(d_x) * (_double(_shifted(y, start)) - _double(x))


# In blocks, the alpha filter: z ← e·z + (1 − e)·x and y ← e·y + m, where z is y + τ·dy/dt and m is
# e·r·z + (1 − e·(1 + r))·x, with z from the step before.


def _alpha_weights(ratio: Tensor) -> tuple[Weights, Weights]:
    e = tf.exp(-ratio)
    gain = -tf.math.expm1(-ratio)
    one = tf.ones_like(ratio)
    # Not 1 − e·(1 + r), which loses the digits of small steps.
    return Weights(ratio, gain, e * ratio, _alpha_gain(ratio)), Weights(ratio, one, e, one)


def _alpha_gain(ratio: Tensor) -> Tensor:
    """Return 1 − e·(1 + r), by its series where that cancels."""
    closed = -tf.math.expm1(-ratio) - tf.exp(-ratio) * ratio
    # r²/2 − r³/3 + r⁴/8 − r⁵/30: the next term is r⁶/144, 1e-20 of the first at the limit.
    series = ratio**2 * (1 / 2 - ratio * (1 / 3 - ratio * (1 / 8 - ratio / 30)))
    return tf.where(ratio < 1e-4, series, closed)


def _alpha(x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    first, second = _alpha_weights(ratio)
    states = [state[:, 0] + state[:, 1], state[:, 0]]
    middle, y, (z, end) = blocks.in_series(first, second, x, states)
    return y, tf.stack([end, z - end], 1), middle


def _alpha_back(
    x: Tensor,
    state: Tensor,
    ratio: Tensor,
    y: Tensor,
    middle: Tensor,
    d_y: Tensor,
    d_end: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    first, second = _alpha_weights(ratio)
    # The state holds y and z − y.
    d_states = [d_end[:, 0] - d_end[:, 1], d_end[:, 1]]
    d_m, d_x, (d_start, d_z) = blocks.in_series(
        second.adjoint, first.adjoint, d_y, d_states, reverse=True
    )

    weights = ratio, tf.exp(-ratio), first.direct, first.enter
    change = _alpha_terms(x, y, middle, state[:, 0], d_m, d_x, *weights)
    return d_x, tf.stack([d_start + d_z, d_z], 1), change


@_summed
def _alpha_terms(
    x: Tensor,
    y: Tensor,
    middle: Tensor,
    start: Tensor,
    d_m: Tensor,
    d_x: Tensor,
    ratio: Tensor,
    e: Tensor,
    direct: Tensor,
    enter: Tensor,
) -> Tensor:
    u, g = _double(x), _double(d_m)
    e_z = (_double(middle) - direct * u) / ratio  # e times z before the step
    g_z = (_double(d_x) - direct * g) / enter  # gradient of z after it
    change_y = e * (ratio * u - _double(_shifted(y, start))) + (1 - ratio) * e_z
    return g * change_y + g_z * (e * u - e_z)


def _double(x: Tensor) -> Tensor:
    return tf.cast(x, tf.float64)


def _shifted(y: Tensor, start: Tensor) -> Tensor:
    """Return the values of a step before."""
    return tf.concat([tf.cast(start, y.dtype)[:, None], y[:, :-1]], 1)


_LOWPASS = _Filter(
    kernels.lowpass,
    kernels.lowpass_back,
    loops.lowpass,
    loops.lowpass_back,
    lambda _: (),
    _lowpass,
    _lowpass_back,
)
_ALPHA = _Filter(
    kernels.alpha,
    kernels.alpha_back,
    loops.alpha,
    loops.alpha_back,
    lambda ratio: (_alpha_gain(ratio),),
    _alpha,
    _alpha_back,
)
