"""The loops of event-driven layers: what is zero costs nothing but being looked at.

Inputs are ``(batch, depth, height, width, channels)``, C-contiguous; fewer axes have length 1 in
front. For each of the three axes there is a table of what sees a position: ``reach``, how many of
the kernel's taps; ``taps``, which ones; ``places``, as part of which output positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref._jit import kernel
from kspike_ref._matmul import _one_1, _one_2

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
    events: int, index: Array, values: Array, packed: Array, shape: Array, part: Array, met: int,
    taps: Array, places: Array, groups: int, group: int, scratch: Array, out: Array,
) -> None:  # fmt: skip
    """Add what the events of a group at one position send to each of ``met`` output positions.

    Events are outside: there are as many targets for each, so that the processor foresees the end
    of the inner loop. An output takes its terms in the order of channels all the same.
    """
    all_taps, channels, filters, width = shape
    half = width // 2
    for panel in range(part[0], part[1]):
        first = panel * width
        left = filters - first
        wide = left > half
        taken = width if wide else half
        base = first * all_taps * channels
        for e in range(events):
            row = base + index[e] * taken
            for i in range(met):
                start = row + taps[i] * channels * taken
                to = (places[i] * groups + group) * filters + first
                if left < taken:
                    send_part(values, e, packed, start, scratch, wide, left, to, out)
                elif wide:
                    _one_2(values, e, 0, packed, start, out, to, 0, 1, packed)
                else:
                    _one_1(values, e, 0, packed, start, out, to, 0, 1, packed)


@kernel
def send_part(
    values: Array, e: int, packed: Array, start: int, scratch: Array, wide: bool, left: int,
    to: int, out: Array,
) -> None:  # fmt: skip
    """Do one step of `send` for a panel of which only ``left`` filters exist."""
    for f in range(left):
        scratch[f] = out[to + f]
    if wide:
        _one_2(values, e, 0, packed, start, scratch, 0, 0, 1, packed)
    else:
        _one_1(values, e, 0, packed, start, scratch, 0, 0, 1, packed)
    for f in range(left):
        out[to + f] = scratch[f]


@kernel
def convolve_events(
    x: Array, axes: Array, packed: Array, shape: Array, example: int, part: Array, out: Array
) -> int:
    """Add the convolution of one example to ``out``, ``(positions, all filters)``, flat.

    ``packed`` holds `_matmul.pack` of the matrix ``(taps·channels, filters)`` of each group;
    ``shape`` its taps, channels, filters and the width of its panels; ``part`` is a range of
    panels. Inputs come in C order, so each output takes its terms in the order of taps and
    channels, as a matrix product does. How often events meet a tap is returned.
    """
    channels, groups = shape[1], packed.shape[0]
    room = channels + CHUNK
    index, values = np.empty(room, np.intp), np.empty(room, x.dtype)
    taps, places = np.empty(shape[0], np.intp), np.empty(shape[0], np.intp)
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
                            events, index, values, packed[group], shape, part, met,
                            taps, places, groups, group, scratch, out,
                        )  # fmt: skip
    return total
