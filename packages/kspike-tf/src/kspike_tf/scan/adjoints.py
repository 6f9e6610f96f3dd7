"""Gradients of the filters' gradients, to any order.

The adjoint of a linear filter is the same filter, run backwards in time. So the gradients of a
filter are sums and products of filtered sequences, which TensorFlow can differentiate again.
All filters are built from lowpass filters: an alpha filter is two of them in series.

Kernels and loops compute first gradients faster. This module serves higher derivatives and blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import tensorflow as tf

Tensor = Any
Gradients = Callable[..., list[Tensor]]

FLATTEST = 300.0  # dt/τ at which gradients are clipped: e⁻³⁰⁰ is 5e-131


def differentiated(
    gradients: Gradients, args: Sequence[Tensor], d_gradients: Sequence[Tensor]
) -> list[Tensor]:
    """Propagate gradients back through the gradients of a filter.

    Parameters
    ----------
    gradients : callable
        The result of `of_lowpass` or `of_alpha`.
    args : sequence of tf.Tensor
        The sequence, the state, the ratio of dt to τ, and the gradients of output and final state.
    d_gradients : sequence of tf.Tensor
        Gradients of the gradients of sequence, state and ratio.

    Returns
    -------
    list of tf.Tensor
        Gradients of ``args``, in their types.
    """
    if tf.executing_eagerly():
        # Use a graph: under a forward accumulator, tapes inside a gradient record nothing.
        return list(_in_graph(gradients)(list(args), list(d_gradients)))
    return _symbolic(gradients, args, d_gradients)


@cache
def _in_graph(gradients: Gradients) -> Any:
    return tf.function(partial(_symbolic, gradients), autograph=False, reduce_retracing=True)


def computed(gradients: Gradients, args: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of a filter; arguments as in `differentiated`."""
    found = gradients if tf.inside_function() else tf.function(gradients, autograph=False)
    results = found(*[tf.cast(each, tf.float64) for each in args])
    return [tf.cast(each, arg.dtype) for each, arg in zip(results, args, strict=False)]


def _symbolic(
    gradients: Gradients, args: Sequence[Tensor], d_gradients: Sequence[Tensor]
) -> list[Tensor]:
    exact = [tf.cast(tf.identity(each), tf.float64) for each in args]
    again = tf.gradients(
        gradients(*exact),
        exact,
        [tf.cast(each, tf.float64) for each in d_gradients],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return [tf.cast(each, arg.dtype) for each, arg in zip(again, args, strict=True)]


def of_lowpass(lowpass: Callable[..., Any]) -> Gradients:
    """Return a differentiable function that computes the gradients of a lowpass filter.

    Parameters
    ----------
    lowpass : callable
        The filter: a function of a sequence ``(batch, time, units)``, a state
        ``(batch, 1, units)`` and a ratio ``(units,)``.

    Returns
    -------
    callable
        Takes the ``args`` of `differentiated`, in float64; returns the gradients of sequence,
        state and ratio.
    """

    def gradients(x: Tensor, state: Tensor, ratio: Tensor, d_y: Tensor, d_end: Tensor) -> Any:
        ratio = tf.minimum(ratio, FLATTEST)
        e, gain = tf.exp(-ratio), -tf.math.expm1(-ratio)
        # Run backwards, c ← e·(g + c) is a lowpass filter of g·e/gain, and gain·c one of g·e.
        g = tf.reverse(d_y, [1])
        first = gain * d_end
        c, last = lowpass(e * g, first, ratio)
        a = g + _before(c, first) / gain
        y, _ = lowpass(x, state, ratio)
        change = tf.reverse(a, [1]) * (x - _before(y, state))
        d_ratio = e * tf.reduce_sum(change, [0, 1])
        return [tf.reverse(gain * a, [1]), last / gain, d_ratio]

    return gradients


def of_alpha(lowpass: Callable[..., Any], gain_of: Callable[[Tensor], Tensor]) -> Gradients:
    """Return a differentiable function that computes the gradients of an alpha filter.

    As `of_lowpass`, but ``gain_of`` returns the gain 1 − e·(1 + r) for a ratio r, and the state is
    ``(batch, 2, units)``.
    """
    alpha = in_series(lowpass, gain_of)

    def gradients(x: Tensor, state: Tensor, ratio: Tensor, d_y: Tensor, d_end: Tensor) -> Any:
        args = [x, state, tf.minimum(ratio, FLATTEST)]
        return tf.gradients(alpha(*args), args, [d_y, d_end])

    return gradients


def in_series(
    lowpass: Callable[..., Any], gain_of: Callable[[Tensor], Tensor]
) -> Callable[..., Any]:
    """Return a float64 alpha filter made of two lowpass filters; arguments as for `of_alpha`."""

    def alpha(x: Tensor, state: Tensor, ratio: Tensor) -> list[Tensor]:
        # z = y + τ·dy/dt: z ← e·z + (1 − e)·x and y ← e·y + e·r·z + gain·x, with z before the step.
        e, direct = tf.exp(-ratio), -tf.math.expm1(-ratio)
        start, slope = state[:, :1], state[:, 1:]
        z, z_end = lowpass(x, start + slope, ratio)
        driven = e * ratio * _before(z, start + slope) + gain_of(ratio) * x
        y, end = lowpass(driven / direct, start, ratio)
        return [y, tf.concat([end, z_end - end], 1)]

    return alpha


def _before(y: Tensor, start: Tensor) -> Tensor:
    """Shift a sequence by one step; the first value is ``start``."""
    return tf.concat([start, y], 1)[:, :-1]
