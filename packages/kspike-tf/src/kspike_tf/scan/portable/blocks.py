"""Parallel scans: prefix sums over blocks of steps, over blocks of blocks, and so on.

This code has never run on an accelerator. Its results are tested on CPUs; its speed on a GPU has
not been measured.

Time is divided into blocks of a few steps. A block's contribution to the state is a sum over its
steps. The states between blocks follow from these sums by the same scheme, with blocks in place of
steps. The states within a block follow from the state before it and partial sums over its steps.
So T steps take log T levels, each a few elementwise operations on all blocks at once.

References
----------
.. [1] G. E. Blelloch, "Prefix sums and their applications", CMU-CS-90-190, 1990, section 1.4:
   first-order recurrences as scans.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial, wraps
from typing import Any

import numpy as np
import tensorflow as tf

from kspike_tf.scan.cpu.kernels import TICKS
from kspike_tf.scan.portable.loop import fitted
from kspike_tf.tracing import in_xla

Tensor = Any

BLOCK = 8  # steps, or blocks of the level below
SHIFT = 1.5 * 2.0**52
SHIFT_BITS = np.float64(SHIFT).view(np.int64)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of tensors with XLA, once per shape, unless its caller is compiled."""

    @cache
    def alone(key: Any) -> Any:
        # One function per shape: TensorFlow warns if a function is retraced for many shapes.
        del key
        return tf.function(partial(function), jit_compile=True, autograph=False)

    @wraps(function)
    def call(*args: Tensor) -> Any:
        if in_xla():
            return function(*args)
        return alone(tuple(tuple(each.shape) for each in args))(*args)

    return call


def states(u: Tensor, start: Tensor, decay: Callable[[int], Any], stride: int = 1) -> Tensor:
    """Return the states s_t = decay(stride)·s_{t−1} + u_t after all steps.

    Parameters
    ----------
    u : (batch, time, units) tf.Tensor
        The contributions of the steps.
    start : (batch, units) tf.Tensor
        The state before the first step.
    decay : callable
        Returns the fraction of a state that remains after a number of time steps.
    stride : int
        Time steps per entry of ``u``.
    """
    size, block = u.shape[1], min(u.shape[1], BLOCK)
    count = -(-size // block)
    u = tf.pad(u, [[0, 0], [0, count * block - size], [0, 0]])
    view = tf.reshape(u, [-1, count, block, u.shape[2]])
    within = [view[:, :, 0]]
    for n in range(1, block):
        within.append(decay(stride) * within[-1] + view[:, :, n])
    before = start[:, None]
    if count > 1:
        ends = states(within[-1][:, :-1], start, decay, stride * block)
        before = tf.concat([before, ends], 1)
    found = [decay((n + 1) * stride) * before + each for n, each in enumerate(within)]
    return tf.reshape(tf.stack(found, 2), [-1, count * block, u.shape[2]])[:, :size]


@compiled
def lowpass(x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `kernels.lowpass` for a ratio dt/τ."""
    driven = -tf.math.expm1(-ratio) * tf.cast(x, tf.float64)
    y = states(driven, fitted(state[:, 0], x), lambda steps: tf.exp(-steps * ratio))
    return tf.cast(y, x.dtype), y[:, -1:]


@compiled
def spikes(rates: Tensor, voltage: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `kernels.spikes`, for fewer than 2²⁰ spikes per step and voltages in [0, 1).

    Modulo one spike, the voltage is the sum of the lower 32 bits of the increments: integers that
    wrap around, exact in any order. The carries lost in wrapping are the spikes.
    """
    whole, ticks = _increments(rates, dt)
    start = tf.cast(tf.cast(fitted(voltage, rates) * TICKS, tf.int64), tf.int32)
    after = states(tf.cast(ticks, tf.int32), start, lambda steps: 1)
    before = tf.concat([start[:, None], after[:, :-1]], 1)
    carried = tf.bitwise.right_shift(_unsigned(before) + ticks, np.int64(32))
    count = whole + tf.cast(tf.cast(carried, tf.int32), rates.dtype)
    final = tf.cast(_unsigned(after[:, -1]), tf.float64) * (1 / TICKS)
    return count * tf.cast(1 / dt, rates.dtype), final


def _increments(rates: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Split the increments of the voltage into whole spikes and ticks of up to half a spike.

    Whole spikes have the dtype of the rates; ticks are int64.
    """
    spikes = tf.cast(rates, tf.float64) * dt
    whole = tf.round(spikes)
    # From 2⁵² to 2⁵³, the float64 numbers are the integers. So the sum rounds to an integer, half
    # to even, and its last bits are the result.
    shifted = tf.bitcast((spikes - whole) * TICKS + SHIFT, tf.int64)
    return tf.cast(whole, rates.dtype), shifted - SHIFT_BITS


def _unsigned(ticks: Tensor) -> Tensor:
    """Return wrapped int32 as integers in [0, 2³²)."""
    return tf.bitwise.bitwise_and(tf.cast(ticks, tf.int64), np.int64(2**32 - 1))
