"""Filters over time, with analytic gradients.

Kernels and loops follow the formulas of `kspike_tf.scan.kernels`. For blocks, both filters are made
of first-order systems s ← e·s + …, with e = exp(−r) and r = dt/τ: the lowpass filter is one, the
alpha filter two in a row. The adjoint of such a system, which takes gradients from its outputs to
its inputs, is again such a system, run backwards in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import tensorflow as tf

from kspike_tf.scan import (
    adjoints,
    blocks,
    forward_mode,
    host,
    kernels,
    lite_rt,
    loops,
    time_constants,
    xla,
)
from kspike_tf.scan.adjoints import FLATTEST
from kspike_tf.scan.blocks import Weights
from kspike_tf.scan.compiled import Way, stage, way

Tensor = Any


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
    return _scan(_LOWPASS, x, state, time_constants.ratio(tau, dt, order=1))


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
    return _scan(_ALPHA, x, state, time_constants.ratio(tau, dt, order=2))


def lowpass_step(x: Tensor, y: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the lowpass filter's state after one more step, on arrays without the time axis."""
    coefficients = time_constants.weights(kernels.lowpass, time_constants.ratio(tau, dt, order=1))
    (y,), _ = kernels.lowpass.formula([y], [_double(x)], coefficients)
    return y


def alpha_step(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the alpha filter's state ``(batch, 2, units)`` after one more step."""
    coefficients = time_constants.weights(kernels.alpha, time_constants.ratio(tau, dt, order=2))
    states, _ = kernels.alpha.formula([state[:, 0], state[:, 1]], [_double(x)], coefficients)
    return tf.stack(states, axis=1)


class _Filter(NamedTuple):
    """A filter's functions of a sequence, a state and the ratio of dt to τ, and their adjoints.

    Kernels and loops take the same. Adjoints in blocks also take what came out of the filter and
    went between its systems.
    """

    kernel: Any
    back_kernel: Any
    in_loops: Any
    in_lite_rt: Any
    back_in_loops: Any
    more: Any  # arguments of those adjoints, as a function of the ratio
    in_blocks: Any
    back_in_blocks: Any
    again: Any  # of a lowpass filter: those adjoints in a form that can be differentiated


def _scan(kind: _Filter, x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Filter, in the way that fits, differentiably to any order."""
    if way(x) is Way.LITE_RT and 0 not in x.shape:
        return kind.in_lite_rt(x, state, ratio)
    return forward_mode.call(partial(_filtered, kind, way(x)), x, state, ratio)


def _filtered(
    kind: _Filter, how: Way, x: Tensor, state: Tensor, ratio: Tensor
) -> tuple[Tensor, Tensor]:
    if 0 in x.shape:
        return tf.identity(x), tf.identity(state)  # which XLA would refuse

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
        known = [tf.stop_gradient(each) for each in (y, *between)] if how is Way.BLOCKS else []

        def back(d_y: Tensor, d_end: Tensor) -> Any:
            return _adjoint(kind, how, known, (x, state, ratio, d_y, d_end))

        return (y, end), back

    y, end = filtered(x, state, ratio)
    return y, end


def _adjoint(kind: _Filter, how: Way, known: list[Tensor], args: Sequence[Tensor]) -> Any:
    """Take gradients back through a filter, differentiably.

    Parameters
    ----------
    kind : _Filter
        The filter.
    how : Way
        How it was run.
    known : list of tf.Tensor
        What came out of it and, in blocks, went between its systems.
    args : sequence of tf.Tensor
        Its arguments, and the gradients of its results.

    Returns
    -------
    list of tf.Tensor
        The gradients of its arguments.
    """

    @tf.custom_gradient
    def gradients(*args: Tensor) -> Any:
        still = [tf.stop_gradient(each) for each in args]

        def back(*d_gradients: Tensor) -> Any:
            return adjoints.differentiated(_again(kind, how), args, d_gradients)

        return _taken_back(kind, how, known, still), back

    # Of the graph that is traced now, which may be another than that of the filter.
    return gradients(*map(tf.identity, args))


@cache
def _again(kind: _Filter, how: Way) -> Any:
    # In the same way: only where a filter is traced is it known what will run the graph.
    return kind.again(partial(_filtered, _LOWPASS, how))


def _taken_back(kind: _Filter, how: Way, known: list[Tensor], args: list[Tensor]) -> Any:
    x, state, ratio, d_y, d_end = args
    ratio = tf.minimum(ratio, FLATTEST)
    if how is Way.BLOCKS:
        return kind.back_in_blocks(x, state, ratio, *known, d_y, d_end)
    given = x, state, ratio, *kind.more(ratio), d_y, d_end
    if how is Way.LOOP:
        return kind.back_in_loops(*given)
    if how is Way.FROM_XLA:
        return xla.call(kind.back_kernel, given)
    return host.call(kind.back_kernel, given, kind.back_in_loops)


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
    lite_rt.lowpass,
    loops.lowpass_back,
    lambda _: (),
    _lowpass,
    _lowpass_back,
    adjoints.of_lowpass,
)
_ALPHA = _Filter(
    kernels.alpha,
    kernels.alpha_back,
    loops.alpha,
    lite_rt.alpha,
    loops.alpha_back,
    lambda ratio: (_alpha_gain(ratio),),
    _alpha,
    _alpha_back,
    partial(adjoints.of_alpha, gain_of=_alpha_gain),
)
