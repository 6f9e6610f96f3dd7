"""Spikes and filters for LiteRT, built from its own operations.

LiteRT has no float64 arithmetic. Voltages are int64 counts of ticks of the grid, and the product of
a rate and dt is computed exactly as a sum of two float32 numbers. So the spikes equal those of the
kernels bit for bit. Filters compute in float32. Neither loops over single steps: spikes are
differences of a running sum, and filters sum their inputs in a tree.

States enter and leave as float64, as elsewhere; LiteRT can reinterpret them as int64 and round
them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

Tensor = Any

TICK_BITS = 32  # a spike has 2³² ticks
SHIFT = np.int64(TICK_BITS << 52)  # in the exponent of a float64, multiplies by 2³²
HALF_OF_DIGITS = np.float32(2**12 + 1)


def spikes(rates: Tensor, voltage: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `kspike_tf.scan.spikes` for float32 rates and fewer than 2²⁰ spikes per step."""
    dt = tf.cast(dt, tf.float32)
    one = tf.constant(2**TICK_BITS, tf.int64)
    start = _ticks(voltage)[:, None]
    added = _rounded_product(rates, dt * np.float32(2**TICK_BITS))
    # A sum beyond int64 wraps around by a multiple of 2³², which the modulus removes.
    after = tf.math.floormod(tf.cumsum(added, axis=1) + start, one)
    before = tf.concat([start, after[:, :-1]], axis=1)
    count = tf.cast(added + before - after, tf.float32) * np.float32(2.0**-TICK_BITS)
    unknown = tf.cumsum(rates * 0, axis=1)  # NaN from the first non-finite rate on
    return count * (1 / dt) + unknown, _volts(after[:, -1])


def _rounded_product(x: Tensor, factor: Tensor) -> Tensor:
    """Return the exact product of two float32 numbers, rounded to integers, half to even.

    References
    ----------
    .. [1] T. J. Dekker, "A floating-point technique for extending the available precision",
       Numerische Mathematik 18, 1971.
    """
    product = x * factor
    (x1, x2), (f1, f2) = _halves(x), _halves(factor)
    rest = ((x1 * f1 - product) + x1 * f2 + x2 * f1) + x2 * f2  # so that product + rest is exact
    even = tf.round(product * 0.5) * 2
    part = product - even  # exact, and zero or more than twice the rest
    total = part + rest
    whole = tf.round(total)
    # The total itself was rounded, possibly to a half.
    lost, half = rest - (total - part), total - whole
    up = tf.logical_and(half >= 0.5, lost > 0)
    down = tf.logical_and(half <= -0.5, lost < 0)
    whole += tf.cast(up, tf.float32) - tf.cast(down, tf.float32)
    return tf.cast(even, tf.int64) + tf.cast(whole, tf.int64)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split float32 numbers into two parts of twelve bits."""
    scaled = x * HALF_OF_DIGITS
    high = scaled - (scaled - x)
    return high, x - high


def _ticks(voltage: Tensor) -> Tensor:
    """Convert float64 voltages to the nearest number of ticks."""
    bits = tf.bitcast(voltage, tf.int64) + SHIFT
    whole = tf.cast(tf.bitcast(bits, tf.float64), tf.int64)  # towards zero
    halves = tf.cast(tf.bitcast(bits + (1 << 52), tf.float64), tf.int64)
    return halves - whole


def _volts(ticks: Tensor) -> Tensor:
    """Convert a number of ticks to float64 voltages."""
    bits = tf.bitcast(tf.cast(ticks, tf.float64), tf.int64)
    return tf.bitcast(tf.where(tf.equal(ticks, 0), bits, bits - SHIFT), tf.float64)


def lowpass(x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `kspike_tf.scan.lowpass` of a float32 sequence for a constant ratio dt/τ."""
    y = _decaying_sum(x * _single(-tf.math.expm1(-ratio)), tf.cast(state, tf.float32), ratio)
    return y, tf.cast(y[:, -1:], tf.float64)


def alpha(x: Tensor, state: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Compute `kspike_tf.scan.alpha` of a float32 sequence for a constant ratio dt/τ."""
    # Two filters in series: z ← e·z + (1 − e)·x, y ← e·y + e·r·z + (1 − e·(1 + r))·x, where z is
    # y + τ·dy/dt; on the right-hand sides, y and z are from the previous step.
    e, gain = tf.exp(-ratio), -tf.math.expm1(-ratio)
    level, slope = tf.split(tf.cast(state, tf.float32), 2, axis=1)
    z = _decaying_sum(x * _single(gain), level + slope, ratio)
    before = tf.concat([level + slope, z[:, :-1]], axis=1)
    entering = before * _single(e * ratio) + x * _single(gain - e * ratio)
    y = _decaying_sum(entering, level, ratio)
    end = tf.concat([y[:, -1:], z[:, -1:] - y[:, -1:]], axis=1)
    return y, tf.cast(end, tf.float64)


def _decaying_sum(x: Tensor, start: Tensor, ratio: Tensor) -> Tensor:
    """Return y ← e⁻ʳ·y + x for all steps, from ``start`` ``(batch, 1, units)``."""
    ratio = _single(ratio)
    steps = tf.shape(x)[1]

    def doubled(reach: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        # Double the number of terms: add the sum that ends where this one begins.
        earlier = tf.pad(y, [[0, 0], [reach, 0], [0, 0]])[:, :steps]
        earlier.set_shape(y.shape)
        return reach * 2, y + earlier * tf.exp(ratio * -tf.cast(reach, tf.float32))

    _, y = tf.while_loop(lambda reach, _: reach < steps, doubled, (tf.constant(1), x))
    since = tf.cast(tf.range(1, steps + 1), tf.float32)
    return y + start * tf.exp(since[:, None] * -ratio)


def _single(x: Tensor) -> Tensor:
    return tf.cast(x, tf.float32)
