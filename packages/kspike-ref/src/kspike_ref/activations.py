"""The activation functions of Keras 3, under their Keras names, in NumPy.

Every function takes ``x``, an array of floats; Keras' parameters with Keras' defaults; and ``out``,
an array with the shape and type of the result to write into, which may be ``x`` itself. Without
``out``, the result is a new array (`linear` returns ``x``). All functions compute in the type of
``x``, without overflow where the result is finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kspike_ref.kernels import activations as loops
from kspike_ref.kernels.memory import frozen
from kspike_ref.signals import Floats
from kspike_ref.softmax import into, log_softmax, softmax, sparsemax

Activation = Callable[..., Floats]
Out = Floats | None

_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


def linear(x: Floats, out: Out = None) -> Floats:
    """Return x."""
    return x if out is x else into(x, out)


def relu(
    x: Floats,
    negative_slope: float = 0.0,
    max_value: float | None = None,
    threshold: float = 0.0,
    out: Out = None,
) -> Floats:
    """Return x above the threshold, at most ``max_value``; negative_slope·(x − threshold) below."""
    if threshold == 0.0 and negative_slope == 0.0:
        y = np.maximum(x, 0, out=out)
        return y if max_value is None else np.minimum(y, max_value, out=y)
    below = np.minimum(x - threshold, 0) * negative_slope
    y = np.where(x > threshold, x, 0).astype(x.dtype, copy=False)
    if max_value is not None:
        y = np.clip(y, 0, max_value)
    return np.add(y, below, out=out)


def relu6(x: Floats, out: Out = None) -> Floats:
    """min(max(x, 0), 6)."""
    return np.clip(x, 0, 6, out=out)


def leaky_relu(x: Floats, negative_slope: float = 0.2, out: Out = None) -> Floats:
    """Return x above 0; negative_slope·x below."""
    return into(np.where(x > 0, x, x * negative_slope), out)


def elu(x: Floats, alpha: float = 1.0, out: Out = None) -> Floats:
    """Return x above 0; alpha·(eˣ − 1) below."""
    below = np.expm1(np.minimum(x, 0))
    below *= alpha
    return into(np.where(x > 0, x, below), out)


def selu(x: Floats, out: Out = None) -> Floats:
    """1.0507·elu(x, 1.6733): activations keep mean 0 and variance 1."""
    y = elu(x, _SELU_ALPHA, out=out)
    return np.multiply(y, _SELU_SCALE, out=y)


def celu(x: Floats, alpha: float = 1.0, out: Out = None) -> Floats:
    """max(x, 0) + alpha·(exp(min(x, 0)/alpha) − 1)."""
    below = np.expm1(np.minimum(x, 0) / alpha)
    below *= alpha
    return np.add(np.maximum(x, 0), below, out=out)


def exponential(x: Floats, out: Out = None) -> Floats:
    """eˣ, or infinity where that is out of range."""
    with np.errstate(over="ignore"):
        return np.exp(x, out=out)


def sigmoid(x: Floats, out: Out = None) -> Floats:
    """1/(1 + e⁻ˣ)."""
    # Clip to keep the exponential finite; the result is then below the smallest normal number.
    largest = math.floor(math.log(float(np.finfo(x.dtype).max)))
    y = np.negative(x, out=out)
    np.minimum(y, largest, out=y)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def log_sigmoid(x: Floats, out: Out = None) -> Floats:
    """−softplus(−x)."""
    y = softplus(np.negative(x), out=out)
    return np.negative(y, out=y)


def hard_sigmoid(x: Floats, out: Out = None) -> Floats:
    """min(max(x + 3, 0), 6)/6."""
    y = np.add(x, 3, out=out)
    np.clip(y, 0, 6, out=y)
    y *= 1 / 6
    return y


def sparse_sigmoid(x: Floats, out: Out = None) -> Floats:
    """min(max((x + 1)/2, 0), 1)."""
    y = np.add(x, 1, out=out)
    y *= 0.5
    return np.clip(y, 0, 1, out=y)


def silu(x: Floats, out: Out = None) -> Floats:
    """x·sigmoid(x)."""
    return np.multiply(x, sigmoid(x), out=out)


def hard_silu(x: Floats, out: Out = None) -> Floats:
    """x·hard_sigmoid(x)."""
    return np.multiply(x, hard_sigmoid(x), out=out)


def erf(x: Floats) -> Floats:
    """Return the error function of x."""
    given = np.ascontiguousarray(x, np.float64 if x.dtype == np.float64 else np.float32)
    y: Floats = np.empty(x.shape, given.dtype)
    loops.erf(frozen(given.reshape(-1)), y.reshape(-1))
    return y.astype(x.dtype, copy=False)


def gelu(x: Floats, approximate: bool = False, out: Out = None) -> Floats:
    """x·Φ(x), with Φ the standard normal distribution function, or its approximation by tanh."""
    inner: Floats
    if approximate:
        inner = x * x * x
        inner *= 0.044715
        inner += x
        inner *= math.sqrt(2 / math.pi)
        np.tanh(inner, out=inner)
    else:
        inner = erf(x * math.sqrt(0.5))
    inner += 1
    inner *= 0.5
    return np.multiply(x, inner, out=out)


def glu(x: Floats, axis: int = -1, out: Out = None) -> Floats:
    """a·sigmoid(b), with a and b the halves of x along an axis."""
    if x.shape[axis] % 2:
        raise ValueError(
            f"x must have an even length along axis {axis}. Received: x.shape={x.shape}"
        )
    a, b = np.split(x, 2, axis=axis)
    return np.multiply(a, sigmoid(b), out=out)


def tanh(x: Floats, out: Out = None) -> Floats:
    """tanh(x)."""
    return np.tanh(x, out=out)


def hard_tanh(x: Floats, out: Out = None) -> Floats:
    """min(max(x, −1), 1)."""
    return np.clip(x, -1, 1, out=out)


def tanh_shrink(x: Floats, out: Out = None) -> Floats:
    """Return x − tanh(x)."""
    return np.subtract(x, np.tanh(x), out=out)


def hard_shrink(x: Floats, threshold: float = 0.5, out: Out = None) -> Floats:
    """Return x where |x| is above the threshold, else 0."""
    return np.multiply(x, np.abs(x) > threshold, out=out)


def soft_shrink(x: Floats, threshold: float = 0.5, out: Out = None) -> Floats:
    """Return x moved towards 0 by the threshold; 0 where |x| is smaller."""
    return np.subtract(x, np.clip(x, -threshold, threshold), out=out)


def threshold(x: Floats, threshold: float, default_value: float, out: Out = None) -> Floats:
    """Return x above the threshold, else ``default_value``."""
    return into(np.where(x > threshold, x, x.dtype.type(default_value)), out)


def softplus(x: Floats, out: Out = None) -> Floats:
    """log(1 + eˣ)."""
    y = np.abs(x)
    np.negative(y, out=y)
    np.exp(y, out=y)
    np.log1p(y, out=y)
    return np.add(y, np.maximum(x, 0), out=out)


def squareplus(x: Floats, b: float = 4, out: Out = None) -> Floats:
    """(x + √(x² + b))/2."""
    y = np.hypot(x, x.dtype.type(math.sqrt(b)))
    y += x
    return np.multiply(y, 0.5, out=out)


def sparse_plus(x: Floats, out: Out = None) -> Floats:
    """0 below −1, (x + 1)²/4 up to 1, x above."""
    between = np.clip(x, -1, 1)
    between += 1
    between *= between
    between *= 0.25
    return into(np.where(x < 1, between, x), out)


def softsign(x: Floats, out: Out = None) -> Floats:
    """x/(1 + |x|)."""
    size = np.abs(x)
    size += 1
    return np.divide(x, size, out=out)


def mish(x: Floats, out: Out = None) -> Floats:
    """x·tanh(softplus(x))."""
    y = softplus(x)
    np.tanh(y, out=y)
    return np.multiply(x, y, out=out)


ACTIVATIONS: dict[str, Activation] = {
    "celu": celu,
    "elu": elu,
    "exponential": exponential,
    "gelu": gelu,
    "glu": glu,
    "hard_shrink": hard_shrink,
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": hard_tanh,
    "leaky_relu": leaky_relu,
    "linear": linear,
    "log_sigmoid": log_sigmoid,
    "log_softmax": log_softmax,
    "mish": mish,
    "relu": relu,
    "relu6": relu6,
    "selu": selu,
    "sigmoid": sigmoid,
    "silu": silu,
    "soft_shrink": soft_shrink,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "sparsemax": sparsemax,
    "squareplus": squareplus,
    "swish": silu,
    "tanh": tanh,
    "tanh_shrink": tanh_shrink,
    "threshold": threshold,
}


def get(identifier: str | Mapping[str, Any] | None) -> Activation:
    """Return the activation function that a layer's configuration names.

    Parameters
    ----------
    identifier : str, mapping or None
        A Keras name; the dictionary that Keras saves for a function, ``{"class_name": "function",
        "config": name, …}``; or ``None`` for `linear`.

    Returns
    -------
    callable
        ``f(x, out=None)``, with further parameters at Keras' defaults.

    Raises
    ------
    ValueError
        If Keras has no such function, or it is the user's own.

    Examples
    --------
    >>> get("relu6")(np.array([-1.0, 3.0, 9.0]))
    array([0., 3., 6.])
    """
    if identifier is None:
        return linear
    name: object = identifier
    if isinstance(identifier, Mapping) and identifier.get("class_name") == "function":
        name = identifier.get("config")
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    raise ValueError(
        f"activation must be one of {', '.join(ACTIVATIONS)}. Received: activation={identifier!r}"
    )
