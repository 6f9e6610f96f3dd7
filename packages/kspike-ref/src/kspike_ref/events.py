"""Event-driven layers: work for what is not zero, where that is less than all the work.

After a spiking layer most inputs are zero. A dense product multiplies them all the same; here each
input that is not zero (an event) adds its weights to what it reaches. The synaptic operations of an
input are one multiply-add for each event and each weight that it meets; at the border of a
convolution that is fewer than in its middle. Dense and event-driven work give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kspike_ref import _event_kernels, _matmul, _threads
from kspike_ref._memory import aligned
from kspike_ref._signal import Floats, frozen

Indices = NDArray[np.intp]

# Costs in multiply-adds of a dense product, measured by tests/benchmarks/events.py. They choose
# between two ways to the same bits: on another machine a wrong choice costs time, nothing else.
_LOOK = 36.0  # at an input of a dense layer, to list the events of a row
_PANEL = 75.0  # to add one event to a panel of a dense layer's results
_VISIT = 320.0  # of an active position, for each tap and block of filters of a convolution
_MEETING = 3.9  # of an event and a weight of a convolution


@dataclass(frozen=True)
class Activity:
    """How active an input is, and what it makes a layer do.

    Attributes
    ----------
    size : int
        The number of inputs.
    events : int
        Those that are not zero.
    synops : int
        The synaptic operations: for each event, the weights that it meets.
    """

    size: int
    events: int
    synops: int

    @property
    def density(self) -> float:
        """The fraction of inputs that are not zero; 0 where there are none."""
        return self.events / self.size if self.size else 0.0


def dense_activity(x: Floats, columns: int) -> Activity:
    """Count the events of a dense layer's input.

    Parameters
    ----------
    x : ndarray
        Of any shape, C-contiguous.
    columns : int
        The layer's units: what each input meets.

    Returns
    -------
    Activity
        All counts.
    """
    events = int(_event_kernels.count(frozen(x.reshape(-1))))
    return Activity(x.size, events, events * columns)


def dense_pays(activity: Activity, columns: int) -> bool:
    """Return whether a dense layer of ``columns`` units is faster event by event."""
    width = _matmul.panel_width(np.float32)
    cost = activity.size * _LOOK + activity.events * -(-columns // width) * _PANEL
    return cost < activity.size * max(columns, width // 2)


class EventConvolution:
    """A convolution over 1 to 3 axes, event by event.

    Parameters
    ----------
    weights : (groups, taps·channels, filters) ndarray
        Each group's matrix.
    taps : int
        Positions of the kernel.
    """

    def __init__(self, weights: Floats, taps: int) -> None:
        self.groups, self.filters = len(weights), weights.shape[2]
        self.taps, self.channels = taps, weights.shape[1] // taps
        lanes = _matmul.panel_width(weights.dtype) // 2
        self.block = 4 * lanes  # filters that the kernel takes together
        # Rows of whole vectors, so that each begins at a cache line.
        padded = np.pad(weights, [(0, 0), (0, 0), (0, -self.filters % lanes)])
        self.weights = frozen(aligned(padded.reshape(self.groups, -1)))
        self._shape = np.array([self.channels, self.filters, padded.shape[2], lanes], np.intp)

    def activity(self, x: Floats, geometry: Indices) -> Activity:
        """Count the events of an input.

        Parameters
        ----------
        x : (batch, depth, height, width, channels) ndarray
            C-contiguous; fewer axes have length 1 in front.
        geometry : (5, 3) ndarray
            Kernel size, stride, dilation, padding before, and output size along each axis.

        Returns
        -------
        Activity
            All counts; the synaptic operations leave out what falls into the padding.
        """
        total = np.zeros(2, np.int64)
        depths, heights, widths = (axis[0] for axis in _axes(geometry, x.shape[1:4]))
        _event_kernels.count_reached(frozen(x), depths, heights, widths, total)
        events, reached = total.tolist()
        return Activity(x.size, events, reached * self.filters)

    def pays(self, activity: Activity, out_size: int) -> bool:
        """Return whether event by event is faster than a product of ``out_size`` results."""
        positions = activity.size // max(1, self.channels)  # of each group
        blocks = -(-self.filters // self.block)
        visits = min(activity.events, positions) * self.taps * blocks
        cost = visits * _VISIT + activity.synops * _MEETING
        return cost < out_size * self.taps * self.channels

    def add(self, x: Floats, geometry: Indices, out: Floats, synops: int) -> int:
        """Add the convolution of ``x`` to ``out``.

        Parameters
        ----------
        x, geometry : ndarray
            As in `activity`.
        out : (batch, positions, filters) ndarray
            C-contiguous; holds the bias, or zeros.
        synops : int
            How many operations to expect, to choose the number of threads.

        Returns
        -------
        int
            The multiply-adds that were performed.
        """
        axes, given = _axes(geometry, x.shape[1:4]), frozen(x)
        weights, shape = self.weights, self._shape
        batch, blocks = len(x), -(-self.filters // self.block)
        flat = out.reshape(batch, out.shape[1] * out.shape[2])
        # Too few examples for all threads: each block of filters is work of its own.
        parts = blocks if batch < _threads.num_threads() else 1
        edges = [min(p * self.block, self.filters) for p in range(parts)] + [self.filters]
        ranges = [np.array(edge) for edge in pairwise(edges)]
        done: list[int] = []

        def work(region: _threads.Region) -> None:
            for item in range(region[0], region[1]):
                example, part = divmod(item, parts)
                met = _event_kernels.convolve_events(
                    given, axes, weights, shape, example, ranges[part], flat[example]
                )
                done.append(met * int(ranges[part][1] - ranges[part][0]))

        items = batch * parts
        _threads.run(work, items, (x.size + synops) // max(1, items), 1)
        return int(sum(done))


def _axes(geometry: Indices, spatial: tuple[int, ...]) -> Any:
    """Return for each axis how many taps see a position, which, and for which output."""
    return _tables(tuple(geometry.reshape(-1).tolist()), tuple(spatial))


@lru_cache(maxsize=64)
def _tables(geometry: tuple[int, ...], spatial: tuple[int, ...]) -> Any:
    size, stride, rate, pad, extent = np.array(geometry, np.intp).reshape(5, 3)
    axes = []
    for axis, length in enumerate(spatial):
        tap_step, place_step = int(np.prod(size[axis + 1 :])), int(np.prod(extent[axis + 1 :]))
        at = np.arange(length)[:, None] + pad[axis] - np.arange(size[axis]) * rate[axis]
        place = at // stride[axis]
        sees = (at % stride[axis] == 0) & (place >= 0) & (place < extent[axis])
        order = np.argsort(~sees, axis=1, kind="stable")  # the taps that see it first
        taps = np.broadcast_to(np.arange(size[axis]), sees.shape)
        axes.append(
            (
                np.ascontiguousarray(sees.sum(axis=1), np.intp),
                np.ascontiguousarray(np.take_along_axis(taps, order, 1) * tap_step, np.intp),
                np.ascontiguousarray(np.take_along_axis(place, order, 1) * place_step, np.intp),
            )
        )
    return tuple(axes)
