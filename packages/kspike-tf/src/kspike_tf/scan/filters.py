"""Filters over time, with analytic gradients.

The adjoint of a filter, which maps gradients of its outputs to gradients of its inputs, is the same
filter run backwards in time. Kernels and loops use the formulas of `kspike_tf.scan.cpu.kernels`;
blocks use the adjoints of `kspike_tf.scan.adjoints`.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, NamedTuple

import tensorflow as tf

from kspike_tf.scan import adjoints, forward_mode, time_constants
from kspike_tf.scan.adjoints import FLATTEST
from kspike_tf.scan.choose import Way, run, way
from kspike_tf.scan.cpu import kernels
from kspike_tf.scan.portable import blocks, lite_rt

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
        Seconds per step, float64.

    Returns
    -------
    y : (batch, time, units) tf.Tensor
        The output, of the type of ``x``.
    state : (batch, 1, units) tf.Tensor
        The state after the last step.
    """
    return _scan(_LOWPASS, x, state, time_constants.ratio(tau, dt, order=1))


def alpha(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Filter a sequence by 1/(τ·s + 1)²; arguments and results as for `lowpass`.

    The state ``(batch, 2, units)`` holds the output and τ times its derivative.
    """
    return _scan(_ALPHA, x, state, time_constants.ratio(tau, dt, order=2))


def lowpass_step(x: Tensor, y: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the lowpass filter's state after one more step, on arrays without the time axis."""
    (after,), _ = _step(kernels.LOWPASS, (y,), x, time_constants.ratio(tau, dt, order=1))
    return after


def alpha_step(x: Tensor, state: Tensor, tau: Tensor, dt: Tensor) -> Tensor:
    """Return the alpha filter's state ``(batch, 2, units)`` after one more step."""
    states = state[:, 0], state[:, 1]
    after, _ = _step(kernels.ALPHA, states, x, time_constants.ratio(tau, dt, order=2))
    return tf.stack(after, axis=1)


def _step(kernel: kernels.Kernel, states: Any, x: Tensor, ratio: Tensor) -> Any:
    return kernel.step(states, x, None, time_constants.weights(kernel.weights, ratio))


class _Filter(NamedTuple):
    """Implementations of a filter, as functions of sequence, state and dt/τ, and its adjoints."""

    kernel: kernels.Kernel
    back_kernel: kernels.Kernel
    in_lite_rt: Any
    in_blocks: Any
    more: Any  # returns the extra arguments of both adjoints, from the ratio
    adjoint: Any  # returns a differentiable adjoint, from a lowpass filter


def _scan(kind: _Filter, x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Filter with the mechanism that `way` chooses; differentiable to any order."""
    if way(x) is Way.LITE_RT and 0 not in x.shape:
        return kind.in_lite_rt(x, state, ratio)
    return forward_mode.call(partial(_filtered, kind, way(x)), x, state, ratio)


def _filtered(
    kind: _Filter, how: Way, x: Tensor, state: Tensor, ratio: Tensor
) -> tuple[Tensor, Tensor]:
    if 0 in x.shape:
        return tf.identity(x), tf.identity(state)  # XLA refuses empty tensors

    @tf.custom_gradient
    def filtered(x: Tensor, state: Tensor, ratio: Tensor) -> Any:
        # Hide the scan from tapes, which cannot differentiate it.
        args = [tf.stop_gradient(each) for each in (x, state, ratio)]
        y, end = kind.in_blocks(*args) if how is Way.BLOCKS else run(how, kind.kernel, args)

        def back(d_y: Tensor, d_end: Tensor) -> Any:
            # Move the tensors into the graph being traced, which may not be the filter's own.
            args = map(tf.identity, (x, state, ratio, d_y, d_end))
            return _gradients(kind, how, *args)

        return (y, end), back

    y, end = filtered(x, state, ratio)
    return y, end


def _gradients(kind: _Filter, how: Way, *args: Tensor) -> Any:
    """Return the gradients of a filter, from its arguments and the gradients of its results."""

    @tf.custom_gradient
    def gradients(*args: Tensor) -> Any:
        def back(*d_gradients: Tensor) -> Any:
            return adjoints.differentiated(_adjoint(kind, how), args, d_gradients)

        return _taken_back(kind, how, *[tf.stop_gradient(each) for each in args]), back

    return gradients(*args)


@cache
def _adjoint(kind: _Filter, how: Way) -> Any:
    # Keep the filter's mechanism: later, it is no longer known what will run the graph.
    return kind.adjoint(partial(_filtered, _LOWPASS, how))


def _taken_back(
    kind: _Filter, how: Way, x: Tensor, state: Tensor, ratio: Tensor, d_y: Tensor, d_end: Tensor
) -> Any:
    ratio = tf.minimum(ratio, FLATTEST)
    if how is Way.BLOCKS:
        return adjoints.computed(_adjoint(kind, how), (x, state, ratio, d_y, d_end))
    return run(how, kind.back_kernel, (x, state, ratio, *kind.more(ratio), d_y, d_end))


def _alpha_gain(ratio: Tensor) -> Tensor:
    """Return 1 − e·(1 + r), from its series where the closed form cancels."""
    closed = -tf.math.expm1(-ratio) - tf.exp(-ratio) * ratio
    # r²/2 − r³/3 + r⁴/8 − r⁵/30: the next term is r⁶/144, 1e-20 of the first at the limit.
    series = ratio**2 * (1 / 2 - ratio * (1 / 3 - ratio * (1 / 8 - ratio / 30)))
    return tf.where(ratio < 1e-4, series, closed)


def _alpha_in_blocks(x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    alpha = adjoints.in_series(blocks.lowpass, _alpha_gain)
    y, end = alpha(tf.cast(x, tf.float64), state, ratio)
    return tf.cast(y, x.dtype), end


_LOWPASS = _Filter(
    *(kernels.LOWPASS, kernels.LOWPASS_BACK, lite_rt.lowpass, blocks.lowpass),
    lambda _: (),
    adjoints.of_lowpass,
)
_ALPHA = _Filter(
    *(kernels.ALPHA, kernels.ALPHA_BACK, lite_rt.alpha, _alpha_in_blocks),
    lambda ratio: (_alpha_gain(ratio),),
    partial(adjoints.of_alpha, gain_of=_alpha_gain),
)
