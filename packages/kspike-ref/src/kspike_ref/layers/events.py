"""Event-driven computation of layers: only nonzero inputs, where that is faster.

After a spiking layer most inputs are zero. A dense product multiplies them anyway; here each
nonzero input (an event) adds its weights to the outputs that it reaches. The synaptic operations of
an input are one multiply-add per event and weight that it meets, fewer at the border of a
convolution than in the middle. Dense and event-driven computation give the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kspike_ref.kernels import events as loops
from kspike_ref.kernels.matmul import panel_width
from kspike_ref.kernels.memory import frozen
from kspike_ref.running import threads as _threads
from kspike_ref.signals import Floats

Indices = NDArray[np.intp]

# Costs in multiply-adds of a dense product, fitted to measurements like those of
# tests/benchmarks/events.py. They choose between two computations with the same bits: on another
# machine, a wrong choice costs only time.
_LOOK = 6.0  # of checking an input of a dense layer, to list the events of a row
_FOUND = 150.0  # of listing an event
_PANEL = 90.0  # of adding an event to a panel of a dense layer's results
_SUM = 200.0  # of finding the events of one line for a panel of a convolution's results
_TERM = 50.0  # of adding one of these events


@dataclass(frozen=True)
class Activity:
    """The activity of an input.

    Attributes
    ----------
    size : int
        The number of inputs.
    events : int
        The number of nonzero inputs.
    synops : int
        The synaptic operations: for each event, the weights that it meets.
    """

    size: int
    events: int
    synops: int


def dense_limit(size: int, columns: int) -> float:
    """Return the number of events below which a dense layer is faster event by event.

    ``size`` is the number of inputs of all rows, ``columns`` the number of units.
    """
    width = panel_width(np.float32)
    panels = -(-columns // width)
    return size * (max(columns, width // 2) - _LOOK) / (_FOUND + panels * _PANEL)


class EventConvolution:
    """An event-driven convolution over 1 to 3 axes.

    Parameters
    ----------
    packed : (groups, size) ndarray
        Each group's matrix ``(taps·channels, filters)``, as `kernels.matmul.pack` returns it.
    taps : int
        The number of positions of the kernel.
    channels, filters : int
        Numbers per group.
    """

    def __init__(self, packed: Floats, taps: int, channels: int, filters: int) -> None:
        self.packed, self.groups = frozen(packed.reshape(-1)), len(packed)
        self.taps, self.channels, self.filters = taps, channels, filters
        self.width = panel_width(packed.dtype)

    def activity(self, x: Floats, geometry: Indices) -> Activity:
        """Count the events of an input.

        Parameters
        ----------
        x : (batch, depth, height, width, channels) ndarray
            C-contiguous; with fewer axes, the first have length 1.
        geometry : (5, 3) ndarray
            Kernel size, stride, dilation, padding before, and output size along each axis.

        Returns
        -------
        Activity
            All counts; the synaptic operations exclude those in the padding.
        """
        flat = frozen(x.reshape(-1))
        reach = _reach(tuple(geometry.reshape(-1).tolist()), x.shape[1:4])
        events, reached = loops.count_reached(flat, x.shape[4], *reach)
        return Activity(x.size, events, reached * self.filters)

    def pays(self, activity: Activity, geometry: Indices, batch: int) -> bool:
        """Return whether the event-driven convolution is faster than a product."""
        panels = -(-self.filters // self.width)
        places = batch * self.groups * math.prod(geometry[4].tolist())
        size, rate = geometry[0].tolist(), int(geometry[2, 2])
        sums = size[0] * size[1] * (1 if rate == 1 else size[2]) * panels
        terms = activity.synops // self.filters * panels
        cost = places * sums * _SUM + terms * _TERM
        return cost < places * self.taps * self.channels * panels * self.width

    def convolve(self, x: Floats, geometry: Indices, start: Any, out: Floats, synops: int) -> int:
        """Convolve an input event by event.

        Parameters
        ----------
        x, geometry : ndarray
            As in `activity`.
        start : (filters of all groups,) ndarray or float
            The values that the convolution is added to.
        out : (batch, positions, filters of all groups) ndarray
            Filled with the result; C-contiguous.
        synops : int
            The expected number of operations, to choose the number of threads.

        Returns
        -------
        int
            The multiply-adds that were performed.
        """
        given, positions = frozen(x), math.prod(x.shape[1:4])
        batch, line = len(x), int(geometry[4, 2])
        lines = out.shape[1] // line
        # If there are too few examples for all threads, split the lines of an example into tasks.
        is_whole = batch >= _threads.num_threads() or x.size + synops <= _threads.WORTH_THREADS
        parts = 1 if is_whole else min(lines, 2 * _threads.num_threads())
        edges = [lines * part // parts for part in range(parts + 1)]
        met: list[int] = []

        def work(region: _threads.Region) -> None:
            room = loops.Room(positions, self.channels, x.dtype)
            first, last = region[:2]
            # whole examples, or some lines of one example after another
            pieces = [(first, last)] if parts == 1 else [(i, i + 1) for i in range(first, last)]
            for one, end in pieces:
                example, part = divmod(one, parts)
                examples = example, example + end - one
                lines = edges[part], edges[part + 1]
                out[slice(*examples), lines[0] * line : lines[1] * line] = start
                arguments = self.packed, self.groups, examples, lines, room, out
                met.append(loops.convolve_events(given, geometry, *arguments))

        items = batch * parts
        _threads.run(work, items, (x.size + synops) // max(1, items), 1)
        return sum(met) * self.filters


@lru_cache(maxsize=64)
def _reach(geometry: tuple[int, ...], spatial: tuple[int, ...]) -> Any:
    """Return, for every axis, the number of taps that see each position."""
    reach = []
    for length, (size, stride, rate, pad, extent) in zip(
        spatial, np.reshape(geometry, (5, 3)).T, strict=True
    ):
        at = np.arange(length)[:, None] + pad - np.arange(size) * rate
        sees = (at % stride == 0) & (at >= 0) & (at // stride < extent)
        reach.append(sees.sum(axis=1).astype(np.intp))
    return tuple(reach)
