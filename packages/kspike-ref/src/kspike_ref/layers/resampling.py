"""TensorFlow's interpolations of images, as weighted sums of a few pixels.

Every interpolation resizes one axis after the other; along an axis, an output pixel is a weighted
sum of neighbours. Weights are computed in float32, in the order of TensorFlow's kernels: otherwise,
the rounded results for integer images could differ by one.

References
----------
.. [1] R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions
   on Acoustics, Speech, and Signal Processing 29(6), 1981, doi:10.1109/TASSP.1981.1163711.
.. [2] C. E. Duchon, "Lanczos filtering in one and two dimensions", Journal of Applied Meteorology
   18(8), 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kspike_ref.dtypes import cut
from kspike_ref.layers.errors import Array

_TABLE = 1024  # positions between two pixels, to which TensorFlow's bicubic kernel rounds
_TINY = 1000 * float(np.finfo(np.float32).tiny)  # weights that sum to less are not normalised

METHODS = ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5", "area")

Taps = tuple[Array, Array]  # indices of inputs, and their weights: both (outputs, taps)


def resize(x: Array, size: tuple[int, int], method: str, antialias: bool = False) -> Array:
    """Resize images, ``(batch, height, width, channels)``, as ``tf.image.resize`` does.

    The method is one of `METHODS`; ``antialias`` widens its kernel if images shrink. The result is
    float32, but for ``"nearest"``, which keeps the type.
    """
    if method == "nearest":
        rows_first = size[0] * x.shape[2] <= x.shape[1] * size[1]  # smaller intermediate image
        for axis in (1, 2) if rows_first else (2, 1):
            x = np.take(x, _nearest(x.shape[axis], size[axis - 1]), axis)
        return x
    y = x.astype(np.float32, copy=False)
    for axis in _order(method, antialias):
        length, wanted = y.shape[axis], size[axis - 1]
        if method == "bilinear" and not antialias:
            y = _bilinear(y, axis, wanted)
        elif method == "bicubic" and not antialias:
            y = _weighted(y, axis, _bicubic_taps(length, wanted))
        elif method == "area":
            y = _weighted(y, axis, _area_taps(length, wanted))
        else:
            y = _weighted(y, axis, _kernel_taps(length, wanted, method, antialias))
    if method == "area":
        y = y * (np.float32(1) / (_scale(x.shape[1], size[0]) * _scale(x.shape[2], size[1])))
    return y


def _order(method: str, antialias: bool) -> tuple[int, int]:
    """Return the axes in the order in which TensorFlow's kernels resize them."""
    return (1, 2) if antialias or method.startswith("lanczos") else (2, 1)


class Work(NamedTuple):
    """The work of resizing one channel of an image."""

    between: int  # pixels after one axis is resized
    taps: int  # weights, for both axes
    products: int  # multiply-adds


def work(
    given: tuple[int, int], size: tuple[int, int], method: str, antialias: bool = False
) -> Work:
    """Return the work of `resize` for one channel, from heights and widths before and after."""
    spans = [_span(*pair, method, antialias) for pair in zip(given, size, strict=True)]
    if method == "nearest":
        between = min(given[0] * size[1], size[0] * given[1])
        return Work(between, size[0] + size[1], between + math.prod(size))
    first, last = (axis - 1 for axis in _order(method, antialias))
    between = size[first] * given[last]
    products = between * spans[first] + math.prod(size) * spans[last]
    return Work(between, size[0] * spans[0] + size[1] * spans[1], products)


def _span(length: int, wanted: int, method: str, antialias: bool) -> int:
    """Return the largest number of input pixels per output pixel along an axis."""
    if method == "nearest":
        return 1
    if method == "area":
        return math.ceil(_scale(length, wanted)) + 1
    if not antialias and method in ("bilinear", "bicubic"):
        return 2 if method == "bilinear" else 4
    return _reach(length, _KERNELS[method][0] * _widened(length, wanted, antialias))


def _widened(length: int, wanted: int, antialias: bool) -> float:
    """Return the factor that widens a kernel if images shrink."""
    return max(_inverse(length, wanted), 1.0) if antialias else 1.0


def _inverse(length: int, wanted: int) -> float:
    """Return the number of input pixels per output pixel, rounded as in these kernels."""
    return float(np.float32(1) / (np.float32(wanted) / np.float32(length)))


def _reach(length: int, radius: float) -> int:
    return min(2 * math.ceil(radius) + 1, length)


def _scale(length: int, wanted: int) -> np.float32:
    """Return the number of input pixels per output pixel."""
    return np.float32(length) / np.float32(wanted)


def _nearest(length: int, wanted: int) -> Array:
    """Return the input pixel nearest to the centre of each output pixel."""
    scale = _scale(length, wanted)
    at = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * scale
    return np.minimum(np.floor(at).astype(np.intp), length - 1)


def _centres(length: int, wanted: int) -> Array:
    """Return the centres of output pixels, in units of input pixels."""
    scale = _scale(length, wanted)
    half = np.float32(0.5)
    at: Array = (np.arange(wanted, dtype=np.float32) + half) * scale - half
    return at


def _along(weights: Array, axis: int, ndim: int) -> Array:
    shape = [1] * ndim
    shape[axis] = -1
    return weights.reshape(shape)


def _bilinear(x: Array, axis: int, wanted: int) -> Array:
    """Interpolate linearly between centres of pixels; edge values continue outwards."""
    at = _centres(x.shape[axis], wanted)
    floor = np.floor(at)
    below = np.maximum(floor, 0).astype(np.intp)
    above = np.minimum(np.ceil(at), x.shape[axis] - 1).astype(np.intp)
    return between(x, axis, below, above, at - floor)


def between(x: Array, axis: int, below: Array, above: Array, weight: Array) -> Array:
    """Interpolate linearly between neighbours: the weight is 0 at ``below`` and 1 at ``above``."""
    low, high = np.take(x, below, axis), np.take(x, above, axis)
    y: Array = low + (high - low) * _along(weight, axis, x.ndim)
    return y


def _bicubic_taps(length: int, wanted: int) -> Taps:
    """Return four neighbours with the weights of Keys' cubic kernel, 0 outside the image."""
    at = _centres(length, wanted)
    floor = np.floor(at)
    position = np.rint((at - floor) * np.float32(_TABLE)).astype(np.intp)
    near, far = _keys_table()
    weights = np.stack([far[position], near[position], near[-1 - position], far[-1 - position]], 1)
    index = floor.astype(np.intp)[:, None] + np.arange(-1, 3)
    inside = (index >= 0) & (index < length)
    return np.clip(index, 0, length - 1), _normalised(np.where(inside, weights, np.float32(0)))


def _area_taps(length: int, wanted: int) -> Taps:
    """Return the input pixels under each output pixel, and the covered part of each."""
    scale = _scale(length, wanted)
    first = np.arange(wanted, dtype=np.float32) * scale
    last = np.arange(1, wanted + 1, dtype=np.float32) * scale
    floor = np.floor(first).astype(np.intp)
    index = floor[:, None] + np.arange(math.ceil(float(scale)) + 1)
    covered = np.minimum(index + 1, last[:, None]) - np.maximum(index, first[:, None])
    weights = np.maximum(covered, 0).astype(np.float32)
    return np.clip(index, 0, length - 1), weights


def _keys_table() -> tuple[Array, Array]:
    """Return Keys' kernel at distances from 0 to 1, and from 1 to 2."""
    x = np.arange(_TABLE + 1, dtype=np.float32) / np.float32(_TABLE)
    a = np.float32(-0.5)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    x = x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return near.astype(np.float32), far.astype(np.float32)


def _normalised(weights: Array) -> Array:
    total = weights.sum(axis=1, keepdims=True, dtype=np.float32)
    usable = np.abs(total) >= _TINY
    scaled: Array = weights * np.where(usable, 1 / np.where(usable, total, 1), 1)
    return scaled.astype(np.float32)


def _triangle(x: Array) -> Array:
    return np.maximum(1 - x, 0)


def _keys(x: Array) -> Array:
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    inner = ((1.5 * x - 2.5) * x) * x + 1
    return np.where(x >= 2, 0, np.where(x >= 1, outer, inner))


def _lanczos(radius: float) -> Callable[[Array], Array]:
    def kernel(x: Array) -> Array:
        safe = np.where(x <= 1e-3, 1, x)
        pi = np.float32(np.pi)
        y = radius * np.sin(pi * safe) * np.sin(pi * safe / radius) / (pi * pi * safe * safe)
        return np.where(x > radius, 0, np.where(x <= 1e-3, 1, y))

    return kernel


_KERNELS: dict[str, tuple[float, Callable[[Array], Array]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _keys),
    "lanczos3": (3.0, _lanczos(3.0)),
    "lanczos5": (5.0, _lanczos(5.0)),
}


def _kernel_taps(length: int, wanted: int, method: str, antialias: bool) -> Taps:
    """Return the neighbours within a kernel's radius, with the kernel's weights."""
    radius, kernel = _KERNELS[method]
    inverse, scale = _inverse(length, wanted), _widened(length, wanted, antialias)
    at = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * np.float32(inverse)
    first = np.clip(np.ceil(at - radius * scale - 0.5), 0, length - 1).astype(np.intp)
    last = np.clip(np.floor(at + radius * scale - 0.5), 0, length - 1).astype(np.intp)
    index = first[:, None] + np.arange(_reach(length, radius * scale))
    offset = index.astype(np.float32) + np.float32(0.5) - at[:, None]
    distance = np.abs(offset / np.float32(scale))
    weights = np.where(index <= last[:, None], kernel(distance), 0).astype(np.float32)
    return np.clip(index, 0, length - 1), _normalised(weights)


def _weighted(x: Array, axis: int, taps: Taps) -> Array:
    """Return sums of inputs times weights along an axis."""
    y = np.zeros((), x.dtype)
    for index, weights in zip(taps[0].T, taps[1].T, strict=True):
        y = y + np.take(x, index, axis) * _along(weights, axis, x.ndim)
    return y


def round_to(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return images in their original type; for integers, rounded and limited to its range."""
    if dtype.kind not in "iu":
        return x.astype(dtype, copy=False)
    return cut(np.rint(x), dtype)
