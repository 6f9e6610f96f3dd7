"""The loops of event-driven layers: what is zero costs nothing but being looked at.

Inputs are ``(batch, depth, height, width, channels)``, C-contiguous; fewer axes have length 1 in
front. For each of the three axes there is a table of what sees a position: ``reach``, how many of
the kernel's taps; ``taps``, which ones; ``places``, as part of which output positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref._jit import kernel
from kspike_ref._matmul import _one_1, _one_4

Array = Any

CHUNK = 16  # values that are looked at together


@kernel
def count(x: Array) -> int:
    """Return how many values of a flat array are not zero."""
    events = 0
    for i in range(x.size):
        events += x[i] != 0
    return events


@kernel
def count_reached(x: Array, depths: Array, heights: Array, widths: Array, total: Array) -> None:
    """Set ``total`` to the events of ``x``, and to the sum of the taps that see each of them."""
    total[:] = 0
    for b in range(x.shape[0]):
        for d in range(x.shape[1]):
            for h in range(x.shape[2]):
                for w in range(x.shape[3]):
                    events = count(x[b, d, h, w])
                    total[0] += events
                    total[1] += events * depths[d] * heights[h] * widths[w]


@kernel
def list_events(x: Array, index: Array, values: Array) -> int:
    """Write where a flat ``x`` is not zero, and what is there; return how often.

    There is room for `CHUNK` more than there are.
    """
    events = 0
    whole = x.size - x.size % CHUNK
    for base in range(0, whole, CHUNK):
        active = 0
        for i in range(CHUNK):  # a known number, for which vectors are used
            active += x[base + i] != 0
        if active > 0:
            for i in range(base, base + CHUNK):
                index[events] = i
                values[events] = x[i]
                events += x[i] != 0
    for i in range(whole, x.size):
        index[events] = i
        values[events] = x[i]
        events += x[i] != 0
    return events


@kernel
def targets(d: int, h: int, w: int, axes: Array, taps: Array, places: Array) -> int:
    """List the taps that see a position, and for which output positions; return how many."""
    (d_reach, d_taps, d_places), (h_reach, h_taps, h_places), (w_reach, w_taps, w_places) = axes
    found = 0
    for i in range(d_reach[d]):
        for j in range(h_reach[h]):
            tap = d_taps[d, i] + h_taps[h, j]
            place = d_places[d, i] + h_places[h, j]
            for k in range(w_reach[w]):
                taps[found] = tap + w_taps[w, k]
                places[found] = place + w_places[w, k]
                found += 1
    return found


@kernel
def send(
    events: int, index: Array, values: Array, weights: Array, shape: Array, part: Array, met: int,
    taps: Array, places: Array, groups: int, group: int, scratch: Array, out: Array,
) -> None:  # fmt: skip
    """Add what the events of a group at one position send to each of ``met`` output positions.

    Events are outside: there are as many targets for each, so that the processor foresees the end
    of the inner loop. An output takes its terms in the order of channels all the same.
    """
    channels, filters, length, lanes = shape
    for e in range(events):
        for i in range(met):
            row = (taps[i] * channels + index[e]) * length
            to = (places[i] * groups + group) * filters
            f = part[0]
            while f + 4 * lanes <= part[1]:
                _one_4(values, e, 0, weights, row + f, out, to + f, 0, 1, weights)
                f += 4 * lanes
            while f + lanes <= part[1]:
                _one_1(values, e, 0, weights, row + f, out, to + f, 0, 1, weights)
                f += lanes
            if f < part[1]:
                send_rest(values, e, weights, row + f, scratch, part[1] - f, to + f, out)


@kernel
def send_rest(
    values: Array, e: int, weights: Array, row: int, scratch: Array, left: int, to: int, out: Array
) -> None:
    """Do one step of `send` for the filters that are less than a vector."""
    for f in range(left):
        scratch[f] = out[to + f]
    _one_1(values, e, 0, weights, row, scratch, 0, 0, 1, weights)
    for f in range(left):
        out[to + f] = scratch[f]


@kernel
def convolve_events(
    x: Array, axes: Array, weights: Array, shape: Array, example: int, part: Array, out: Array
) -> int:
    """Add the convolution of one example to ``out``, ``(positions, all filters)``, flat.

    ``weights`` holds for each group the matrix ``(taps·channels, length)``, flat, whose rows begin
    with the filters; ``shape`` is the channels, filters and length, and how many numbers a vector
    has; ``part`` is a range of filters. Inputs come in C order, so each output takes its terms in
    the order of taps and channels, as a matrix product does. How often events meet a tap is
    returned.
    """
    channels, groups = shape[0], weights.shape[0]
    room = channels + CHUNK
    index, values = np.empty(room, np.intp), np.empty(room, x.dtype)
    most = axes[0][1].shape[1] * axes[1][1].shape[1] * axes[2][1].shape[1]
    taps, places = np.empty(most, np.intp), np.empty(most, np.intp)
    scratch = np.zeros(shape[3], x.dtype)
    total = 0
    for d in range(x.shape[1]):
        for h in range(x.shape[2]):
            for w in range(x.shape[3]):
                seen = x[example, d, h, w]
                if count(seen) == 0:
                    continue
                met = targets(d, h, w, axes, taps, places)
                for group in range(groups):
                    own = seen[group * channels : (group + 1) * channels]
                    events = list_events(own, index, values)
                    total += events * met
                    if events * met > 0:
                        send(
                            events, index, values, weights[group], shape, part, met,
                            taps, places, groups, group, scratch, out,
                        )  # fmt: skip
    return total
