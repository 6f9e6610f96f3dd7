# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` in Functional models: parts, copies and other orders of elements."""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Array, Shape, UnsupportedUseError
from kspike_ref.layers.ops.along_axis import one_axis
from kspike_ref.layers.ops.base import Operation, function_name
from kspike_ref.layers.registry import known
from kspike_ref.layers.shape import repeated
from kspike_ref.saved.archive import ArchiveError

_MOST = 1 << 24  # copies of an element, or elements of padding: a limit, as files are untrusted


def _count(layer: Operation, value: Any, name: str) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ArchiveError(f"{name} must be from 0 to {_MOST}. Received: {value!r:.80}")
    return value


def _with_length(shape: Shape, axis: int, length: int | None) -> Shape:
    return (*shape[:axis], length, *shape[axis + 1 :])


class _Along(Operation):
    """An operation along one axis, which is not the batch."""

    options: ClassVar[tuple[str, ...]] = ("axis",)

    def axis(self, rank: int) -> int:
        """Return the axis as a positive number."""
        return one_axis(self, self.config.get("axis"), rank)

    def pointwise(self, *shapes: Any) -> bool:
        return len(shapes[0]) > 2 and self.axis(len(shapes[0])) > 1


@known("ops:Split")
class Split(_Along):
    """Parts one after another along an axis."""

    options = ("axis", "indices_or_sections")
    keeps_zeros = True

    def _ends(self, length: int | None) -> list[int]:
        """Return where the parts end, but for the last one."""
        given = self.config["indices_or_sections"]
        if type(given) is int:
            if length is None:
                raise UnsupportedUseError("keras.ops.split of an axis of unknown length; name ends")
            if not 0 < given <= 4096 or length % given:
                raise ArchiveError(f"{length} elements cannot be split into {given!r:.80} parts")
            return [length // given * i for i in range(1, given)]
        if not isinstance(given, list) or not all(type(n) is int for n in given):
            raise ArchiveError(f"indices_or_sections must be integers. Received: {given!r:.80}")
        if length is not None and not all(0 <= n <= length for n in given):
            raise ArchiveError(f"indices_or_sections must be within {length}. Received: {given}")
        if sorted(given) != given or (given and given[0] < 0) or len(given) > 4096:
            raise ArchiveError(f"indices_or_sections must ascend. Received: {given!r:.80}")
        return given

    def output_shape(self, shape: Shape) -> list[Shape]:
        axis = self.axis(len(shape))
        length = shape[axis]
        ends: list[Any] = [0, *self._ends(length), length]
        lengths = [None if b is None else b - a for a, b in itertools.pairwise(ends)]
        return [_with_length(shape, axis, n) for n in lengths]

    def call(self, x: Array) -> list[Array]:
        axis = self.axis(x.ndim)
        return np.split(x, self._ends(x.shape[axis]), axis=axis)


@known("ops:Unstack")
class Unstack(_Along):
    """One part for each position along an axis, which goes."""

    options = ("axis", "num")
    keeps_zeros = True

    def output_shape(self, shape: Shape) -> list[Shape]:
        axis = self.axis(len(shape))
        length = self.config.get("num") if shape[axis] is None else shape[axis]
        if length is None:
            raise UnsupportedUseError("keras.ops.unstack of an axis of unknown length; give num")
        if not 0 < _count(self, length, "num") <= 4096:
            raise ArchiveError(f"an axis of {length} elements cannot be unstacked")
        return [(*shape[:axis], *shape[axis + 1 :])] * length

    def call(self, x: Array) -> list[Array]:
        return list(np.moveaxis(x, self.axis(x.ndim), 0))


@known("ops:Take")
class Take(_Along):
    """Elements along an axis, chosen by constant integers, or rows of a constant by integers."""

    argument_names = ("x", "indices")

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 2:
            raise self.without("x and indices")
        x, indices = shapes
        if not isinstance(x, tuple):  # a constant table
            if self.config.get("axis") not in (0, -np.ndim(x)) or not isinstance(indices, tuple):
                raise self.mixes(f"a constant and axis={self.config.get('axis')}")
            return (*indices, *np.shape(x)[1:])
        axis = self.axis(len(x))
        if isinstance(indices, tuple):
            raise self.mixes("indices that are a tensor; use keras.ops.take_along_axis, or this")
        return (*x[:axis], *_whole(indices).shape, *x[axis + 1 :])

    def pointwise(self, *shapes: Any) -> bool:
        if not isinstance(shapes[0], tuple):
            return len(shapes[1]) > 1
        return super().pointwise(shapes[0])

    def received(self, values: Any) -> Any:
        return values

    def call(self, x: Any, indices: Any) -> Array:
        x = np.asarray(x, None if isinstance(x, np.ndarray) else np.float32)
        axis = 0 if self.config.get("axis") in (0, -x.ndim) else self.axis(x.ndim)
        if isinstance(indices, np.ndarray) and indices.dtype.kind not in "iu":
            self.refuse(indices.dtype, "integers as indices")
        return np.take(x, _within(self.name, _whole(indices), x.shape[axis]), axis=axis)


def _whole(indices: Any) -> Array:
    """Return constant indices, which TensorFlow takes as integers only."""
    array = np.asarray(indices)
    if array.dtype.kind not in "iu" and array.size:
        raise ArchiveError(f"indices must be integers. Received: {indices!r:.80}")
    return array.astype(np.intp)


def _within(name: str, indices: Array, length: int) -> Array:
    """Return indices counted from the front; refuse those that are outside."""
    if indices.size and not -length <= int(indices.min()) <= int(indices.max()) < length:
        raise ValueError(
            f"indices must be from {-length} to {length - 1} at {name!r}. "
            f"Received: {int(indices.min())} to {int(indices.max())}"
        )
    counted: Array = np.where(indices < 0, indices + length, indices)
    return counted


@known("ops:TakeAlongAxis")
class TakeAlongAxis(_Along):
    """Elements along an axis, chosen by integers for each place."""

    argument_names = ("x", "indices")

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 2 or not all(isinstance(shape, tuple) for shape in shapes):
            raise self.without("two tensors")
        x, indices = shapes
        axis = self.axis(len(x))
        fits = len(x) == len(indices) and all(
            i == axis or None in (n, m) or n == m
            for i, (n, m) in enumerate(zip(x, indices, strict=True))
        )
        if not fits:
            raise UnsupportedUseError(f"keras.ops.take_along_axis of shapes {x} and {indices}")
        return _with_length(x, axis, indices[axis])

    def call(self, x: Array, indices: Array) -> Array:
        axis = self.axis(x.ndim)
        cut = indices.astype(np.intp)  # of floats the whole part, as in Keras
        return np.take_along_axis(x, _within(self.name, cut, x.shape[axis]), axis)


@known("ops:Pad")
class Pad(Operation):
    """Elements around: constants, or the tensor reflected at its edges."""

    options = ("pad_width", "mode")
    argument_names = ("x", "constant_values")

    def setup(self) -> None:
        self.mode = str(self.config.get("mode", "constant"))
        if self.mode not in ("constant", "reflect", "symmetric"):
            raise UnsupportedUseError(f"{self.name}: keras.ops.pad with mode={self.mode!r}")

    def _widths(self, rank: int) -> list[tuple[int, int]]:
        given = self.config["pad_width"]
        pairs = given if isinstance(given, list) else [given]
        if not any(isinstance(pair, list) for pair in pairs):
            pairs = [pairs * 2 if len(pairs) == 1 else pairs]
        pairs = pairs * rank if len(pairs) == 1 else pairs
        if len(pairs) != rank or any(not isinstance(p, list) or len(p) != 2 for p in pairs):
            raise ArchiveError(f"pad_width must be {rank} pairs. Received: {given!r:.80}")
        widths = [(_count(self, a, "pad_width"), _count(self, b, "pad_width")) for a, b in pairs]
        if any(widths[0]):
            raise self.mixes(f"pad_width={given!r:.80}")
        return widths

    def output_shape(self, x: Shape, constant_values: Any = None) -> Shape:
        if constant_values is not None and not isinstance(constant_values, int | float):
            raise UnsupportedUseError("keras.ops.pad with constant_values that are no number")
        widths = self._widths(len(x))
        for n, pair in zip(x, widths, strict=True):
            room = n if self.mode == "symmetric" or n is None else n - 1
            if self.mode != "constant" and room is not None and max(pair) > room:
                raise ArchiveError(f"pad_width is more than {x} has to reflect: {widths}")
        return tuple(
            None if n is None else n + sum(pair) for n, pair in zip(x, widths, strict=True)
        )

    def pointwise(self, shape: Shape, constant_values: Any = None) -> bool:
        return len(shape) > 2 and not any(self._widths(len(shape))[1])

    def call(self, x: Array, constant_values: Any = None) -> Array:
        widths = self._widths(x.ndim)
        if self.mode == "constant":
            fill = np.asarray(constant_values or 0).astype(x.dtype)
            return np.pad(x, widths, constant_values=fill)
        return np.pad(x, widths, mode="reflect" if self.mode == "reflect" else "symmetric")


@known("ops:Repeat")
class Repeat(_Along):
    """Each element several times along an axis."""

    options = ("axis", "repeats")

    def _repeats(self) -> Any:
        given = self.config["repeats"]
        if isinstance(given, list):
            counts = [_count(self, n, "repeats") for n in given]
            return counts[0] if len(counts) == 1 else counts
        return _count(self, given, "repeats")

    def output_shape(self, shape: Shape) -> Shape:
        axis, repeats = self.axis(len(shape)), self._repeats()
        length = shape[axis]
        if isinstance(repeats, list):
            if length not in (len(repeats), None):
                raise ArchiveError(f"repeats must be {length} counts. Received: {repeats!r:.80}")
            return _with_length(shape, axis, sum(repeats))
        return _with_length(shape, axis, None if length is None else length * repeats)

    def call(self, x: Array) -> Array:
        axis, repeats = self.axis(x.ndim), self._repeats()
        if isinstance(repeats, list):
            return np.repeat(x, repeats, axis=axis)
        return repeated(x, axis, repeats)


@known("ops:Tile")
class Tile(Operation):
    """The whole tensor several times."""

    refused = ("uint16",)
    options = ("repeats",)

    def _counts(self, rank: int) -> list[int]:
        given = self.config["repeats"]
        counts = [
            _count(self, n, "repeats") for n in (given if isinstance(given, list) else [given])
        ]
        counts = [1] * (rank - len(counts)) + counts
        if len(counts) > rank or counts[0] != 1:
            raise self.mixes(f"repeats={given!r:.80}")
        return counts

    def output_shape(self, shape: Shape) -> Shape:
        pairs = zip(shape, self._counts(len(shape)), strict=True)
        return tuple(None if n is None else n * count for n, count in pairs)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and self._counts(len(shape))[1] == 1

    def call(self, x: Array) -> Array:
        # Not np.tile, which holds the GIL: no other thread could run, or see Ctrl-C.
        counts = self._counts(x.ndim)
        pairs = zip(counts, x.shape, strict=True)
        y = np.empty([n for pair in pairs for n in pair], x.dtype)
        y[...] = x.reshape([n for length in x.shape for n in (1, length)])
        return y.reshape([count * n for count, n in zip(counts, x.shape, strict=True)])


@known("ops:Swapaxes", "ops:Moveaxis")
class Reordering(Operation):
    """Axes in another order; the batch stays first."""

    options = ("axis1", "axis2", "source", "destination")
    keeps_zeros = True

    def _order(self, rank: int) -> list[int]:
        config, order = self.config, list(range(rank))
        if self.class_name == "Swapaxes":
            one, other = (_axes(self, config[key], rank)[0] for key in ("axis1", "axis2"))
            order[one], order[other] = order[other], order[one]
            return order
        source, target = (_axes(self, config[key], rank) for key in ("source", "destination"))
        if (
            len(source) != len(target)
            or len({*source}) < len(source)
            or len({*target}) < len(target)
        ):
            raise ArchiveError("source and destination must be as many different axes")
        order = [i for i in order if i not in source]
        for place, axis in sorted(zip(target, source, strict=True)):
            order.insert(place, axis)
        return order

    def output_shape(self, shape: Shape) -> Shape:
        order = self._order(len(shape))
        if order[0] != 0:
            raise self.mixes("the batch as another axis than the first")
        return tuple(shape[i] for i in order)

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and self._order(len(shape))[1] == 1

    def call(self, x: Array) -> Array:
        return x.transpose(self._order(x.ndim))


def _axes(layer: Operation, given: Any, rank: int) -> list[int]:
    """Return axes as positive numbers, the batch included."""
    axes = given if isinstance(given, list) else [given]
    if not axes or not all(type(axis) is int and -rank <= axis < rank for axis in axes):
        raise ArchiveError(f"axes must be within {rank} axes. Received: {given!r:.80}")
    return [axis % rank for axis in axes]


@known("ops:Flip", "ops:Roll")
class Turn(Operation):
    """Elements in the opposite order along axes, or shifted round along one."""

    options = ("axis", "shift")
    keeps_zeros = True

    def _turned(self, rank: int) -> list[int]:
        if self.config.get("axis") is None:
            raise self.mixes("axis=None")
        axes = _axes(self, self.config["axis"], rank)
        if 0 in axes:
            raise self.mixes(f"axis={self.config['axis']}")
        return axes

    def output_shape(self, shape: Shape) -> Shape:
        axes = self._turned(len(shape))
        shift = self.config.get("shift", 0)
        shifts = shift if isinstance(shift, list) else [shift]
        fits = len(shifts) in (1, len(axes)) and all(
            type(n) is int and abs(n) <= _MOST for n in shifts
        )
        if not fits:
            raise ArchiveError(f"shift must be small integers. Received: {shift!r:.80}")
        return shape

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 not in self._turned(len(shape))

    def call(self, x: Array) -> Array:
        axes = tuple(self._turned(x.ndim))
        if self.class_name == "Flip":
            return np.flip(x, axes)
        return np.roll(x, self.config["shift"], axes if len(axes) > 1 else axes[0])


@known("ops:OneHot", "ops:MultiHot")
class OneHot(Operation):
    """A vector for each integer: 1 at its place, 0 elsewhere; nothing where there is no place."""

    kinds = "biuf"
    options = ("num_classes", "axis", "sparse", "dtype")

    def setup(self) -> None:
        if self.config.get("sparse"):
            raise UnsupportedUseError(
                f"{self.name}: keras.ops.{function_name(self.class_name)} with sparse=True; "
                "kspike_ref has dense arrays"
            )
        self.count = _count(self, self.config["num_classes"], "num_classes")
        name = self.result_type or "float32"
        if name not in dtypes.NAMES:
            raise ArchiveError(f"dtype must be one of Keras'. Received: {name!r:.80}")
        self.target = dtypes.computed(name)

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        return 16 * math.prod(given[0])  # integers of 64 bits: indices, rows and columns

    def _place(self, rank: int) -> int:
        axis = self.config.get("axis", -1)
        if type(axis) is not int or not -rank - 1 <= axis <= rank or axis % (rank + 1) == 0:
            raise self.mixes(f"axis={axis!r:.80}")
        return axis % (rank + 1)

    def output_shape(self, shape: Shape) -> Shape:
        if self.class_name == "MultiHot":
            if self.config.get("axis", -1) != -1 or len(shape) != 2:
                raise UnsupportedUseError("keras.ops.multi_hot of anything but one row an example")
            return (shape[0], self.count)
        place = self._place(len(shape))
        return (*shape[:place], self.count, *shape[place:])

    def pointwise(self, shape: Shape) -> bool:
        if self.class_name == "MultiHot":
            return False
        return len(shape) > 1 and self._place(len(shape)) > 1

    def call(self, x: Array) -> Array:
        index = x.astype(np.int64)
        if self.class_name == "MultiHot":
            row, column = np.nonzero((index >= 0) & (index < self.count))
            places = np.zeros((len(index), self.count), self.target)
            places[row, index[row, column]] = 1
            return places
        y = index[..., None] == np.arange(self.count)
        return np.moveaxis(y, -1, self._place(x.ndim)).astype(self.target)
