"""Formulas of one time step, for machine code and for tensors.

A kernel advances one unit of one example by one step; machine code applies it to numbers
(`kspike_tf.scan.cpu.driver`), loops of TensorFlow operations to tensors
(`kspike_tf.scan.portable.loop`). So formulas use the functions of `kspike_tf.scan.cpu.arithmetic`.
States and weights are float64; sequences are float32 or float64. Products are rounded before they
are added: Numba fuses the two only on request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from numba.extending import register_jitable

from kspike_tf.scan.cpu.arithmetic import double, exp, expm1, floor, nearest, positive, rounded
from kspike_tf.scan.cpu.driver import MOST_ARGUMENTS

TICKS = 2.0**32  # steps of the voltage grid in one spike

Value = Any  # a number or a tensor
Values = tuple[Value, ...]
Result = tuple[Values, Value]


class Kernel(NamedTuple):
    """The formulas of a scan and the arrays that it takes.

    Parameters
    ----------
    name : str
        Its name in TensorFlow and XLA.
    step : callable
        Takes the states before a step, the input ``x``, the gradient ``g`` with respect to the
        forward filter's output, and the weights. Returns the states after it and the output.
        Forward kernels do not read ``g``.
    weights : callable
        Computes the weights from the arguments after sequence and states, such as dt/τ.
    states : int
        State variables per unit of the forward scan.
    shared : bool
        Whether all units share the weights. If so, those arguments are scalars; otherwise they
        are arrays ``(units,)``.
    backwards : bool
        Whether this is the backward pass of another kernel, from the last step to the first.
    """

    name: str
    step: Callable[[Values, Value, Value, Values], Result]
    weights: Callable[..., Values]
    states: int = 1
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
    def given(self) -> int:
        """Number of arguments that the weights are computed from."""
        return self.weights.__code__.co_argcount

    @property
    def arguments(self) -> int:
        """Number of arguments: sequence, states, inputs of the weights, gradients of results."""
        return 2 + self.given + 2 * self.backwards

    @property
    def results(self) -> int:
        """Number of results; each has the type and shape of the argument at the same position."""
        return 2 + self.backwards


KERNELS: dict[str, Kernel] = {}


def kernel(name: str, step: Any, weights: Any, **options: Any) -> Kernel:
    """Define a `Kernel`, and enter it in `KERNELS`, where XLA finds those of saved programs.

    Raises
    ------
    ValueError
        If the kernel has no states, no arguments of the weights, or too many arguments.
    """
    made = Kernel(name, register_jitable(step), register_jitable(weights), **options)
    if made.states < 1 or made.given < 1 or made.arguments > MOST_ARGUMENTS:
        most = MOST_ARGUMENTS - made.arguments + made.given
        raise ValueError(
            f"the kernel {name!r} needs at least one state, and weights of 1 to {most} arguments. "
            f"Received: states={made.states}, and weights of {made.given}"
        )
    KERNELS[name] = made
    return made


# Integrate and fire: v ← v + rate·dt on the grid, n = floor(v), v ← v − n.


@register_jitable
def spikes(state: Values, x: Value, g: Value, weights: Values) -> Result:
    """Turn a rate into spikes; the weights are dt·TICKS and 1/dt."""
    a = state[0] + nearest(double(x) * weights[0]) * (1 / TICKS)
    count = floor(a)
    # Round the height 1/dt rather than n/dt: compilers differ in how they divide by constants.
    return (a - count,), rounded(count, x) * rounded(weights[1], x)


def rectified_spikes(state: Values, x: Value, g: Value, weights: Values) -> Result:
    """Turn the rate max(x, 0) into spikes."""
    return spikes(state, positive(x), g, weights)


def spike_weights(dt: Value) -> Values:
    """Return dt·TICKS and 1/dt."""
    return dt * TICKS, 1 / dt


# The lowpass filter.


def lowpass(state: Values, x: Value, g: Value, weights: Values) -> Result:
    """Filter with an exponential synapse."""
    u = double(x)
    y = u + weights[0] * (state[0] - u)
    return (y,), y


def lowpass_weights(r: Value) -> Values:
    """Return e = exp(−r), where r is dt/τ."""
    return (exp(-r),)


def lowpass_back(state: Values, x: Value, g: Value, weights: Values) -> Result:
    """Propagate gradients back through a step, to the input, the state and r = −log e.

    With g the gradient of the output and c that of the state after the step: a = g + c,
    ∂x = (1 − e)·a, c ← e·a. The filter is linear, so the loss is the sum of ∂x·x plus c·state, and
    its derivative in r at fixed g follows from those of ∂x and c. The loop therefore carries
    m = dc/dr, with de/dr = −e.
    """
    c, m, total = state
    e, gain = weights
    a = double(g) + c
    return (e * a, e * (m - a), total + double(x) * (e * a + gain * m)), gain * a


def lowpass_back_weights(r: Value) -> Values:
    """Return e = exp(−r) and the gain 1 − e."""
    return exp(-r), -expm1(-r)


# The alpha filter; its states are the output and τ times its derivative.


def alpha(state: Values, x: Value, g: Value, weights: Values) -> Result:
    """Filter with an alpha synapse."""
    y, p = state
    e, slope = weights
    u = double(x)
    w = y - u
    k = slope * (p + w)
    y = u + e * w + k
    return (y, e * p - k), y


def alpha_weights(r: Value) -> Values:
    """Return e = exp(−r) and e·r."""
    e = exp(-r)
    return e, e * r


def alpha_back(state: Values, x: Value, g: Value, weights: Values) -> Result:
    """Propagate gradients back through a step, as `lowpass_back` does.

    With a = g + c₁ and b = c₂ the gradients of y and p after a step, and k = e·r·(a − b):
    ∂x = (1 − e·(1 + r))·a + e·r·b, c₁ ← e·a + k, c₂ ← e·b + k. The derivatives in r of e, e·r and
    the gain 1 − e·(1 + r) are −e, ``bend`` = e·(1 − r) and ``slope`` = e·r.
    """
    c1, b, m1, m2, total = state
    e, gain, slope, bend = weights
    a = double(g) + c1
    total = total + double(x) * (slope * (a + m2) + gain * m1 + bend * b)
    k = slope * (a - b)
    moved = bend * (a - b) + slope * (m1 - m2)
    after = e * a + k, e * b + k, e * (m1 - a) + moved, e * (m2 - b) + moved, total
    return after, gain * a + slope * b


def alpha_back_weights(r: Value, gain: Value) -> Values:
    """Return e = exp(−r), the gain, e·r and e·(1 − r)."""
    e = exp(-r)
    return e, gain, e * r, e * (1 - r)


SPIKES = kernel("spikes", spikes, spike_weights, shared=True)
RECTIFIED_SPIKES = kernel("rectified_spikes", rectified_spikes, spike_weights, shared=True)
LOWPASS = kernel("lowpass", lowpass, lowpass_weights)
LOWPASS_BACK = kernel("lowpass_back", lowpass_back, lowpass_back_weights, backwards=True)
ALPHA = kernel("alpha", alpha, alpha_weights, states=2)
ALPHA_BACK = kernel("alpha_back", alpha_back, alpha_back_weights, states=2, backwards=True)
