"""Loops of event-driven layers, which skip inputs that are zero.

Inputs of convolutions are flattened ``(batch, depth, height, width, channels)`` arrays; with fewer
axes, the first have length 1. A line is the positions along the width. ``geometry`` is the kernel
size, stride, dilation, padding before, and output size along each of the three axes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.kernels import checks, entry, kernel
from kspike_ref.kernels.bits import RUN, list_nonzero, lowest_bits, nonzero_bits, number_of_bits
from kspike_ref.kernels.convolve import check_groups
from kspike_ref.kernels.matmul import packed_size, panel_width
from kspike_ref.kernels.tiles import events_1, events_2

Array = Any
Range = tuple[int, int]


@kernel
def count_loop(x: Array) -> int:
    """Return the number of nonzero values of a flat array."""
    return count_between(x, 0, x.size)


@kernel
def count_between(x: Array, first: int, last: int) -> int:
    """Return the number of nonzero values in a part of a flat array."""
    events, i = 0, first
    while i + RUN <= last:
        events += number_of_bits(nonzero_bits(x, i))
        i += RUN
    if i < last and i + RUN <= x.size:
        return events + number_of_bits(nonzero_bits(x, i) & lowest_bits(last - i))
    while i < last:
        events += x[i] != 0
        i += 1
    return events


@kernel
def count_reached_loop(
    x: Array, channels: int, depths: Array, heights: Array, widths: Array, total: Array
) -> None:
    """Set ``total`` to the events of ``x``, and to the number of taps that see them, summed.

    The number of taps that see a position is the product of the numbers along the three axes.
    """
    total[:] = 0
    at = 0
    while at < x.size:
        for d in range(depths.size):
            for h in range(heights.size):
                for w in range(widths.size):
                    events = count_between(x, at, at + channels)
                    total[0] += events
                    total[1] += events * depths[d] * heights[h] * widths[w]
                    at += channels


@kernel
def list_events(
    x: Array, at: int, positions: int, sizes: Any, starts: Array, index: Array, values: Array
) -> None:
    """List the nonzero values, with their positions in the line.

    ``sizes`` are the channels of a position, the distance of positions, and the inputs of a line.
    The events of position p are from ``starts[p]`` up to ``starts[p + 1]``.
    """
    channels, step, line = sizes
    events, base = 0, 0
    for position in range(positions):
        starts[position] = events
        events = list_nonzero(x, at, channels, base, index, values, events)
        at += step
        base += channels
        if base == line:
            base = 0
    starts[positions] = events


@kernel
def add_events(
    events: Any, first: int, last: int, matrix: Any, row: int, out: Array, to: int, scratch: Array
) -> None:
    """Add events times rows of a matrix to the filters of an output position.

    ``events`` is their indices and values, ``matrix`` is as in `add_line`; the row of an event is
    ``row`` plus its index.
    """
    index, values = events
    packed, begin, depth, width, panels, left = matrix
    terms, panel = last - first, begin + row * width
    for _ in range(panels):
        events_2(values, first, 0, packed, panel, out, to, 0, terms, index)
        panel += depth * width
        to += width
    if left > 0:
        for i in range(left):
            scratch[i] = out[to + i]
        if left > width // 2:
            events_2(values, first, 0, packed, panel, scratch, 0, 0, terms, index)
        else:
            panel -= row * (width // 2)  # its rows are half as long
            events_1(values, first, 0, packed, panel, scratch, 0, 0, terms, index)
        for i in range(left):
            out[to + i] = scratch[i]


@kernel
def add_line(
    events: Any, starts: Array, line: Any, geometry: Array, matrix: Any, out: Array, place: Any,
    scratch: Array,
) -> int:  # fmt: skip
    """Add the events of an input line to an output line; return the number that met a tap.

    ``line`` is the first position of the input line, its length, its channels, and the first matrix
    row of the taps that see it. ``matrix`` is an array, the start of a group's matrix in it, the
    matrix' rows, the width of its panels, their number, and the number of remaining columns.
    ``place`` is the start of the output line and the distance of its positions. Adjacent taps see
    adjacent positions, and their rows are as far apart as the indices of events, so one sum covers
    them all.
    """
    begin, length, channels, row = line
    to, step = place
    taps, stride, rate, pad = geometry[0, 2], geometry[1, 2], geometry[2, 2], geometry[3, 2]
    together = taps if rate == 1 else 1
    met = 0
    for at in range(geometry[4, 2]):
        k = 0
        while k < taps:
            position = at * stride - pad + k * rate
            first = starts[begin + min(max(position, 0), length)]
            last = starts[begin + min(max(position + together, 0), length)]
            if last > first:
                met += last - first
                own = row + (k - position) * channels
                add_events(events, first, last, matrix, own, out, to, scratch)
            k += together
        to += step
    return met


@kernel
def add_lines(
    events: Any, starts: Array, shape: Array, geometry: Array, matrix: Any, out: Array, part: Any,
    scratch: Array,
) -> int:  # fmt: skip
    """Add the events of a group of channels to some lines of an example's output.

    ``part`` is the first line, the one after the last, and the start of the group's filters.
    """
    depth, height, length, channels = shape[0], shape[1], shape[2], shape[3]
    step = shape[4] * shape[5]
    heights, widths, high, wide = geometry[0, 1], geometry[0, 2], geometry[4, 1], geometry[4, 2]
    met = 0
    for line in range(part[0], part[1]):
        place = (part[2] + line * wide * step, step)
        for i in range(geometry[0, 0]):
            d = line // high * geometry[1, 0] - geometry[3, 0] + i * geometry[2, 0]
            for j in range(heights):
                h = line % high * geometry[1, 1] - geometry[3, 1] + j * geometry[2, 1]
                if 0 <= d < depth and 0 <= h < height:
                    row = (i * heights + j) * widths * channels
                    seen = ((d * height + h) * length, length, channels, row)
                    met += add_line(events, starts, seen, geometry, matrix, out, place, scratch)
    return met


@kernel
def convolve_events_loop(
    x: Array, shape: Array, geometry: Array, packed: Array, part: Array, room: Any, out: Array
) -> int:
    """Add the convolution of some examples to some lines of ``out``; return the events at taps.

    ``shape`` is depth, height, width, channels per group, the number of groups, filters per group,
    and the width of a panel. ``packed`` holds a matrix ``(taps·channels, filters)`` per group, as
    `kernels.matmul.pack` returns it. ``part`` is the first example and the one after the last,
    and likewise the lines of ``out``, which is flat and holds all examples. An output adds its
    terms in the order of taps and channels, as in a matrix product.

    ``room`` is the arrays that `list_events` fills, and a panel. They come from the caller because
    Numba counts references to arrays that it makes; per call, that takes longer than adding an
    event.
    """
    channels, groups, filters, width = shape[3], shape[4], shape[5], shape[6]
    positions = shape[0] * shape[1] * shape[2]
    starts, index, values, scratch = room
    rows = geometry[0, 0] * geometry[0, 1] * geometry[0, 2] * channels
    size = geometry[4, 0] * geometry[4, 1] * geometry[4, 2] * groups * filters
    sizes = (channels, groups * channels, shape[2] * channels)
    met = 0
    for example in range(part[0], part[1]):
        for group in range(groups):
            at = (example * positions * groups + group) * channels
            list_events(x, at, positions, sizes, starts, index, values)
            begin = group * (packed.size // groups)
            matrix = (packed, begin, rows, width, filters // width, filters % width)
            lines = (part[2], part[3], example * size + group * filters)
            met += add_lines((index, values), starts, shape, geometry, matrix, out, lines, scratch)
    return met


def count_call(x: Array) -> tuple[Any, ...]:
    """Return the number of nonzero values of a flat array.

    Parameters
    ----------
    x : (size,) ndarray
        Float32 or float64.
    """
    checks.floats("x", x, 1)
    return count_loop, x


count = entry(count_call)


def count_reached(
    x: Array, channels: int, depths: Array, heights: Array, widths: Array
) -> tuple[int, int]:
    """Count the events of a convolution's input.

    Parameters
    ----------
    x : (size,) ndarray
        Flattened ``(batch, depth, height, width, channels)``, float32 or float64.
    channels : int
        Channels of a position.
    depths, heights, widths : ndarray of intp
        The number of taps that see each position along an axis.

    Returns
    -------
    tuple of int
        The number of events, and the number of taps that see them, summed.
    """
    checks.floats("x", x, 1)
    size = checks.integer("channels", channels)
    for name, axis in (("depths", depths), ("heights", heights), ("widths", widths)):
        checks.read(name, axis, checks.INDEX, (np.size(axis),))
        size *= axis.size
    if x.size % size if size else x.size:
        raise ValueError(f"x must hold examples of {size} numbers. Received: x.size={x.size}")
    total = np.zeros(2, np.int64)
    count_reached_loop(x, channels, depths, heights, widths, total)
    return int(total[0]), int(total[1])


class Room:
    """Scratch memory of `convolve_events` for one thread.

    Parameters
    ----------
    positions, channels : int
        Positions of an example, and channels of a group.
    dtype : dtype
        Float32 or float64.
    """

    def __init__(self, positions: int, channels: int, dtype: Any) -> None:
        size = positions * channels
        self.positions, self.size, self.dtype = positions, size, np.dtype(dtype)
        starts, index = np.empty(positions + 1, np.intp), np.empty(size, np.intp)
        self.arrays = starts, index, np.empty(size, dtype), np.zeros(panel_width(dtype), dtype)


def convolve_events(
    x: Array, geometry: Array, packed: Array, groups: int, examples: Range, lines: Range,
    room: Room, out: Array,
) -> int:  # fmt: skip
    """Add the convolution of some examples to some lines of their outputs.

    Parameters
    ----------
    x : (batch, depth, height, width, channels) ndarray
        Float32 or float64.
    geometry : (5, 3) ndarray
        Kernel size, stride, dilation, padding before, and output size along each axis.
    packed : (size,) ndarray
        Each group's matrix ``(taps·channels, filters)``, as `kernels.matmul.pack` returns it.
    groups : int
        Number of channel groups.
    examples, lines : tuple of int
        The first to work on, and the one after the last; the lines are lines of the output.
    room : Room
        For the positions of ``x`` and the channels of a group.
    out : (batch, positions, filters of all groups) ndarray
        Added to.

    Returns
    -------
    int
        The number of times that an event met a tap.
    """
    dtype, extent, depth, filters = check_groups(x, geometry, groups, out)
    checks.read("packed", packed, dtype, (groups * packed_size(depth, filters, dtype),))
    batch, *spatial, channels = x.shape
    for name, pair, end in (("examples", examples, batch), ("lines", lines, extent[0] * extent[1])):
        if type(pair) is not tuple or len(pair) != 2:
            raise TypeError(f"{name} must be two numbers. Received: {pair!r}")
        checks.between(name, pair[0], pair[1], end)
    positions = math.prod(spatial)
    if type(room) is not Room or (room.positions, room.size, room.dtype) != (
        positions, positions * (channels // groups), dtype,
    ):  # fmt: skip
        raise ValueError("room must be for the positions, channels and type of x")
    each_group = (channels // groups, groups, filters, panel_width(dtype))
    shape = np.array([*spatial, *each_group], np.intp)
    part = np.array([*examples, *lines], np.intp)
    return int(
        convolve_events_loop(
            x.reshape(-1), shape, geometry, packed, part, room.arrays, out.reshape(-1)
        )
    )
