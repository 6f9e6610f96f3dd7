# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Preprocessing of categories: bins, lookups of integers, and their encodings."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kspike_ref.archive import ArchiveError
from kspike_ref.layers.base import Array, Layer, Shape, UnsupportedUseError
from kspike_ref.layers.registry import known

_MODES = ("int", "one_hot", "multi_hot", "count")
_NOT_COUNTED = ("int8", "int16", "uint8", "uint16", "uint32", "uint64")  # by TensorFlow
_MOST = 1 << 24  # categories: a limit for files of strangers


class _Encoding(Layer):
    """What layers share that make categories of numbers and encode them."""

    modes: ClassVar[tuple[str, ...]] = _MODES
    default: ClassVar[str] = "int"
    index_type: ClassVar[str] = "int32"

    @property
    def place_type(self) -> Any:
        """The type of encodings that are vectors."""
        return self.dtype

    def setup(self) -> None:
        self.mode = str(self.config.get("output_mode", self.default))
        if self.mode not in self.modes:
            raise UnsupportedUseError(f"{self.name}: output_mode={self.mode!r}")
        if self.config.get("sparse"):
            raise UnsupportedUseError(f"{self.name}: sparse=True; kspike_ref has dense arrays")
        self.depth = self.read()
        if not 0 < self.depth <= _MOST:
            raise ArchiveError(f"layer {self.name!r} has an impossible number of categories")

    def read(self) -> int:
        """Read the configuration, and return how many categories there are."""
        raise NotImplementedError

    def integers(self, x: Array) -> Array:
        """Return the category of each number."""
        raise NotImplementedError

    def output_shape(self, shape: Shape) -> Shape:
        if self.mode == "int":
            return shape
        if self.mode == "one_hot":
            return (*(shape[:-1] if shape[-1] == 1 else shape), self.depth)
        if len(shape) != 2:
            raise UnsupportedUseError(f"output_mode={self.mode!r} of inputs of shape {shape}")
        return (shape[0], self.depth)

    def pointwise(self, shape: Shape) -> bool:
        return self.mode == "int" or (self.mode == "one_hot" and len(shape) > 2)

    def encoded(self, index: Array, weights: Any = None) -> Array:
        """Return categories in the wanted encoding; those that do not exist are in no place."""
        if self.mode == "int":
            return index.astype(self.index_type)
        if self.mode == "one_hot" and index.shape[-1] == 1:
            index = index[..., 0]
        places = (index[..., None] == np.arange(self.depth)).astype(self.place_type)
        if self.mode == "one_hot":
            return places
        if self.mode == "multi_hot":
            return places.max(axis=1)
        if weights is not None:
            places = places * weights[..., None].astype(places.dtype)
        counts: Array = places.sum(axis=1)
        return counts

    def call(self, x: Array) -> Array:
        return self.encoded(self.integers(x))


@known("CategoryEncoding")
class CategoryEncoding(_Encoding):
    """Integers as vectors: a place for each, or the counts of all of an example."""

    casts = ""
    default = "multi_hot"
    modes = ("one_hot", "multi_hot", "count")
    argument_names = ("inputs", "count_weights")

    def read(self) -> int:
        return self.integer("num_tokens")

    def output_shape(self, shape: Shape, count_weights: Any = None) -> Shape:
        if count_weights is not None and (self.mode != "count" or count_weights != shape):
            raise UnsupportedUseError("count_weights of another shape than the inputs")
        return super().output_shape(shape)

    def pointwise(self, shape: Shape, count_weights: Any = None) -> bool:
        return super().pointwise(shape)

    def call(self, x: Array, count_weights: Any = None) -> Array:
        if self.mode != "one_hot" and x.dtype.name in _NOT_COUNTED:
            self.refuse(x.dtype, "bools, floats, int32 and int64 to count")
        index = x.astype(np.int64)
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < self.depth:
            raise ValueError(
                f"x must hold integers from 0 to {self.depth - 1} at {self.name!r}. "
                f"Received: {int(index.min())} to {int(index.max())}"
            )
        return self.encoded(index, count_weights)


@known("Discretization")
class Discretization(_Encoding):
    """The bin that each number falls into."""

    refused = ("uint64",)

    def read(self) -> int:
        given = self.config.get("bin_boundaries")
        if given is None:
            raise UnsupportedUseError(f"{self.name}: Discretization without bins; adapt it first")
        if not isinstance(given, list) or not all(isinstance(b, int | float) for b in given):
            raise ArchiveError(f"bin_boundaries must be numbers. Received: {given!r:.80}")
        self.boundaries = np.asarray(given, np.float32)
        if (np.diff(self.boundaries) < 0).any():
            raise ArchiveError(f"bin_boundaries must ascend. Received: {given!r:.80}")
        return len(given) + 1

    def integers(self, x: Array) -> Array:
        return np.digitize(x.astype(np.float32, copy=False), self.boundaries)


@known("IntegerLookup")
class IntegerLookup(_Encoding):
    """The place of each integer in a vocabulary; the first places are for all others."""

    casts = ""
    index_type = "int64"

    @property
    def place_type(self) -> Any:
        return np.int64

    def read(self) -> int:
        config = self.config
        for option, usual in (("invert", False), ("idf_weights", None), ("salt", None),
                              ("pad_to_max_tokens", False)):  # fmt: skip
            if config.get(option, usual) not in (usual, None):
                raise UnsupportedUseError(f"{self.name}: {option}={config[option]!r:.80}")
        words = config.get("vocabulary")
        if words is None:
            raise UnsupportedUseError(
                f"{self.name}: IntegerLookup whose vocabulary is in a file of its own, as adapt "
                "makes it; make the layer with vocabulary=layer.get_vocabulary(), which goes "
                "into the configuration"
            )
        if not isinstance(words, list) or not all(type(word) is int for word in words):
            raise ArchiveError(f"vocabulary must be a list of integers. Received: {words!r:.80}")
        self.others = self.integer("num_oov_indices", 1)
        if self.others > 1 and config.get("oov_method", "floormod") != "floormod":
            raise UnsupportedUseError(f"{self.name}: oov_method={config['oov_method']!r:.80}")
        self.masked = config.get("mask_token")
        special = {self.masked, config.get("oov_token", -1)}
        first = [self.masked] if self.masked is not None and self.mode == "int" else []
        while words and words[0] in special and len(words) > len(set(words) - special):
            words = words[1:]  # a vocabulary may repeat what it starts with
        self.offset = len(first) + self.others
        self.sorted = np.argsort(np.asarray(words, np.int64), kind="stable")
        self.words = np.asarray(words, np.int64)[self.sorted]
        return len(words) + self.offset

    def integers(self, x: Array) -> Array:
        x = x.astype(np.int64)
        if not len(self.words):
            found, place = np.zeros(x.shape, bool), np.zeros(x.shape, np.int64)
        else:
            at = np.minimum(np.searchsorted(self.words, x), len(self.words) - 1)
            found, place = self.words[at] == x, self.sorted[at] + self.offset
        if not self.others and not (found | (x == self.masked)).all():
            raise ValueError(f"x must hold integers of the vocabulary at {self.name!r}")
        first = self.offset - self.others
        other = first + (np.mod(x, self.others) if self.others > 1 else 0)
        y = np.where(found, place, other)
        if self.masked is None:
            return y
        return np.where(x == self.masked, 0 if first else -1, y)  # -1: in no place
