"""Formulas of one time step, for machine code and for tensors.

Machine code applies the formulas to numbers, `kspike_tf.scan.portable.loop` to tensors. States and
weights are float64; sequences are float32 or float64. Products are rounded before they are added:
Numba fuses the two only on request.

A kernel advances one unit of one example by one step; the loops around it are in
`kspike_tf.scan.cpu.driver`. All kernels take the same arguments. At index ``k``, ``x`` holds the
unit's input, ``d_y`` the gradient with respect to the forward filter's output, and ``out`` the
unit's output. ``state`` ``(states, units)`` is updated in place; the unit is column ``i`` of it and
of ``weights``. `fill_weights` in the driver computes ``weights``: ``(4, units)``, or dt·TICKS and
1/dt where all units share them. Forward kernels do not read ``d_y``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from kspike_tf.scan.cpu.intrinsics import rounded

TICKS = 2.0**32  # steps of the voltage grid in one spike

Array = Any  # float32 or float64; Numba compiles a version for each


class Kernel(NamedTuple):
    """The step of a compiled loop and the arrays that it takes.

    Parameters
    ----------
    name : str
        Its name in TensorFlow and XLA.
    step : callable
        One of the kernels below, for one unit and one step.
    states : int
        State variables per unit of the forward scan.
    given : int
        Number of arguments that the weights are computed from: dt, or the ratio dt/τ and the gain.
    shared : bool
        Whether all units share the weights. If so, those arguments are scalars; otherwise they
        are arrays ``(units,)``.
    backwards : bool
        Whether this is the backward pass of another kernel, from the last step to the first.
    """

    name: str
    step: Callable[..., None]
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
        """Number of arguments: sequence, states, inputs of the weights, gradients of results."""
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
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, units: int, k: int, i: int
) -> None:
    """Turn a rate into spikes."""
    state[i], count = spike_step(state[i], np.float64(x[k]), weights[0])
    out[k] = rounded(count, x) * rounded(weights[1], x)


def rectified_spikes(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, units: int, k: int, i: int
) -> None:
    """Turn the rate max(x, 0) into spikes."""
    rate: Any = np.float64(x[k])
    if rate < 0:  # false for NaN
        rate = 0.0
    state[i], count = spike_step(state[i], rate, weights[0])
    out[k] = rounded(count, x) * rounded(weights[1], x)


# The lowpass filter.


@register_jitable
def lowpass_step(y: Any, x: Any, e: Any) -> Any:
    """Return the output after a step; ``e`` is exp(−dt/τ)."""
    return x + e * (y - x)


def lowpass(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, units: int, k: int, i: int
) -> None:
    """Filter with an exponential synapse."""
    state[i] = out[k] = lowpass_step(state[i], np.float64(x[k]), weights[i])


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
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, units: int, k: int, i: int
) -> None:
    """Propagate gradients back through `lowpass`."""
    before = state[i], state[units + i], state[2 * units + i]
    e, gain = weights[i], weights[units + i]
    after, out[k] = lowpass_back_step(before, np.float64(x[k]), np.float64(d_y[k]), e, gain)
    state[i], state[units + i], state[2 * units + i] = after


# The alpha filter.


@register_jitable
def alpha_step(y: Any, p: Any, x: Any, e: Any, slope: Any) -> Any:
    """Return the output after a step and τ times its derivative; ``slope`` is e·dt/τ."""
    w = y - x
    k = slope * (p + w)
    return x + e * w + k, e * p - k


def alpha(
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, units: int, k: int, i: int
) -> None:
    """Filter with an alpha synapse."""
    e, slope = weights[i], weights[2 * units + i]
    y, p = alpha_step(state[i], state[units + i], np.float64(x[k]), e, slope)
    state[i], state[units + i], out[k] = y, p, y


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
    x: Array, d_y: Array, out: Array, state: Array, weights: Array, units: int, k: int, i: int
) -> None:
    """Propagate gradients back through `alpha`."""
    one, two, three, four = units + i, 2 * units + i, 3 * units + i, 4 * units + i
    before = state[i], state[one], state[two], state[three], state[four]
    factors = weights[i], weights[one], weights[two], weights[three]
    after, out[k] = alpha_back_step(before, np.float64(x[k]), np.float64(d_y[k]), factors)
    state[i], state[one], state[two], state[three], state[four] = after


SPIKES = Kernel("spikes", spikes, shared=True)
RECTIFIED_SPIKES = Kernel("rectified_spikes", rectified_spikes, shared=True)
LOWPASS = Kernel("lowpass", lowpass)
LOWPASS_BACK = Kernel("lowpass_back", lowpass_back, backwards=True)
ALPHA = Kernel("alpha", alpha, states=2)
ALPHA_BACK = Kernel("alpha_back", alpha_back, states=2, given=2, backwards=True)
KERNELS = (SPIKES, RECTIFIED_SPIKES, LOWPASS, LOWPASS_BACK, ALPHA, ALPHA_BACK)
