"""Sliding windows: sizes, strides, padding, and conversion of arrays to the form of the loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kspike_ref.layers.errors import Array, Shape
from kspike_ref.running import interrupt
from kspike_ref.running.binder import Binder
from kspike_ref.saved.archive import ArchiveError

_PIECE = 1 << 27  # operations between checks for an interrupt: about a tenth of a second
_MAX_LENGTH = 1 << 16  # of a kernel, stride or dilation: a limit for untrusted configurations


class Window:
    """A window over the spatial axes of an input.

    Parameters
    ----------
    config : dict
        The layer's configuration.
    rank : int
        The number of spatial axes.
    size_key : str
        The configuration's key for the window's size.

    Attributes
    ----------
    size, stride, dilation : tuple of int
        Per axis.
    padding : str
        ``"valid"``, ``"same"`` or ``"causal"``.
    channels_first : bool
        Whether channels come before space.
    """

    least = 1  # minimum number of positions of the window: pooling may have none

    def __init__(self, config: Mapping[str, Any], rank: int, size_key: str) -> None:
        self.rank = rank
        self.size = lengths(config.get(size_key), rank, size_key)
        strides = config.get("strides")
        self.stride = self.size if strides is None else lengths(strides, rank, "strides")
        self.dilation = lengths(config.get("dilation_rate", 1), rank, "dilation_rate")
        self.padding = str(config.get("padding", "valid")).lower()
        if self.padding not in ("valid", "same", "causal"):
            raise ArchiveError(f"padding must be valid, same or causal. Received: {self.padding}")
        self.channels_first = config.get("data_format") == "channels_first"

    def spatial(self, shape: Shape) -> Shape:
        """Return the lengths of the spatial axes of a shape."""
        if len(shape) != self.rank + 2:
            raise ArchiveError(f"the input must have {self.rank + 2} axes. Received: {shape}")
        return shape[2:] if self.channels_first else shape[1:-1]

    def channels(self, shape: Shape) -> int:
        """Return the number of channels of a shape."""
        self.spatial(shape)
        channels = shape[1 if self.channels_first else -1]
        if channels is None:
            raise ArchiveError(f"the number of channels must be known. Received: {shape}")
        return channels

    def shape(self, batch: Any, spatial: Shape, channels: int) -> Shape:
        """Return a shape with the axes in the layer's order."""
        return (batch, channels, *spatial) if self.channels_first else (batch, *spatial, channels)

    def extents(self, spatial: Shape) -> Shape:
        """Return the number of positions of the window along every axis."""
        return tuple(self._extent(n, i) for i, n in enumerate(spatial))

    def _extent(self, length: int | None, i: int) -> int | None:
        if length is None:
            return None
        if self.padding != "valid":
            return -(-length // self.stride[i])
        count = (length - self.reach(i)) // self.stride[i] + 1
        if count < self.least:
            raise ArchiveError(f"a window of {self.reach(i)} does not fit into {length}")
        return count

    def reach(self, i: int) -> int:
        """Return the number of inputs along an axis between the ends of the window."""
        return (self.size[i] - 1) * self.dilation[i] + 1

    def geometry(self, shape: tuple[int, ...]) -> Array:
        """Return the geometry for the loops: size, stride, dilation, padding, extent of 3 axes."""
        spatial: Any = self.spatial(shape)
        extents = self.extents(spatial)
        return self.table(self._before(spatial, extents), extents)

    def table(self, before: Sequence[int], extents: Any) -> Array:
        """Return a geometry with these paddings and extents."""
        own = zip(self.size, self.stride, self.dilation, before, extents, strict=True)
        columns = [(1, 1, 1, 0, 1)] * (3 - self.rank) + list(own)
        return np.array(list(zip(*columns, strict=True)), np.intp)

    def _before(self, spatial: tuple[int, ...], extents: Shape) -> list[int]:
        if self.padding == "valid":
            return [0] * self.rank
        if self.padding == "causal":
            return [self.reach(i) - 1 for i in range(self.rank)]
        total = [
            max(0, ((extents[i] or 0) - 1) * self.stride[i] + self.reach(i) - spatial[i])
            for i in range(self.rank)
        ]
        return [n // 2 for n in total]

    def bound(
        self, binder: Binder, x: Array, channels: int, taps: int
    ) -> tuple[Array, Array, list[int]] | None:
        """Return a plan's input as `enter` does, its geometry, and the extents of the output.

        None stands for an input that a plan cannot take, or whose examples take so long that a run
        must be able to stop within one (see `pieces`).
        """
        if self.channels_first:
            return None
        geometry, lead = self.geometry(x.shape), 3 - self.rank
        extents = geometry[4].tolist()
        if not len(x) or not 0 < math.prod(extents) * channels * taps <= _PIECE:
            return None
        return binder.view(x, (len(x), *[1] * lead, *x.shape[1:])), geometry, extents[lead:]

    def pieces(
        self, x: Array, geometry: Array, out: Array, taps: int
    ) -> Iterator[tuple[Array, Array, Array]]:
        """Yield inputs, geometry and outputs: once for all, or in pieces if the run is long.

        Parameters
        ----------
        x : ndarray
            From `enter`.
        geometry : ndarray
            From `geometry`.
        out : (batch, positions, …) ndarray
            The outputs.
        taps : int
            The operations per element of the output.
        """
        operations, stop = math.prod(out.shape[1:]) * taps, interrupt.current()
        if stop is None or operations <= _PIECE:
            yield x, geometry, out
            return
        # Split the first axis with several positions, so that a piece is contiguous in an output.
        axis = next((i for i in range(3) if geometry[4, i] > 1), 2)
        extent = int(geometry[4, axis])
        count = max(1, min(extent, -(-operations // _PIECE)))
        inner = math.prod(geometry[4, axis + 1 :].tolist())
        for i in range(len(x)):
            for first, last in itertools.pairwise(extent * k // count for k in range(count + 1)):
                interrupt.check(stop)
                piece = geometry.copy()
                piece[3, axis] -= first * geometry[1, axis]  # skip the inputs of earlier pieces
                piece[4, axis] = last - first
                yield x[i : i + 1], piece, out[i : i + 1, first * inner : last * inner]

    def enter(self, x: Array) -> Array:
        """Return an input as ``(batch, depth, height, width, channels)``."""
        if self.channels_first:
            x = np.moveaxis(x, 1, -1)
        x = np.ascontiguousarray(x)
        return x.reshape(x.shape[0], *[1] * (3 - self.rank), *x.shape[1:])

    def leave(self, y: Array, geometry: Array) -> Array:
        """Return an output in the layer's own form."""
        y = y.reshape(y.shape[0], *geometry[4, 3 - self.rank :], y.shape[-1])
        return np.ascontiguousarray(np.moveaxis(y, -1, 1)) if self.channels_first else y


def lengths(value: Any, rank: int, name: str) -> tuple[int, ...]:
    """Return a configuration's positive lengths, one for each of ``rank`` axes."""
    given = list(value) if isinstance(value, list | tuple) else [value] * rank
    fits = len(given) == rank and all(type(n) is int and 0 < n <= _MAX_LENGTH for n in given)
    if not fits or math.prod(given) > _MAX_LENGTH**2:
        raise ArchiveError(f"{name} must be {rank} positive integers. Received: {value!r:.80}")
    return tuple(given)
