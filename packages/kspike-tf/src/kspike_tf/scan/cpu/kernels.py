"""The dynamics: formulas of a time step, and the loops around them.

Formulas are of numbers in machine code and of tensors in `kspike_tf.scan.portable.loop`. States and
weights are float64; sequences are float32 or float64. Products are rounded before they are added:
Numba fuses the two only where it is told to.

A loop advances the units ``left`` to ``right`` of one example through time. All loops take the same
contiguous arrays: the input ``x`` and the output ``out``, ``(time, units)``; ``d_y``, the gradient
with respect to the forward filter's output; ``state``, ``(states, units)``, updated in place; and
``weights``, from `fill_weights` in `kspike_tf.scan.cpu.driver`: ``(4, units)``, or dt·TICKS and
1/dt where all units share them. Forward loops do not read ``d_y``.

LLVM vectorises over units if the arrays do not overlap, which it checks at run time. It would make
one check for all steps, and that check fails for arrays that are read from their end. So the
backward loops start a step at ``min(t * units, run.size)``: the value is ``t * units``, but LLVM
cannot tell where the next step starts, and checks within each step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from kspike_tf.scan.cpu.intrinsics import prefetch, rounded

TICKS = 2.0**32  # steps of the voltage grid in one spike
# Backward loops over fewer units than PREFETCHED prefetch the step before, one cache line (LINE
# elements) at a time: hardware prefetchers only follow ascending addresses, as in wider steps.
PREFETCHED, LINE = 1024, 16

Array = Any  # float32 or float64: Numba compiles a version for each


class Kernel(NamedTuple):
    """A compiled loop and the arrays that it takes.

    Parameters
    ----------
    name : str
        Its name in TensorFlow and XLA.
    loop : callable
        One of the loops below.
    states : int
        State variables per unit of the forward scan.
    given : int
        Number of arguments that the weights are computed from: dt, or the ratio dt/τ and the gain.
    shared : bool
        Whether all units share the weights. Those arguments are then scalars, otherwise arrays
        ``(units,)``.
    backwards : bool
        Whether this is the backward pass of another kernel, from the last step to the first.
    """

    name: str
    loop: Callable[..., None]
    states: int = 1
    given: int = 1
    shared: bool = False
    backwards: bool = False

    @property
    def rows(self) -> int:
        """Number of state variables of the loop.

        A backward loop carries the gradients with respect to the states, their derivatives with
        respect to the ratio, and a running sum that becomes the ratio's gradient.
        """
        return 2 * self.states + 1 if self.backwards else self.states

    @property
    def arguments(self) -> int:
        """Number of arguments: sequence, states, weights' arguments, gradients of both results."""
        return 2 + self.given + 2 * self.backwards

    @property
    def results(self) -> int:
        """Number of results; each has the type and shape of the argument at the same position."""
        return 2 + self.backwards


# Integrate and fire: v ← v + rate·dt on the grid, n = floor(v), v ← v − n.


@register_jitable
def spike_step(voltage: Any, rate: Any, scale: Any) -> Any:
    """Return the voltage after a step, and the number of spikes; ``scale`` is dt·TICKS."""
    a = voltage + np.rint(rate * scale) * (1 / TICKS)
    count = np.floor(a)
    return a - count, count


def spikes(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, run: Any, left: int, right: int
) -> None:
    """Turn rates into spikes."""
    scale, height = weights[0], rounded(weights[1], x)
    for t in range(run.steps):
        first = t * run.units
        for i in range(left, right):
            state[i], count = spike_step(state[i], np.float64(x[first + i]), scale)
            out[first + i] = rounded(count, x) * height


def rectified_spikes(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, run: Any, left: int, right: int
) -> None:
    """Turn the rates max(x, 0) into spikes."""
    scale, height = weights[0], rounded(weights[1], x)
    for t in range(run.steps):
        first = t * run.units
        for i in range(left, right):
            rate: Any = np.float64(x[first + i])
            if rate < 0:  # false for NaN
                rate = 0.0
            state[i], count = spike_step(state[i], rate, scale)
            out[first + i] = rounded(count, x) * height


# The lowpass filter.


@register_jitable
def lowpass_step(y: Any, x: Any, e: Any) -> Any:
    """Return the output after a step; ``e`` is exp(−dt/τ)."""
    return x + e * (y - x)


def lowpass(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, run: Any, left: int, right: int
) -> None:
    """Filter with an exponential synapse."""
    for t in range(run.steps):
        first = t * run.units
        for i in range(left, right):
            y = lowpass_step(state[i], np.float64(x[first + i]), weights[i])
            state[i] = out[first + i] = y


@register_jitable
def lowpass_back_step(state: Any, x: Any, g: Any, e: Any, gain: Any) -> Any:
    """Propagate gradients back through a step, to the input, the state and r = −log e.

    With g the gradient of the output and c that of the state after the step: a = g + c,
    ∂x = (1 − e)·a, c ← e·a. The filter is linear, so the loss is the sum of ∂x·x plus c·state, and
    its derivative in r at fixed g follows from those of ∂x and c. The loop therefore carries
    m = dc/dr, with de/dr = −e.
    """
    c, m, total = state
    a = g + c
    return (e * a, e * (m - a), total + x * (e * a + gain * m)), gain * a


def lowpass_back(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, run: Any, left: int, right: int
) -> None:
    """Propagate gradients back through `lowpass`."""
    units = run.units
    for t in range(run.steps - 1, -1, -1):
        first = min(t * units, run.size)
        if right - left < PREFETCHED:
            for i in range(first - units + left, first - units + right, LINE):
                prefetch(x, d_y, out, i)
        for i in range(left, right):
            u, g = np.float64(x[first + i]), np.float64(d_y[first + i])
            before = state[i], state[units + i], state[2 * units + i]
            after, d_x = lowpass_back_step(before, u, g, weights[i], weights[units + i])
            state[i], state[units + i], state[2 * units + i] = after
            out[first + i] = d_x


# The alpha filter.


@register_jitable
def alpha_step(y: Any, p: Any, x: Any, e: Any, slope: Any) -> Any:
    """Return the output after a step and τ times its derivative; ``slope`` is e·dt/τ."""
    w = y - x
    k = slope * (p + w)
    return x + e * w + k, e * p - k


def alpha(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, run: Any, left: int, right: int
) -> None:
    """Filter with an alpha synapse."""
    units = run.units
    for t in range(run.steps):
        first = t * units
        for i in range(left, right):
            e, slope = weights[i], weights[2 * units + i]
            y, p = alpha_step(state[i], state[units + i], np.float64(x[first + i]), e, slope)
            state[i], state[units + i], out[first + i] = y, p, y


@register_jitable
def alpha_back_step(state: Any, x: Any, g: Any, weights: Any) -> Any:
    """Propagate gradients back through a step, as `lowpass_back_step` does.

    With a = g + c₁ and b = c₂ the gradients of y and p after a step, and k = e·r·(a − b):
    ∂x = (1 − e·(1 + r))·a + e·r·b, c₁ ← e·a + k, c₂ ← e·b + k. The derivatives in r of e, e·r and
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
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, run: Any, left: int, right: int
) -> None:
    """Propagate gradients back through `alpha`."""
    units = run.units
    one, two, three, four = units, 2 * units, 3 * units, 4 * units
    for t in range(run.steps - 1, -1, -1):
        first = min(t * units, run.size)
        if right - left < PREFETCHED:
            for i in range(first - units + left, first - units + right, LINE):
                prefetch(x, d_y, out, i)
        for i in range(left, right):
            u, g = np.float64(x[first + i]), np.float64(d_y[first + i])
            factors = weights[i], weights[one + i], weights[two + i], weights[three + i]
            before = state[i], state[one + i], state[two + i], state[three + i], state[four + i]
            (c1, c2, m1, m2, total), d_x = alpha_back_step(before, u, g, factors)
            state[i], state[one + i], state[two + i], state[three + i] = c1, c2, m1, m2
            state[four + i], out[first + i] = total, d_x


SPIKES = Kernel("spikes", spikes, shared=True)
RECTIFIED_SPIKES = Kernel("rectified_spikes", rectified_spikes, shared=True)
LOWPASS = Kernel("lowpass", lowpass)
LOWPASS_BACK = Kernel("lowpass_back", lowpass_back, backwards=True)
ALPHA = Kernel("alpha", alpha, states=2)
ALPHA_BACK = Kernel("alpha_back", alpha_back, states=2, given=2, backwards=True)
KERNELS = (SPIKES, RECTIFIED_SPIKES, LOWPASS, LOWPASS_BACK, ALPHA, ALPHA_BACK)
