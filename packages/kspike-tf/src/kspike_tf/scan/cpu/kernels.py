"""The dynamics: formulas of a time step, and the loops around them.

Formulas are of numbers in machine code and of tensors in `kspike_tf.scan.portable.loop`. States and
weights are float64; sequences are float32 or float64. Products are rounded before they are added:
Numba fuses the two only where it is told to.

A loop takes a block of units, from ``left`` to ``right``, of one example through time. All take the
same: the input ``x`` and the output ``out``, ``(time, units)``; ``d_y``, the gradient of the
forward filter's output; ``state``, ``(states, units)``, which it updates; and ``weights``, rows
``(units,)`` that `kspike_tf.scan.cpu.driver` computes. Spikes do not read ``d_y``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from kspike_tf.scan.cpu.intrinsics import elements, rounded

TICKS = 2.0**32  # steps of the voltage grid in one spike
DOUBLE = np.dtype(np.float64)

Array = Any  # Numba compiles for float32 and for float64


class Kernel(NamedTuple):
    """A loop, and the arrays that it needs.

    Parameters
    ----------
    name : str
        Its name in TensorFlow and XLA.
    loop : callable
        One of the loops below.
    states : int
        Numbers a unit that go from step to step, of the forward scan.
    given : int
        Arguments of which the weights are made: dt, or the ratio dt/τ and more.
    shared : bool
        Whether all units share the weights: what is given are numbers, otherwise arrays
        ``(units,)``.
    backwards : bool
        Whether it takes gradients back through another kernel, from the last step to the first.
    """

    name: str
    loop: Callable[..., None]
    states: int = 1
    given: int = 1
    shared: bool = False
    backwards: bool = False

    @property
    def rows(self) -> int:
        """Number of states of the loop.

        Backwards these are gradients of the states, as many derivatives of these for the ratio, and
        a sum over time for the gradient of the ratio.
        """
        return 2 * self.states + 1 if self.backwards else self.states

    @property
    def arguments(self) -> int:
        """Number of arguments: a sequence, states, what is given, gradients of both results."""
        return 2 + self.given + 2 * self.backwards

    @property
    def results(self) -> int:
        """Number of results, of the types and shapes of as many arguments, in their order."""
        return 2 + self.backwards


# Integrate and fire: v ← v + rate·dt on the grid, n = floor(v), v ← v − n.


@register_jitable
def spike_step(voltage: Any, rate: Any, scale: Any) -> Any:
    """Return the voltage after a step, and the number of spikes; ``scale`` is dt·TICKS."""
    a = voltage + np.rint(rate * scale) * (1 / TICKS)
    count = np.floor(a)
    return a - count, count


def spikes(
    x: Array, d_y: Array, out: Array, state: int, weights: int, run: Any, left: int, right: int
) -> None:
    """Turn rates into spikes."""
    voltage = elements(state, 0, DOUBLE)
    scale, height = elements(weights, 0, DOUBLE)[0], elements(weights, 1, DOUBLE)[0]
    for t in range(run.steps):
        first = t * run.units
        for i in range(left, right):
            voltage[i], count = spike_step(voltage[i], np.float64(x[first + i]), scale)
            out[first + i] = rounded(count, x) * rounded(height, x)


def rectified_spikes(
    x: Array, d_y: Array, out: Array, state: int, weights: int, run: Any, left: int, right: int
) -> None:
    """Turn the rates max(x, 0) into spikes."""
    voltage = elements(state, 0, DOUBLE)
    scale, height = elements(weights, 0, DOUBLE)[0], elements(weights, 1, DOUBLE)[0]
    for t in range(run.steps):
        first = t * run.units
        for i in range(left, right):
            rate = np.float64(x[first + i])
            if rate < 0:  # false for NaN
                rate = 0.0
            voltage[i], count = spike_step(voltage[i], rate, scale)
            out[first + i] = rounded(count, x) * rounded(height, x)


# The lowpass filter.


@register_jitable
def lowpass_step(y: Any, x: Any, e: Any) -> Any:
    """Return the output after a step; ``e`` is exp(−dt/τ)."""
    return x + e * (y - x)


def lowpass(
    x: Array, d_y: Array, out: Array, state: int, weights: int, run: Any, left: int, right: int
) -> None:
    """Filter with an exponential synapse."""
    y, e = elements(state, 0, DOUBLE), elements(weights, 0, DOUBLE)
    for t in range(run.steps):
        first = t * run.units
        for i in range(left, right):
            y[i] = lowpass_step(y[i], np.float64(x[first + i]), e[i])
            out[first + i] = y[i]


@register_jitable
def lowpass_back_step(state: Any, x: Any, g: Any, e: Any, gain: Any) -> Any:
    """Take gradients back through a step, with respect to the input, the state and r = −log e.

    With g the gradient of the output, and c that of the state after a step: a = g + c,
    ∂x = (1 − e)·a, c ← e·a. As the loss of such outputs is the sum of ∂x·x and of c·state, its
    derivative for r, at fixed g, is that of ∂x and c; so m = dc/dr goes along, with de/dr = −e.
    """
    c, m, total = state
    a = g + c
    return (e * a, e * (m - a), total + x * (e * a + gain * m)), gain * a


def lowpass_back(
    x: Array, d_y: Array, out: Array, state: int, weights: int, run: Any, left: int, right: int
) -> None:
    """Take gradients back through `lowpass`."""
    units = run.units
    e, gain = elements(weights, 0, DOUBLE), elements(weights, units, DOUBLE)
    c, m = elements(state, 0, DOUBLE), elements(state, units, DOUBLE)
    total = elements(state, 2 * units, DOUBLE)
    for t in range(run.steps - 1, -1, -1):
        first = t * units
        for i in range(left, right):
            u, g = np.float64(x[first + i]), np.float64(d_y[first + i])
            before = c[i], m[i], total[i]
            (c[i], m[i], total[i]), d_x = lowpass_back_step(before, u, g, e[i], gain[i])
            out[first + i] = d_x


# The alpha filter.


@register_jitable
def alpha_step(y: Any, p: Any, x: Any, e: Any, slope: Any) -> Any:
    """Return the output after a step and τ times its derivative; ``slope`` is e·dt/τ."""
    w = y - x
    k = slope * (p + w)
    return x + e * w + k, e * p - k


def alpha(
    x: Array, d_y: Array, out: Array, state: int, weights: int, run: Any, left: int, right: int
) -> None:
    """Filter with an alpha synapse."""
    units = run.units
    y, p = elements(state, 0, DOUBLE), elements(state, units, DOUBLE)
    e, slope = elements(weights, 0, DOUBLE), elements(weights, 2 * units, DOUBLE)
    for t in range(run.steps):
        first = t * units
        for i in range(left, right):
            y[i], p[i] = alpha_step(y[i], p[i], np.float64(x[first + i]), e[i], slope[i])
            out[first + i] = y[i]


@register_jitable
def alpha_back_step(state: Any, x: Any, g: Any, weights: Any) -> Any:
    """Take gradients back through a step, as `lowpass_back_step` does.

    With a = g + c₁ and b = c₂ the gradients of y and p after a step, and k = e·r·(a − b):
    ∂x = (1 − e·(1 + r))·a + e·r·b, c₁ ← e·a + k, c₂ ← e·b + k. The derivatives for r of e, e·r and
    the gain 1 − e·(1 + r) are −e, ``bend`` = e·(1 − r) and ``slope`` = e·r.
    """
    c1, b, m1, m2, total = state
    e, gain, slope, bend = weights
    a = g + c1
    total = total + x * (slope * (a + m2) + gain * m1 + bend * b)
    k = slope * (a - b)
    moved = bend * (a - b) + slope * (m1 - m2)
    state = e * a + k, e * b + k, e * (m1 - a) + moved, e * (m2 - b) + moved, total
    return state, gain * a + slope * b


def alpha_back(
    x: Array, d_y: Array, out: Array, state: int, weights: int, run: Any, left: int, right: int
) -> None:
    """Take gradients back through `alpha`."""
    units = run.units
    e, gain = elements(weights, 0, DOUBLE), elements(weights, units, DOUBLE)
    slope, bend = elements(weights, 2 * units, DOUBLE), elements(weights, 3 * units, DOUBLE)
    c1, c2 = elements(state, 0, DOUBLE), elements(state, units, DOUBLE)
    m1, m2 = elements(state, 2 * units, DOUBLE), elements(state, 3 * units, DOUBLE)
    total = elements(state, 4 * units, DOUBLE)
    for t in range(run.steps - 1, -1, -1):
        first = t * units
        for i in range(left, right):
            u, g = np.float64(x[first + i]), np.float64(d_y[first + i])
            before = c1[i], c2[i], m1[i], m2[i], total[i]
            after, d_x = alpha_back_step(before, u, g, (e[i], gain[i], slope[i], bend[i]))
            c1[i], c2[i], m1[i], m2[i], total[i] = after
            out[first + i] = d_x


SPIKES = Kernel("spikes", spikes, shared=True)
RECTIFIED_SPIKES = Kernel("rectified_spikes", rectified_spikes, shared=True)
LOWPASS = Kernel("lowpass", lowpass)
LOWPASS_BACK = Kernel("lowpass_back", lowpass_back, backwards=True)
ALPHA = Kernel("alpha", alpha, states=2)
ALPHA_BACK = Kernel("alpha_back", alpha_back, states=2, given=2, backwards=True)
KERNELS = (SPIKES, RECTIFIED_SPIKES, LOWPASS, LOWPASS_BACK, ALPHA, ALPHA_BACK)
