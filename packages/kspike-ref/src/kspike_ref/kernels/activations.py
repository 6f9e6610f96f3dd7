"""Activation functions for use inside loops, and the error function.

The exponential uses only additions and products in a fixed order, so the compiler can vectorise it
and a value has the same bits at every position in an array. The C library's functions take one
value per call and are twenty times slower.

References
----------
.. [1] W. J. Cody, W. Waite, "Software manual for the elementary functions", 1980, chapter 6:
   reduction of the argument by multiples of log 2 in two parts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from kspike_ref.kernels import checks, kernel

Array = Any

LINEAR, RELU, TANH, SIGMOID, HARD_SIGMOID, HARD_SIGMOID_OF_KERAS_2 = range(6)
COUNT = 6

# Constants per type: 1/log 2; log 2 in two parts, the first ending in zeros so that its products
# with whole numbers are exact; and a number that, added to a value up to half a million, leaves
# the nearest whole number in the lowest bits.
_LOG2_E = 1 / math.log(2)
_HIGH, _LOW, _WHOLE = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 1.5 * 2.0**52
_LOG2_E_32 = np.float32(_LOG2_E)
_HIGH_32 = np.float32(0.693359375)
_LOW_32 = np.float32(math.log(2) - 0.693359375)
_WHOLE_32 = np.float32(1.5 * 2.0**23)
# Series of (eʳ − 1 − r)/r²; for |r| < 0.35 the remainder is below half a unit in the last place.
_SERIES = tuple(1 / math.factorial(k) for k in range(2, 14))
_SERIES_32 = tuple(np.float32(1 / math.factorial(k)) for k in range(2, 8))


def expm1_parts(x: Any) -> Any:
    """Return q and 2ⁿ with eˣ = 2ⁿ·(1 + q), for ``x`` whose exponential is a normal number."""
    return _expm1_parts_32(x) if isinstance(x, np.float32) else _expm1_parts_64(x)


def _expm1_parts_64(x: Any) -> Any:
    shifted = x * _LOG2_E + _WHOLE
    n = shifted - _WHOLE
    r = x - n * _HIGH
    r = r - n * _LOW
    power = (np.float64(shifted).view(np.int64) << 52) + (1023 << 52)
    q = _SERIES[-1]
    for k in range(len(_SERIES) - 2, -1, -1):
        q = _SERIES[k] + r * q
    return r + (r * r) * q, np.int64(power).view(np.float64)


def _expm1_parts_32(x: Any) -> Any:
    shifted = x * _LOG2_E_32 + _WHOLE_32
    n = shifted - _WHOLE_32
    r = x - n * _HIGH_32
    r = r - n * _LOW_32
    power = (np.float32(shifted).view(np.int32) << np.int32(23)) + np.int32(127 << 23)
    q = _SERIES_32[-1]
    for k in range(len(_SERIES_32) - 2, -1, -1):
        q = _SERIES_32[k] + r * q
    return r + (r * r) * q, np.int32(power).view(np.float32)


@overload(expm1_parts, inline="always")
def _expm1_parts(x: Any) -> Any:
    """Choose Numba's implementation of `expm1_parts` by the type of the value."""
    return _expm1_parts_32 if x == types.float32 else _expm1_parts_64


@kernel
def tanh(values: Array) -> None:
    """Set values to their hyperbolic tangents, t/(t + 2) with t = e²ˣ − 1 for x ≥ 0."""
    number = values.dtype.type
    one, two, saturated = number(1), number(2), number(40)  # beyond it, the quotient is 1
    for i in range(values.size):
        x = values[i]
        double = two * abs(x)
        q, power = expm1_parts(saturated if double > saturated else double)
        t = power * q + (power - one)
        values[i] = math.copysign(t / (t + two), x)


@kernel
def sigmoid(values: Array) -> None:
    """Set values to 1/(1 + e⁻ˣ)."""
    number = values.dtype.type
    one = number(1)
    largest = number(87 if values.itemsize == 4 else 708)  # its exponential is finite
    for i in range(values.size):
        x = -values[i]
        x = largest if x > largest else x
        q, power = expm1_parts(-largest if x < -largest else x)
        values[i] = one / (power * q + (power + one))


@kernel
def hard_sigmoid(values: Array, slope: float, middle: float) -> None:
    """Set values to slope·x + middle, clipped to between 0 and 1."""
    number = values.dtype.type
    none, one = number(0), number(1)
    for i in range(values.size):
        y = values[i] * number(slope) + number(middle)
        y = none if y < none else y
        values[i] = one if y > one else y


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
    """Compute the error function in float64, rounded once to the type of ``out``.

    Parameters
    ----------
    x : (size,) ndarray
        Float32 or float64.
    out : (size,) ndarray
        Of the type of ``x``; filled.
    """
    dtype = checks.floats("out", out, 1, checks.WRITE)
    checks.read("x", x, dtype, out.shape)
    erf_loop(x, out)
