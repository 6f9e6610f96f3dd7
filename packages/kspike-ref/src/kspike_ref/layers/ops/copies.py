# ruff: noqa: D102 (methods are documented in base.Layer)
"""Concatenation, stacking, padding, repetition, reversal and rolling of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.merge import concatenated
from kspike_ref.layers.ops.base import (
    MAX_COUNT,
    AlongAxes,
    Operation,
    check_distinct,
    with_lengths,
)
from kspike_ref.layers.registry import known
from kspike_ref.layers.shape import repeated
from kspike_ref.saved.archive import ArchiveError


@known("ops:Concatenate")
class Concatenate(AlongAxes):
    """The concatenation of tensors along an axis."""

    keeps_zeros = True
    default_axis = 0

    def output_shape(self, shapes: Any) -> Shape:
        return concatenated(shapes, self.axis(len(shapes[0])))

    def pointwise(self, shapes: Any) -> bool:
        return len({shape[1:2] for shape in shapes}) == 1 and super().pointwise(*shapes)

    def call(self, inputs: list[Array]) -> Array:
        return np.concatenate(dtypes.unified(inputs), axis=self.axis(inputs[0].ndim))


@known("ops:Stack")
class Stack(Concatenate):
    """A stack of tensors along a new axis."""

    keeps_zeros = False

    def axes(self, rank: int) -> tuple[int, ...]:
        return super().axes(rank + 1)

    def output_shape(self, shapes: Any) -> Shape:
        axis = self.axis(len(shapes[0]))
        return concatenated([(*s[:axis], 1, *s[axis:]) for s in shapes], axis)

    def call(self, inputs: list[Array]) -> Array:
        return np.stack(dtypes.unified(inputs), axis=self.axis(inputs[0].ndim))


@known("ops:Pad")
class Pad(Operation):
    """Padding of a tensor, with constants or with its reflection at the edges."""

    options = ("pad_width", "mode")
    argument_names = ("x", "constant_values")

    def setup(self) -> None:
        self.mode: Any = self.config.get("mode", "constant")
        if self.mode not in ("constant", "reflect", "symmetric"):
            raise UnsupportedUseError(f"{self.name}: keras.ops.pad with mode={self.mode!r:.80}")

    def _widths(self, rank: int) -> list[tuple[int, int]]:
        given = self.config["pad_width"]
        counts = np.asarray(given)
        if counts.dtype.kind != "i" or not ((counts >= 0) & (counts <= MAX_COUNT)).all():
            raise ArchiveError(
                f"pad_width must hold integers from 0 to {MAX_COUNT}. Received: {given!r:.80}"
            )
        widths = np.broadcast_to(counts, (rank, 2)).tolist()
        if any(widths[0]):
            raise self.mixes(f"pad_width={given!r:.80}")
        return [(before, after) for before, after in widths]

    def output_shape(self, x: Shape, constant_values: Any = None) -> Shape:
        if constant_values is not None and not isinstance(constant_values, int | float):
            raise self.unsupported("constant_values that is not a number")
        widths = self._widths(len(x))
        for n, pair in zip(x, widths, strict=True):
            room = n if self.mode == "symmetric" or n is None else n - 1
            if self.mode != "constant" and room is not None and max(pair) > room:
                raise ArchiveError(
                    f"pad_width is too large to reflect an input of shape {x}. Received: {widths}"
                )
        return tuple(
            None if n is None else n + sum(pair) for n, pair in zip(x, widths, strict=True)
        )

    def pointwise(self, shape: Shape, constant_values: Any = None) -> bool:
        return len(shape) > 2 and not any(self._widths(len(shape))[1])

    def call(self, x: Array, constant_values: Any = None) -> Array:
        fill = {"constant_values": np.asarray(constant_values or 0).astype(x.dtype)}
        options = fill if self.mode == "constant" else {}
        return np.pad(x, self._widths(x.ndim), mode=self.mode, **options)


@known("ops:Repeat")
class Repeat(AlongAxes):
    """Repetition of each element along an axis."""

    options = ("axis", "repeats")

    def output_shape(self, shape: Shape) -> Shape:
        axis, repeats = self.axis(len(shape)), self.counts("repeats")
        length = shape[axis]
        if len(repeats) != 1:
            if length not in (len(repeats), None):
                raise ArchiveError(
                    f"repeats must hold 1 or {length} integers. Received: {repeats!r:.80}"
                )
            return with_lengths(shape, axis, sum(repeats))
        return with_lengths(shape, axis, None if length is None else length * repeats[0])

    def call(self, x: Array) -> Array:
        axis, repeats = self.axis(x.ndim), self.counts("repeats")
        if len(repeats) != 1:
            return np.repeat(x, repeats, axis=axis)
        return repeated(x, axis, repeats[0])


@known("ops:Tile")
class Tile(Operation):
    """Repetition of the whole tensor."""

    refused = ("uint16",)
    options = ("repeats",)

    def _repeats(self, rank: int) -> list[int]:
        counts = self.counts("repeats")
        counts = [1] * (rank - len(counts)) + counts
        if len(counts) > rank or counts[0] != 1:
            raise self.mixes(f"repeats={self.config['repeats']!r:.80}")
        return counts

    def output_shape(self, shape: Shape) -> Shape:
        pairs = zip(shape, self._repeats(len(shape)), strict=True)
        return tuple(None if n is None else n * repeats for n, repeats in pairs)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and self._repeats(len(shape))[1] == 1

    def call(self, x: Array) -> Array:
        # Not np.tile, which holds the GIL: no other thread could run or receive Ctrl-C.
        repeats = self._repeats(x.ndim)
        pairs = list(zip(repeats, x.shape, strict=True))
        y = np.empty([n for pair in pairs for n in pair], x.dtype)
        y[...] = x.reshape([n for length in x.shape for n in (1, length)])
        return y.reshape([times * n for times, n in pairs])


@known("ops:Flip")
class Flip(AlongAxes):
    """Elements in reverse order along axes."""

    keeps_zeros = True

    def axes(self, rank: int) -> tuple[int, ...]:
        return check_distinct(super().axes(rank))

    def call(self, x: Array) -> Array:
        return np.flip(x, self.axes(x.ndim))


@known("ops:Roll")
class Roll(AlongAxes):
    """Elements shifted along axes, with wrap-around."""

    options = ("axis", "shift")
    keeps_zeros = True

    def output_shape(self, shape: Shape) -> Any:
        shift = self.config["shift"]
        shifts = shift if isinstance(shift, list) else [shift]
        is_small = all(type(n) is int and abs(n) <= MAX_COUNT for n in shifts)
        if not is_small or len(shifts) not in (1, len(self.axes(len(shape)))):
            raise ArchiveError(
                f"shift must be a small integer, or one per axis. Received: {shift!r:.80}"
            )
        return super().output_shape(shape)

    def call(self, x: Array) -> Array:
        return np.roll(x, self.config["shift"], self.axes(x.ndim))
