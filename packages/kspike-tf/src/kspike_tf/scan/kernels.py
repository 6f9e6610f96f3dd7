"""The dynamics: what a time step does to a unit, compiled to loops by `kspike_tf.scan.program`.

States and weights are float64. Inputs are float32 or float64, and so are the outputs.
"""

from __future__ import annotations

from typing import Any

from kspike_tf.scan.formulas import Recurrence, cast, exp, expm1, floor, rectified, rint

TICKS = 2.0**32  # steps of the voltage grid in one spike

Step = tuple[list[Any], list[Any]]


def _spikes(states: Any, inputs: Any, coefficients: Any) -> Step:
    """Integrate and fire: v ← v + rate·dt on the grid, n = floor(v), v ← v − n."""
    (voltage,), (rate,), (scale, height) = states, inputs, coefficients  # scale is dt·TICKS
    a = voltage + rint(rate * scale) * (1 / TICKS)
    count = floor(a)
    return [a - count], [cast(count, rate) * cast(height, rate)]


def _of_spikes(dt: Any) -> list[Any]:
    return [dt * TICKS, 1 / dt]


def _rectified_spikes(states: Any, inputs: Any, coefficients: Any) -> Step:
    """Integrate and fire, after the activation function max(x, 0)."""
    return _spikes(states, [rectified(inputs[0])], coefficients)


def _lowpass(states: Any, inputs: Any, coefficients: Any) -> Step:
    """Filter: y ← x + e·(y − x)."""
    (y,), (x,), (e,) = states, inputs, coefficients
    y = x + e * (y - x)
    return [y], [y]


def _of_lowpass(ratio: Any) -> list[Any]:
    return [exp(-ratio)]


def _lowpass_back(states: Any, inputs: Any, coefficients: Any) -> Step:
    """Take gradients back through the lowpass filter: to its input, its state, and r = −log e.

    With g the gradient of the output, and c that of the state after a step: a = g + c,
    ∂x = (1 − e)·a, c ← e·a. As the loss of such outputs is the sum of ∂x·x and of c·state, its
    derivative for r, at fixed g, is that of ∂x and c; so m = dc/dr goes along, with de/dr = −e.
    """
    (c, m, total), (x, g), (e, gain) = states, inputs, coefficients
    a = g + c
    total = total + x * (e * a + gain * m)
    return [e * a, e * (m - a), total], [gain * a]


def _of_lowpass_back(ratio: Any) -> list[Any]:
    return [exp(-ratio), -expm1(-ratio)]


def _alpha(states: Any, inputs: Any, coefficients: Any) -> Step:
    """Filter: w = y − x, k = e·r·(p + w), p ← e·p − k, y ← x + e·w + k."""
    (y, p), (x,), (e, slope) = states, inputs, coefficients  # slope is e·r
    w = y - x
    k = slope * (p + w)
    y = x + e * w + k
    return [y, e * p - k], [y]


def _of_alpha(ratio: Any) -> list[Any]:
    e = exp(-ratio)
    return [e, e * ratio]


def _alpha_back(states: Any, inputs: Any, coefficients: Any) -> Step:
    """Take gradients back through the alpha filter, as through the lowpass filter.

    With a = g + c₁ and b = c₂ the gradients of y and p after a step, and k = e·r·(a − b):
    ∂x = (1 − e·(1 + r))·a + e·r·b, c₁ ← e·a + k, c₂ ← e·b + k. The derivatives for r of e, e·r and
    the gain 1 − e·(1 + r) are −e, ``bend`` = e·(1 − r) and ``slope`` = e·r.
    """
    (c1, b, m1, m2, total), (x, g), (e, slope, gain, bend) = states, inputs, coefficients
    a = g + c1
    total = total + x * (slope * (a + m2) + gain * m1 + bend * b)
    k = slope * (a - b)
    moved = bend * (a - b) + slope * (m1 - m2)
    after = [e * a + k, e * b + k, e * (m1 - a) + moved, e * (m2 - b) + moved, total]
    return after, [gain * a + slope * b]


def _of_alpha_back(ratio: Any, gain: Any) -> list[Any]:
    e = exp(-ratio)
    return [e, e * ratio, gain, e * (1 - ratio)]


spikes = Recurrence("spikes", _spikes, _of_spikes, weights=2, shared=True)
rectified_spikes = Recurrence(
    "rectified_spikes", _rectified_spikes, _of_spikes, weights=2, shared=True
)
lowpass = Recurrence("lowpass", _lowpass, _of_lowpass)
lowpass_back = Recurrence(
    "lowpass_back",
    _lowpass_back,
    _of_lowpass_back,
    states=3,
    inputs=2,
    weights=2,
    backwards=True,
)
alpha = Recurrence("alpha", _alpha, _of_alpha, states=2, weights=2)
alpha_back = Recurrence(
    "alpha_back",
    _alpha_back,
    _of_alpha_back,
    states=5,
    inputs=2,
    given=2,
    weights=4,
    backwards=True,
)
ALL = (spikes, rectified_spikes, lowpass, lowpass_back, alpha, alpha_back)
