# ruff: noqa: D102 (methods are documented in base.Layer)
"""Text layers: words as indices into a vocabulary, strings and integers as hashes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Layer
from kspike_ref.layers.configured import policy_name
from kspike_ref.layers.encodings import Encoding
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError, mixing
from kspike_ref.layers.hashing import buckets
from kspike_ref.layers.lookups import FILE, StringLookup, as_integers, numbers, salt_of
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.strings import objects

_PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
_STANDARDS = ("lower_and_strip_punctuation", "lower", "strip_punctuation")
_SPLITS = ("whitespace", "character")
_MAX_GRAM = 64  # words in an n-gram: the work grows with the square
_INNER = "_lookup_layer"  # Keras saves the vocabulary a second time there, and reads it last


@known("TextVectorization")
class TextVectorization(Layer):
    """Texts as vocabulary indices of their words, or as vectors of the words they contain."""

    kinds = "O"
    casts = ""

    def setup(self) -> None:
        config = self.config
        self.standard = self._word("standardize", _STANDARDS)
        self.split = self._word("split", _SPLITS)
        self.grams = _gram_sizes(config.get("ngrams"))
        self.mode = str(config.get("output_mode", "int"))
        if config.get("ragged"):
            raise UnsupportedUseError(f"{self.name}: ragged=True; kspike_ref has only dense arrays")
        length = config.get("output_sequence_length")
        self.length = None if length is None else self.integer("output_sequence_length")
        if self.length is not None and self.mode != "int":
            raise ArchiveError("output_sequence_length needs output_mode='int'")
        taken = ("max_tokens", "pad_to_max_tokens", "output_mode", "sparse", "vocabulary",
                 "idf_weights", "vocabulary_size", "encoding")  # fmt: skip
        own = {key: config[key] for key in taken if key in config}
        self.lookup = StringLookup(self.name, "StringLookup", own | {"mask_token": ""})
        self.joins_batch = self.mode == "int" and self.length is None and self.split is not None

    def _word(self, key: str, choices: Sequence[str]) -> str | None:
        value = self.config.get(key, choices[0])
        if value is not None and not isinstance(value, str):
            raise UnsupportedUseError(
                f"{self.name}: {key} is a function, whose code the file does not hold; apply it to "
                f"the texts before, and save the layer with {key}=None"
            )
        return None if value is None else self.text(key, choices[0], choices)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) > 2 or (self.split and len(shape) == 2 and shape[1] != 1):
            raise UnsupportedUseError(
                f"TextVectorization for inputs of shape {shape}; it takes (batch,) or (batch, 1)"
            )
        if self.split:
            if self.mode == "int":
                return (shape[0], self.length)
            if self.mode == "one_hot":
                raise UnsupportedUseError(
                    "output_mode='one_hot' with split texts, whose output is ragged"
                )
            return (shape[0], self.lookup.depth)
        if len(shape) == 1 and (self.grams or self.length is not None):
            raise mixing(
                "ngrams or output_sequence_length with split=None for one-dimensional inputs"
            )
        if self.grams:
            found = None if shape[1] is None else _gram_count(shape[1], self.grams)
            shape = (shape[0], found)
        if self.mode == "int":
            return shape if self.length is None else (shape[0], self.length)
        return self.lookup.output_shape(shape)

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        inner, assets = f"{path}/{_INNER}", store.assets
        has_inner = assets is not None and assets.holds(f"{inner}/{FILE}")
        self.lookup.load_words(store, inner if has_inner else path)
        has_inner = assets is not None and bool(store.names(inner))
        self.lookup.load_frequencies(store, inner if has_inner else path)
        self.weights |= self.lookup.weights

    def check_again(self, *shapes: Any) -> None:
        """Accept all shapes: the vocabulary does not depend on them."""

    def call(self, x: Array) -> Array:
        if self.split is None:
            return self._unsplit(x)
        rows = (self._grams(self._split(self._standard(text))) for text in x.reshape(-1).tolist())
        if self.mode == "int":
            return self._padded([self._places(row) for row in rows])
        y = np.zeros((len(x), self.lookup.depth), self.lookup.place_type)
        for line, row in zip(y, rows, strict=True):
            line[:] = self.lookup.encoded(self._places(row)[None])[0]
        return self.lookup.weighted(y) if self.mode == "tf_idf" else y

    def _unsplit(self, x: Array) -> Array:
        """Return the indices or the encoding of texts that are not split: each is one word."""
        words = [self._standard(text) for text in x.reshape(-1).tolist()]
        shape = x.shape
        if self.grams:
            rows = objects(words, shape).tolist()
            words = [gram for row in rows for gram in self._grams(row)]
            shape = (shape[0], _gram_count(shape[1], self.grams))
        places = self.lookup(objects(words, shape))
        if self.mode != "int" or self.length is None:
            return places
        return self._padded(list(places[:, : self.length]))

    def _standard(self, text: bytes) -> bytes:
        if self.standard and "lower" in self.standard:
            text = text.lower()  # only ASCII, as tf.strings.lower
        if self.standard and "punctuation" in self.standard:
            text = text.translate(None, _PUNCTUATION)
        return text

    def _split(self, text: bytes) -> list[bytes]:
        if self.split == "whitespace":
            return text.split()
        return [letter.encode() for letter in text.decode("utf-8", "replace")]

    def _grams(self, words: list[bytes]) -> Iterable[bytes]:
        if self.grams is None:
            return words
        return itertools.chain.from_iterable(_grams(words, size) for size in self.grams)

    def _places(self, words: Iterable[bytes]) -> Array:
        """Return the indices of the words of one text, at most as many as the output holds."""
        row = list(itertools.islice(words, self.length))
        return self.lookup.integers(objects(row, (len(row),)))

    def _padded(self, rows: list[Array]) -> Array:
        """Return rows of indices as one array, the shorter ones padded with zeros."""
        width = max(map(len, rows), default=0) if self.length is None else self.length
        y = np.zeros((len(rows), width), np.int64)
        for line, row in zip(y, rows, strict=True):
            line[: len(row)] = row
        return y


def _gram_sizes(ngrams: Any) -> Sequence[int] | None:
    """Return the n-gram sizes in words; sizes that the configuration repeats are repeated."""
    if isinstance(ngrams, dict) and ngrams.get("class_name") == "__tuple__":
        ngrams = ngrams.get("items")
    if ngrams is None:
        return None
    sizes = [ngrams] if type(ngrams) is int else ngrams
    if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
        raise ArchiveError(f"ngrams must be positive integers. Received: {ngrams!r:.80}")
    if not sizes or max(sizes) > _MAX_GRAM or len(sizes) > _MAX_GRAM:
        raise UnsupportedUseError(f"ngrams={ngrams!r:.80}; use 1 to {_MAX_GRAM} words")
    return range(1, ngrams + 1) if type(ngrams) is int else sizes


def _gram_count(words: int, sizes: Sequence[int]) -> int:
    return sum(max(0, words - size + 1) for size in sizes)


def _grams(words: list[bytes], size: int) -> Iterator[bytes]:
    return (b" ".join(words[i : i + size]) for i in range(len(words) - size + 1))


@known("Hashing")
class Hashing(Encoding):
    """Hash bins of strings and integers."""

    kinds = "biufO"
    casts = ""
    any_rank = True

    @property
    def place_type(self) -> Any:
        return dtypes.computed(self.type_name)

    def read(self) -> int:
        given = self.config.get("dtype")
        usual = "int64" if self.mode == "int" else "float32"
        self.type_name = usual if given is None else policy_name(given)
        if self.mode == "int" and self.type_name not in ("int32", "int64"):
            raise ArchiveError(f"dtype must be int32 or int64. Received: {self.type_name!r:.80}")
        self.index_type = self.type_name
        bins = self.integer("num_bins")
        if not 0 < bins < 1 << 63:
            raise ArchiveError(f"num_bins must be a positive integer. Received: {bins}")
        self.salt = salt_of(self.config.get("salt"))
        self.masked = self.config.get("mask_value")
        if self.masked is not None and not isinstance(self.masked, str | int | float):
            raise ArchiveError(
                f"mask_value must be text or a number. Received: {self.masked!r:.80}"
            )
        if bins == 1:
            self.masked = None
        self.bins = bins - (self.masked is not None)
        if isinstance(self.masked, str):
            self.kinds = "O"
        elif self.masked is not None:
            self.kinds = "iuf"
        return bins

    def output_shape(self, shape: Shape) -> Shape:
        if self.mode == "one_hot" and len(shape) > 1 and shape[-1] == 1:
            shape = shape[:-1]
        return super().output_shape(shape)

    def pointwise(self, shape: Shape) -> bool:
        if self.mode == "one_hot" and len(shape) == 3 and shape[-1] == 1:
            return False  # an axis of one step would be removed too
        return super().pointwise(shape)

    def integers(self, x: Array) -> Array:
        words: list[bytes] = x.reshape(-1).tolist()
        if x.dtype.kind == "b":
            words = [b"true" if value else b"false" for value in words]
        elif x.dtype.kind != "O":
            words = numbers(as_integers(x) if x.dtype.kind == "f" else x)
        index = buckets(words, self.bins, self.salt).reshape(x.shape)
        if self.masked is None:
            return index
        wanted = self.masked.encode() if isinstance(self.masked, str) else self.masked
        with np.errstate(over="ignore"):  # a mask value beyond the inputs' type
            is_masked = np.asarray(x == wanted, bool)
        return np.where(is_masked, 0, index + 1)

    def call(self, x: Array) -> Array:
        if self.mode == "one_hot" and x.ndim > 1 and x.shape[-1] == 1:
            x = x[..., 0]
        return self.encoded(self.integers(x))
