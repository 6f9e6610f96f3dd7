"""Functions that formulas of time steps consist of, for numbers in machine code and for tensors.

Python calls them with tensors. Numba compiles what `overload` enters for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numba import types
from numba.extending import overload

Value = Any  # a number or a tensor

# The C library's; Numba's own may come from another library, with other last digits.
c_exp = types.ExternalFunction("exp", types.float64(types.float64))
c_expm1 = types.ExternalFunction("expm1", types.float64(types.float64))


def exp(x: Value) -> Value:
    """Return eˣ."""
    return tf.exp(x)


def expm1(x: Value) -> Value:
    """Return eˣ − 1."""
    return tf.math.expm1(x)


def floor(x: Value) -> Value:
    """Round down."""
    return tf.floor(x)


def nearest(x: Value) -> Value:
    """Round to the nearest integer, half to even."""
    return tf.round(x)


def double(x: Value) -> Value:
    """Convert to float64."""
    return tf.cast(x, tf.float64)


def rounded(x: Value, like: Value) -> Value:
    """Round to the type of ``like``."""
    return tf.cast(x, like.dtype)


def positive(x: Value) -> Value:
    """Return max(x, 0), or NaN."""
    return tf.nn.relu(x)


def _rounding(kind: Any) -> Any:
    return lambda x, like: kind(x)


def _rectifying(zero: Any) -> Any:
    return lambda x: max(x, zero)  # x where it is NaN


# Lambdas, because Numba compares signatures, and would miss annotations.
overload(exp)(lambda x: lambda x: c_exp(x))
overload(expm1)(lambda x: lambda x: c_expm1(x))
overload(floor)(lambda x: lambda x: np.floor(x))
overload(nearest)(lambda x: lambda x: np.rint(x))
overload(double)(lambda x: lambda x: np.float64(x))
overload(rounded)(lambda x, like: _rounding(np.dtype(str(like)).type))
overload(positive)(lambda x: _rectifying(np.dtype(str(x)).type(0)))
