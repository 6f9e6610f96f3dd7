"""Activation functions inside other loops, and the error function.

The exponential is computed in float64 by additions and products alone, in an order that is fixed,
so the compiler can vectorise it and a value has the same bits wherever it stands in an array. The
functions of the C library are called value by value, ten times as slow.

References
----------
.. [1] W. J. Cody, W. Waite, "Software manual for the elementary functions", 1980, chapter 6:
   reduction of the argument by multiples of log 2 in two parts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.kernels import checks, inlined, kernel

Array = Any

LINEAR, RELU, TANH, SIGMOID, HARD_SIGMOID, HARD_SIGMOID_OF_KERAS_2 = range(6)
COUNT = 6

_LOG2_E = 1 / math.log(2)
# log 2 in two parts: products of the first, which ends in 21 zeros, with whole numbers are exact.
_LOG_2_HIGH, _LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Added to a float64 below 2⁵¹, it leaves the nearest whole number in the lowest bits.
_TO_WHOLE = 1.5 * 2.0**52
_EXPONENT, _ONE = 52, 1023 << 52  # where the exponent is, and the bits of 1.0
_SERIES = tuple(1 / math.factorial(k) for k in range(2, 14))  # the rest is below 2⁻⁵⁵ of the sum
_LARGEST = 709.0  # eˣ is finite up to there, and not subnormal down to its negative
_SATURATED = 40.0  # (eˣ − 1)/(eˣ + 1) is 1 from there on


@inlined
def expm1_parts(x: float) -> tuple[float, float]:
    """Return q and 2ⁿ with eˣ = 2ⁿ·(1 + q), for ``x`` within ±709."""
    shifted = x * _LOG2_E + _TO_WHOLE
    n = shifted - _TO_WHOLE
    r = x - n * _LOG_2_HIGH
    r = r - n * _LOG_2_LOW
    bits = (np.float64(shifted).view(np.int64) << _EXPONENT) + _ONE
    q = _SERIES[-1]
    for k in range(len(_SERIES) - 2, -1, -1):
        q = _SERIES[k] + r * q
    return r + (r * r) * q, np.int64(bits).view(np.float64)


@kernel
def tanh(values: Array) -> None:
    """Set values to their hyperbolic tangents, t/(t + 2) with t = e²ˣ − 1 for x ≥ 0."""
    for i in range(values.size):
        x = np.float64(values[i])
        double = 2 * abs(x)
        q, power = expm1_parts(_SATURATED if double > _SATURATED else double)
        t = power * q + (power - 1)
        values[i] = math.copysign(t / (t + 2), x)


@kernel
def sigmoid(values: Array) -> None:
    """Set values to 1/(1 + e⁻ˣ)."""
    for i in range(values.size):
        x: Any = -np.float64(values[i])
        x = _LARGEST if x > _LARGEST else x
        q, power = expm1_parts(-_LARGEST if x < -_LARGEST else x)
        values[i] = 1 / (power * q + (power + 1))


@kernel
def hard_sigmoid(values: Array, slope: float, middle: float) -> None:
    """Set values to slope·x + middle, cut to between 0 and 1."""
    for i in range(values.size):
        y: Any = np.float64(values[i]) * slope + middle
        y = 0.0 if y < 0 else y
        values[i] = 1.0 if y > 1 else y


@kernel
def activate(values: Array, function: int) -> None:
    """Apply one of the functions above to a flat array, in place."""
    if function == TANH:
        tanh(values)
    elif function == SIGMOID:
        sigmoid(values)
    elif function == HARD_SIGMOID:
        hard_sigmoid(values, 1 / 6, 0.5)
    elif function == HARD_SIGMOID_OF_KERAS_2:
        hard_sigmoid(values, 0.2, 0.5)
    elif function == RELU:
        for i in range(values.size):
            values[i] = values[i] if not values[i] < 0 else 0


@kernel
def erf_loop(x: Array, out: Array) -> None:
    """Fill ``out`` with the error function of ``x``; both are flat."""
    for i in range(x.size):
        out[i] = math.erf(np.float64(x[i]))


def erf(x: Array, out: Array) -> None:
    """Compute the error function, in float64 with one rounding to the type of ``out``.

    Parameters
    ----------
    x : (size,) ndarray
        Float32 or float64.
    out : (size,) ndarray
        Of the type of ``x``; filled.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type, shape or memory layout.
    """
    dtype = checks.floats("out", out, 1)
    checks.write("out", out, dtype, out.shape)
    checks.read("x", x, dtype, out.shape)
    erf_loop(x, out)
