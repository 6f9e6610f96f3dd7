# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that assign numbers to categories and encode these as integers or vectors."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError, indices, mixing
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError

MODES = ("int", "one_hot", "multi_hot", "count")
_NOT_COUNTED = ("int8", "int16", "uint8", "uint16", "uint32", "uint64")  # by TensorFlow
_MAX_DEPTH = 1 << 24  # categories: model files are untrusted


class Encoding(Layer):
    """The base class of layers that find the category of each input and encode it.

    Attributes
    ----------
    modes, default : tuple of str and str
        The values that ``output_mode`` may have, and its default.
    index_type, place_type : str and dtype
        The types of integers, and of vectors.
    any_rank : bool
        Whether inputs of three or more axes can become vectors.
    depth : int
        The number of categories.
    """

    modes: ClassVar[tuple[str, ...]] = MODES
    default: ClassVar[str] = "int"
    index_type: str = "int32"
    any_rank: ClassVar[bool] = False

    @property
    def place_type(self) -> Any:
        """The type of vectors."""
        return self.dtype

    def setup(self) -> None:
        self.mode = str(self.config.get("output_mode", self.default))
        if self.mode not in self.modes:
            raise UnsupportedUseError(f"{self.name}: output_mode={self.mode!r}")
        if self.config.get("sparse"):
            raise UnsupportedUseError(f"{self.name}: sparse=True; kspike_ref has only dense arrays")
        self.depth = self.read()
        if self.mode != "int" and not 0 < self.depth <= _MAX_DEPTH:
            raise ArchiveError(
                f"layer {self.name!r} must have 1 to {_MAX_DEPTH} categories. "
                f"Received: {self.depth}"
            )

    def read(self) -> int:
        """Read the configuration, and return the number of categories."""
        raise NotImplementedError

    def integers(self, x: Array) -> Array:
        """Return the category of each number."""
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        if self.mode == "int":
            return shape
        if self.mode == "one_hot":
            return (*(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape), self.depth)
        if len(shape) == 1:
            raise mixing(f"output_mode={self.mode!r} for one-dimensional inputs")
        if len(shape) != 2 and not self.any_rank:
            raise UnsupportedUseError(f"output_mode={self.mode!r} for inputs of shape {shape}")
        return (shape[0], *shape[2:], self.depth)

    def pointwise(self, shape: Shape) -> bool:
        return self.mode == "int" or (self.mode == "one_hot" and len(shape) > 2)

    def encoded(self, index: Array, weights: Any = None) -> Array:
        """Return categories in the encoding of the mode; those out of range are ignored."""
        if self.mode == "int":
            return index.astype(self.index_type, copy=False)
        if self.mode == "one_hot":
            is_column = index.ndim > 1 and index.shape[-1] == 1
            index = index if is_column else index[..., None]
        else:
            index = np.moveaxis(index, 1, -1)
        rows = index.reshape(math.prod(index.shape[:-1]), index.shape[-1])
        y = np.zeros((len(rows), self.depth), self.place_type)
        at, column = np.nonzero((rows >= 0) & (rows < self.depth))
        places = at, rows[at, column]
        if self.mode not in ("count", "tf_idf"):
            y[places] = 1
        elif weights is None:
            np.add.at(y, places, 1)
        else:
            weights = np.moveaxis(weights, 1, -1).reshape(rows.shape)
            np.add.at(y, places, weights[at, column].astype(y.dtype))  # from left to right
        return y.reshape(*index.shape[:-1], self.depth)

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        return 16 * math.prod(given[0])  # integers of 64 bits: categories, rows and columns

    def call(self, x: Array) -> Array:
        return self.encoded(self.integers(x))


@known("CategoryEncoding")
class CategoryEncoding(Encoding):
    """Vectors that encode integers: one per integer, or one for all integers of an example."""

    casts = ""
    default = "multi_hot"
    modes = ("one_hot", "multi_hot", "count")
    argument_names = ("inputs", "count_weights")

    def read(self) -> int:
        return self.integer("num_tokens")

    def output_shape(self, shape: Shape, count_weights: Any = None) -> Shape:
        if count_weights is not None and (self.mode != "count" or count_weights != shape):
            raise UnsupportedUseError(
                "count_weights without output_mode='count', or not of the shape of the inputs"
            )
        return super().output_shape(shape)

    def pointwise(self, shape: Shape, count_weights: Any = None) -> bool:
        return super().pointwise(shape)

    def call(self, x: Array, count_weights: Any = None) -> Array:
        if self.mode != "one_hot" and x.dtype.name in _NOT_COUNTED:
            self.refuse(x.dtype, "only bools, floats, int32 and int64 to count")
        return self.encoded(indices(x, self.depth), count_weights)


@known("Discretization")
class Discretization(Encoding):
    """The bin of each number."""

    refused = ("uint64",)

    def read(self) -> int:
        given = self.config.get("bin_boundaries")
        if given is None:
            raise UnsupportedUseError(f"{self.name}: Discretization without bins; adapt it first")
        if not isinstance(given, list) or not all(isinstance(b, int | float) for b in given):
            raise ArchiveError(f"bin_boundaries must be numbers. Received: {given!r:.80}")
        self.boundaries = self.rounded(np.asarray(given, np.float64), "bin_boundaries")
        self.boundaries = self.boundaries.astype(np.float32)
        if (np.diff(self.boundaries) < 0).any():
            raise ArchiveError(f"bin_boundaries must ascend. Received: {given!r:.80}")
        return len(given) + 1

    def integers(self, x: Array) -> Array:
        return np.digitize(x.astype(np.float32, copy=False), self.boundaries)
