# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that look up integers or strings in a vocabulary, from the configuration or a file."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.layers.encodings import MODES, Encoding
from kspike_ref.layers.errors import Array, UnsupportedUseError
from kspike_ref.layers.hashing import buckets
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.saved.limits import budget
from kspike_ref.strings import objects

FILE = "vocabulary.txt"
_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # line ends of `str.splitlines`


class IndexLookup(Encoding):
    """The index of each token in a vocabulary; masked and unknown tokens have the first indices.

    Attributes
    ----------
    kind : type
        The type of tokens: int or str.
    usual : int or str
        The default of ``oov_token``.
    masked, other : int, str or None
        The mask token, and the token for unknown ones.
    others, first, offset : int
        The number of indices for unknown tokens, the first of them, and the first index of the
        vocabulary.
    """

    casts = ""
    index_type = "int64"
    modes = (*MODES, "tf_idf")
    any_rank = True
    kind: type
    usual: Any

    @property
    def place_type(self) -> Any:
        return np.int64

    def read(self) -> int:
        config = self.config
        self.is_inverse = self.boolean("invert", False)
        if self.is_inverse and self.mode != "int":
            raise ArchiveError(f"invert=True needs output_mode='int'. Received: {self.mode!r}")
        self.others = self.integer("num_oov_indices", 1)
        self.masked = self._token("mask_token", None)
        self.other = self._token("oov_token", self.usual)
        if self.is_inverse and self.other is None:
            raise ArchiveError("invert=True needs an oov_token. Received: None")
        self.first = int(self.masked is not None and self.mode == "int")
        self.offset = self.first + self.others
        self.salt = salt_of(config.get("salt"))
        self.is_hashed = self.kind is str or config.get("oov_method") == "farmhash"
        self.is_filled = False
        words = config.get("vocabulary")
        if words is not None:
            if not isinstance(words, list) or not words:
                raise ArchiveError(f"vocabulary must be a list of tokens. Received: {words!r:.80}")
            budget().hold_words(len(words), f"layer {self.name!r}: its vocabulary")
            self._fill(words)
        return self._places()

    def _token(self, key: str, default: Any) -> Any:
        """Return a token of the configuration."""
        token = self.config.get(key, default)
        if token is not None and type(token) is not self.kind:
            kind = self.kind.__name__
            raise ArchiveError(f"{key} must be of type {kind}. Received: {token!r:.80}")
        return token

    def _places(self) -> int:
        """Return the number of categories."""
        if self.mode != "int" and self.boolean("pad_to_max_tokens", False):
            return self.integer("max_tokens")
        if self.is_filled:
            return self.offset + self.count
        if self.mode != "int" and self.config.get("vocabulary_size") is None:
            raise UnsupportedUseError(
                f"{self.name}: {self.class_name} without a vocabulary; adapt it, or give it one"
            )
        return self.offset if self.mode == "int" else self.integer("vocabulary_size")

    def _fill(self, words: list[Any]) -> None:
        """Store a vocabulary by the rules of Keras; it may start with the special tokens."""
        for word in words:
            if isinstance(word, dict) and word.get("class_name") == "__bytes__":
                raise UnsupportedUseError(
                    f"{self.name}: a vocabulary of bytes, which Keras cannot load either; use "
                    "tokens of type str"
                )
            if type(word) is not self.kind:
                kind = self.kind.__name__
                raise ArchiveError(
                    f"vocabulary must hold tokens of type {kind}. Received: {word!r:.80}"
                )
        tokens = words
        if len(words) >= self.offset:  # the offset may exceed the length of any list
            special = [self.masked] * self.first + [self.other] * self.others
            tokens = words[self.offset :] if words[: self.offset] == special else words
        most = self.config.get("max_tokens")
        if most is not None and self.offset + len(tokens) > self.integer("max_tokens"):
            raise ArchiveError(
                f"vocabulary must hold at most {most} tokens, special ones included. "
                f"Received: {self.offset + len(tokens)}"
            )
        held = set(tokens)
        if len(held) != len(tokens):
            raise ArchiveError("vocabulary must not repeat a token")
        if self.masked in held or (self.is_inverse and self.other in held):
            raise ArchiveError("vocabulary must hold special tokens at its start only, in order")
        self.count, self.is_filled = len(tokens), True
        if self.is_inverse:
            self.tokens = self.as_array([*tokens, self.other])
        else:
            self.index(tokens)

    def as_array(self, tokens: list[Any]) -> Array:
        """Return tokens as an array of the type of inputs and outputs."""
        raise NotImplementedError

    def index(self, tokens: list[Any]) -> None:
        """Prepare `found` for a vocabulary."""
        raise NotImplementedError

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        self.load_words(store, path)
        self.load_frequencies(store, path)

    def load_words(self, store: Weights, path: str) -> None:
        """Read the vocabulary, unless it is in the configuration."""
        if not self.is_filled:
            self._fill(self._from_file(store, path))
            if self.mode != "int" and self._places() != self.depth:
                raise UnsupportedUseError(
                    f"assets/{path}/{FILE} defines {self._places()} indices, but the configuration "
                    f"says {self.depth}: a token may be empty or hold a line break. Keras cannot "
                    "load it either; pass vocabulary=layer.get_vocabulary()"
                )

    def load_frequencies(self, store: Weights, path: str) -> None:
        """Read the weights of ``tf_idf``; other modes have none."""
        if self.mode != "tf_idf":
            super().load(store, path)
            return
        if store.assets is None:
            raise UnsupportedUseError("output_mode='tf_idf' in a file without its weights")
        values = store.read(path, "idf_weights", (self.depth,), self.name)
        self.weights["idf_weights"] = self.rounded(values, "idf_weights")

    def _from_file(self, store: Weights, path: str) -> list[Any]:
        """Return the vocabulary from `adapt`, which Keras saves beside the configuration."""
        data = None if store.assets is None else store.assets.read(f"{path}/{FILE}")
        if data is None:
            raise UnsupportedUseError(
                f"{self.class_name} whose vocabulary is not in the file, at assets/{path}/{FILE}; "
                "adapt the layer, or give it a vocabulary, and save the model as .keras"
            )
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise ArchiveError(f"assets/{path}/{FILE} is not UTF-8: {error}") from None
        count = sum(map(text.count, _ENDS)) + 1
        budget().hold_words(count, f"assets/{path}/{FILE}")
        lines: list[Any] = text.splitlines()
        while lines and lines[-1] == "":
            lines.pop()
        return lines if self.kind is str else [_integer(line) for line in lines]

    def found(self, x: Array) -> tuple[Array, Array]:
        """Return which tokens are in the vocabulary, and their indices there."""
        raise NotImplementedError

    def bucket(self, x: Array) -> Array:
        """Return the position of each unknown token among the indices for unknown tokens."""
        raise NotImplementedError

    def integers(self, x: Array) -> Array:
        is_known, place = self.found(x)
        place = place + self.offset
        is_masked = np.zeros(x.shape, bool) if self.masked is None else self.equal(x)
        unknown = ~(is_known | is_masked)
        if unknown.any():
            if not self.others:
                raise ValueError(
                    f"layer {self.name!r} has num_oov_indices=0: x must hold only tokens of its "
                    f"vocabulary. Received: {x[unknown][0]!r:.80}"
                )
            place[unknown] = self.first + (self.bucket(x[unknown]) if self.others > 1 else 0)
        place[is_masked] = 0 if self.mode == "int" else -1  # -1 is ignored
        return place

    def equal(self, x: Array) -> Array:
        """Return which inputs are the mask token."""
        return np.asarray(x == self.masked, bool)

    def call(self, x: Array) -> Array:
        if self.is_inverse:
            return self._tokens(x)
        x = self.prepared(x)
        y = self.encoded(self.integers(x))
        return self.weighted(y) if self.mode == "tf_idf" else y

    def weighted(self, counts: Array) -> Array:
        """Return counts of tokens times their inverse document frequencies."""
        weighted: Array = counts.astype(np.float32) * self.weights["idf_weights"]
        return weighted

    def prepared(self, x: Array) -> Array:
        """Return inputs in the type of the vocabulary."""
        return x

    def _tokens(self, x: Array) -> Array:
        """Return the tokens at indices."""
        x = as_integers(x)
        place = x - self.offset
        exists = (place >= 0) & (place < self.count)
        y = self.tokens[np.where(exists, place, self.count)]
        if self.masked is not None:
            y[x == 0] = self.as_array([self.masked])[0]
        return y


@known("IntegerLookup")
class IntegerLookup(IndexLookup):
    """The index of each integer in a vocabulary; the first indices are for unknown ones."""

    kind = int
    usual = -1

    def as_array(self, tokens: list[Any]) -> Array:
        return np.asarray(tokens, np.int64)

    def index(self, tokens: list[Any]) -> None:
        values = self.as_array(tokens)
        self.order = np.argsort(values, kind="stable")
        self.sorted = values[self.order]

    def prepared(self, x: Array) -> Array:
        return as_integers(x)

    def found(self, x: Array) -> tuple[Array, Array]:
        if not self.count:
            return np.zeros(x.shape, bool), np.zeros(x.shape, np.int64)
        at = np.minimum(np.searchsorted(self.sorted, x), self.count - 1)
        return self.sorted[at] == x, self.order[at]

    def bucket(self, x: Array) -> Array:
        if self.is_hashed:
            return buckets(numbers(x), self.others, self.salt)
        return np.mod(x, self.others)


@known("StringLookup")
class StringLookup(IndexLookup):
    """The index of each string in a vocabulary; the first indices are for unknown ones."""

    kinds = "O"
    kind = str
    usual = "[UNK]"

    def read(self) -> int:
        depth = super().read()
        self.kinds = "biuf" if self.is_inverse else "O"
        return depth

    def as_array(self, tokens: list[Any]) -> Array:
        return objects([token.encode() for token in tokens], (len(tokens),))

    def index(self, tokens: list[Any]) -> None:
        self.table = {token.encode(): i for i, token in enumerate(tokens)}

    def found(self, x: Array) -> tuple[Array, Array]:
        places = [self.table.get(token, -1) for token in x.reshape(-1).tolist()]
        place = np.asarray(places, np.int64).reshape(x.shape)
        return place >= 0, place

    def equal(self, x: Array) -> Array:
        wanted = self.masked.encode()
        same = [token == wanted for token in x.reshape(-1).tolist()]
        return np.asarray(same, bool).reshape(x.shape)

    def bucket(self, x: Array) -> Array:
        return buckets(x.tolist(), self.others, self.salt)


def salt_of(salt: Any) -> tuple[int, int] | None:
    """Return the key of a salted hash from the configuration."""
    if salt is None:
        return None
    both = [salt, salt] if type(salt) is int else salt
    if not isinstance(both, list) or [type(one) for one in both] != [int, int]:
        raise ArchiveError(f"salt must be one integer or two. Received: {salt!r:.80}")
    return both[0], both[1]


def as_integers(x: Array) -> Array:
    """Return numbers as int64, as TensorFlow casts them."""
    with np.errstate(invalid="ignore"):
        return x.astype(np.int64)


def numbers(x: Array) -> list[bytes]:
    """Return integers as text, in TensorFlow's form."""
    return [b"%d" % value for value in x.reshape(-1).tolist()]


def _integer(line: str) -> int:
    """Return the integer in a line of a vocabulary."""
    if len(line) > 24:
        raise ArchiveError(f"{FILE} must hold integers. Received: {line!r:.80}")
    value = int(line)
    if not -(1 << 63) <= value < 1 << 63:
        raise ArchiveError(f"{FILE} must hold integers of 64 bits. Received: {line!r:.80}")
    return value
