"""Loops of convolution, transposed convolution and pooling over 1 to 3 axes.

Arrays are ``(batch, depth, height, width, channels)``; with fewer axes, the first have length 1.
``geometry`` is 5 rows of 3: kernel size, stride, dilation, padding before, output size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.kernels import checks, entry, kernel
from kspike_ref.kernels.matmul import multiply_loop, packed_size, panel_width

Array = Any

_ROWS = 240  # positions gathered at once: the rows of a block in `kernels.matmul`


@kernel
def gather(
    x: Array, geometry: Array, first: int, last: int, channel: int, channels: int, rows: Array
) -> None:
    """Copy the inputs of one example's output positions ``first`` to ``last``, one row each."""
    depth, height, width, step = x.shape
    flat, target = x.reshape(-1), rows.reshape(-1)
    pad, stride, rate = geometry[3, 2], geometry[1, 2], geometry[2, 2]
    wide, high = geometry[4, 2], geometry[4, 1]
    taps = geometry[0, 2]
    # Adjacent taps see adjacent inputs, which are copied together.
    is_dense = rate == 1 and channels == step
    length = taps * channels
    ow, oh, od = first % wide, first // wide % high, first // (wide * high)
    to = 0
    for _ in range(first, last):
        w = ow * stride - pad
        is_inside = is_dense and w >= 0 and w + taps <= width
        for kd in range(geometry[0, 0]):
            d = od * geometry[1, 0] + kd * geometry[2, 0] - geometry[3, 0]
            for kh in range(geometry[0, 1]):
                h = oh * geometry[1, 1] + kh * geometry[2, 1] - geometry[3, 1]
                line = (d * height + h) * width
                if not (0 <= d < depth and 0 <= h < height):
                    for i in range(length):
                        target[to + i] = 0
                elif is_inside:
                    at = (line + w) * step
                    for i in range(length):
                        target[np.uintp(to + i)] = flat[np.uintp(at + i)]  # no wraparound
                else:
                    part = (step, channel, channels)
                    gather_line(flat, line, width, w, (taps, rate), part, target, to)
                to += length
        ow += 1
        if ow == wide:
            ow, oh = 0, oh + 1
        if oh == high:
            oh, od = 0, od + 1


@kernel
def gather_line(
    flat: Array, line: int, width: int, w: int, taps: Any, part: Any, target: Array, to: int
) -> None:
    """Copy the inputs of the taps along a line, from position ``w`` on; 0 outside the line.

    ``taps`` is their number and spacing; ``part`` is the number of channels of a position, the
    first channel to copy, and the number of channels to copy.
    """
    count, rate = taps
    step, channel, channels = part
    for _ in range(count):
        if 0 <= w < width:
            at = (line + w) * step + channel
            for c in range(channels):
                target[to + c] = flat[at + c]
        else:
            for c in range(channels):
                target[to + c] = 0
        to += channels
        w += rate


@kernel
def convolve_loop(
    x: Array, geometry: Array, packed: Array, width: int, groups: int, rows: Array, out: Array
) -> None:
    """Add a convolution to ``out``, ``(batch, positions, filters)``.

    ``packed`` holds one packed matrix per group; ``rows`` is scratch memory for gathered positions.
    """
    channels = x.shape[4] // groups
    filters = out.shape[2] // groups
    for b in range(x.shape[0]):
        for first in range(0, out.shape[1], _ROWS):
            last = min(first + _ROWS, out.shape[1])
            for group in range(groups):
                gather(x[b], geometry, first, last, group * channels, channels, rows)
                part = out[b, first:last, group * filters : (group + 1) * filters]
                multiply_loop(rows[: last - first], packed[group], width, part)


@kernel
def inside(first: int, rate: int, size: int, length: int) -> tuple[int, int]:
    """Return the range of taps that do not see padding if tap 0 is at ``first``."""
    low = max(0, -(first // rate))
    high = min(size, (length - 1 - first) // rate + 1)
    return low, high


@kernel
def add_each_channel(seen: Array, weights: Array, sums: Array) -> None:
    """Add ``seen`` times its weights, ``(channels, multiplier)``, to ``sums``."""
    channels, multiplier = weights.shape
    if multiplier == 1:
        for c in range(channels):
            sums[c, 0] += seen[c] * weights[c, 0]
        return
    for c in range(channels):
        for m in range(multiplier):
            sums[c, m] += seen[c] * weights[c, m]


@kernel
def depthwise_loop(x: Array, geometry: Array, weights: Array, out: Array) -> None:
    """Add a depthwise convolution to ``out``, ``(batch, positions, channels, multiplier)``.

    ``weights`` are ``(taps, channels, multiplier)``.
    """
    size, stride, rate, pad, extent = geometry
    for b in range(x.shape[0]):
        for position in range(out.shape[1]):
            w = (position % extent[2]) * stride[2] - pad[2]
            h = (position // extent[2]) % extent[1] * stride[1] - pad[1]
            d = position // (extent[2] * extent[1]) * stride[0] - pad[0]
            d_low, d_high = inside(d, rate[0], size[0], x.shape[1])
            h_low, h_high = inside(h, rate[1], size[1], x.shape[2])
            w_low, w_high = inside(w, rate[2], size[2], x.shape[3])
            for i in range(d_low, d_high):
                for j in range(h_low, h_high):
                    for k in range(w_low, w_high):
                        seen = x[b, d + i * rate[0], h + j * rate[1], w + k * rate[2]]
                        tap = (i * size[1] + j) * size[2] + k
                        add_each_channel(seen, weights[tap], out[b, position])


@kernel
def scatter_loop(columns: Array, geometry: Array, out: Array) -> None:
    """Add the products of input positions, ``(batch, d, h, w, taps, filters)``, to the outputs."""
    size, stride, rate, crop, extent = geometry
    _, depth, height, width, _, filters = columns.shape
    for b in range(columns.shape[0]):
        for position in range(depth * height * width):
            iw = position % width
            ih = (position // width) % height
            id_ = position // (width * height)
            d, h, w = id_ * stride[0] - crop[0], ih * stride[1] - crop[1], iw * stride[2] - crop[2]
            d_low, d_high = inside(d, rate[0], size[0], extent[0])
            h_low, h_high = inside(h, rate[1], size[1], extent[1])
            w_low, w_high = inside(w, rate[2], size[2], extent[2])
            for i in range(d_low, d_high):
                for j in range(h_low, h_high):
                    for k in range(w_low, w_high):
                        sent = columns[b, id_, ih, iw, (i * size[1] + j) * size[2] + k]
                        sums = out[b, d + i * rate[0], h + j * rate[1], w + k * rate[2]]
                        for f in range(filters):
                            sums[f] += sent[f]


@kernel
def pool_one(seen: Array, is_maximum: bool, y: Array) -> None:
    """Update the maximum or the sum of a window with one position."""
    if is_maximum:
        for c in range(y.size):
            y[c] = seen[c] if seen[c] > y[c] else y[c]
    else:
        for c in range(y.size):
            y[c] += seen[c]


@kernel
def pool_loop(x: Array, geometry: Array, is_maximum: bool, out: Array) -> None:
    """Fill ``out`` with the maximum or the mean of every window; padding does not count."""
    size, stride, _, pad, extent = geometry
    for b in range(x.shape[0]):
        for position in range(extent[0] * extent[1] * extent[2]):
            ow = position % extent[2]
            oh = (position // extent[2]) % extent[1]
            od = position // (extent[2] * extent[1])
            d, h, w = od * stride[0] - pad[0], oh * stride[1] - pad[1], ow * stride[2] - pad[2]
            d_low, d_high = inside(d, 1, size[0], x.shape[1])
            h_low, h_high = inside(h, 1, size[1], x.shape[2])
            w_low, w_high = inside(w, 1, size[2], x.shape[3])
            y = out[b, od, oh, ow]
            y[:] = -np.inf if is_maximum else 0
            for i in range(d_low, d_high):
                for j in range(h_low, h_high):
                    for k in range(w_low, w_high):
                        pool_one(x[b, d + i, h + j, w + k], is_maximum, y)
            if not is_maximum:
                y /= (d_high - d_low) * (h_high - h_low) * (w_high - w_low)


def convolve_call(
    x: Array, geometry: Array, packed: Array, groups: int, out: Array
) -> tuple[Any, ...]:
    """Add a convolution to ``out``.

    Parameters
    ----------
    x : (batch, depth, height, width, channels) ndarray
        Float32 or float64.
    geometry : (5, 3) ndarray
        Kernel size, stride, dilation, padding before, and output size along each axis.
    packed : (groups, size) ndarray
        Each group's matrix ``(taps·channels, filters)``, as `kernels.matmul.pack` returns it.
    groups : int
        Number of channel groups.
    out : (batch, positions, filters of all groups) ndarray
        Added to.
    """
    dtype, extent, depth, filters = check_groups(x, geometry, groups, out)
    checks.read("packed", packed, dtype, (groups, packed_size(depth, filters, dtype)))
    rows = np.empty((min(math.prod(extent), _ROWS), depth), dtype)
    return convolve_loop, x, geometry, packed, panel_width(dtype), groups, rows, out


convolve = entry(convolve_call)


def depthwise(x: Array, geometry: Array, weights: Array, out: Array) -> None:
    """Add a depthwise convolution to ``out``: every channel has its own filters.

    Parameters
    ----------
    x, geometry : ndarray
        As in `convolve`.
    weights : (taps, channels, multiplier) ndarray
        Of the type of ``x``.
    out : (batch, positions, channels, multiplier) ndarray
        Added to.
    """
    dtype, extent, taps = _check(x, geometry)
    channels, multiplier = x.shape[4], _last("weights", weights, 3)
    checks.read("weights", weights, dtype, (taps, channels, multiplier))
    checks.write("out", out, dtype, (x.shape[0], math.prod(extent), channels, multiplier))
    depthwise_loop(x, geometry, weights, out)


def scatter(columns: Array, geometry: Array, out: Array) -> None:
    """Add the products of a transposed convolution's input positions to the outputs.

    Parameters
    ----------
    columns : (batch, depth, height, width, taps, filters) ndarray
        Float32 or float64.
    geometry : (5, 3) ndarray
        As in `convolve`; the fourth row is the number of outputs cropped at the start.
    out : (batch, *output size, filters) ndarray
        Added to.
    """
    dtype = checks.floats("columns", columns, 6)
    size, *_, extent = checks.geometry(geometry)
    shape = columns.shape
    checks.read("columns", columns, dtype, (*shape[:4], math.prod(size), shape[5]))
    checks.write("out", out, dtype, (shape[0], *extent, shape[5]))
    scatter_loop(columns, geometry, out)


def pool_call(x: Array, geometry: Array, is_maximum: bool, out: Array) -> tuple[Any, ...]:
    """Fill ``out`` with the maximum or the mean of every window; padding does not count.

    Parameters
    ----------
    x, geometry : ndarray
        As in `convolve`.
    is_maximum : bool
        True for the maximum, False for the mean.
    out : (batch, *output size, channels) ndarray
        Filled.
    """
    dtype, extent, _ = _check(x, geometry)
    checks.write("out", out, dtype, (x.shape[0], *extent, x.shape[4]))
    return pool_loop, x, geometry, bool(is_maximum), out


pool = entry(pool_call)


def check_groups(
    x: Array, geometry: Array, groups: int, out: Array
) -> tuple[Any, list[int], int, int]:
    """Check a convolution's arguments as in `convolve_call`.

    Returns the type, the output size, and the rows and columns of a group's matrix.
    """
    dtype, extent, taps = _check(x, geometry)
    channels, filters = x.shape[4], _last("out", out, 3)
    if checks.integer("groups", groups, 1) and (channels % groups or filters % groups):
        raise ValueError(f"{groups} groups must divide {channels} channels and {filters} filters")
    checks.write("out", out, dtype, (x.shape[0], math.prod(extent), filters))
    return dtype, extent, taps * (channels // groups), filters // groups


def _check(x: Array, geometry: Array) -> tuple[Any, list[int], int]:
    """Check an input and its geometry; return the type, the output size and the number of taps."""
    dtype = checks.floats("x", x, 5)
    size, *_, extent = checks.geometry(geometry)
    return dtype, extent, math.prod(size)


def _last(name: str, values: Array, axes: int) -> int:
    """Check that an array has ``axes`` axes; return the length of the last one."""
    checks.floats(name, values, axes)
    return int(values.shape[-1])
