"""The base class of objects with a configuration from Keras, and its checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kspike_ref.layers.described import dynamics, weights
from kspike_ref.layers.errors import Array
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.text import printable
from kspike_ref.tables import as_html


class Configured:
    """The base class of `Layer`, which documents it: a configuration, and its checks.

    Attributes
    ----------
    dtype : dtype
        The type it computes in: float64 under that policy, float32 otherwise.
    """

    def __init__(self, name: str, class_name: str, config: Mapping[str, Any]) -> None:
        self.name, self.class_name, self.config = name, class_name, dict(config)
        is_double = policy_name(self.config.get("dtype")) == "float64"
        self.dtype = np.dtype("float64" if is_double else "float32")

    def __repr__(self) -> str:
        parts = [f"{printable(self.class_name)} {self.name!r}", dynamics(self)]
        count = weights(self)
        return f"<{', '.join(filter(None, parts))}{f', {count:,} weights' if count else ''}>"

    def _repr_html_(self) -> str:
        """Return a table of the layer's weights, for notebooks."""
        held = getattr(self, "weights", {}).items()
        rows = [("weight", "shape"), *((name, str(w.shape)) for name, w in held)]
        return as_html(rows, f"{self.class_name} {self.name!r}", [dynamics(self)])

    def rounded(self, values: Array, what: str) -> Array:
        """Return finite numbers in the layer's type; refuse those that this type cannot hold."""
        with np.errstate(over="ignore"):
            held = values.astype(self.dtype)
        if not np.isfinite(held).all():
            raise ArchiveError(
                f"layer {self.name!r} computes in {self.dtype}, which cannot hold {what} of size "
                f"{np.abs(values).max():.3g}; save the model with dtype='float64'"
            )
        return held

    def boolean(self, key: str, default: bool) -> bool:
        """Return a boolean of the configuration; refuse 0, 1 and other types."""
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            raise ArchiveError(f"{key} must be true or false. Received: {value!r:.80}")
        return value

    def number(self, key: str, default: float) -> float:
        """Return a finite number of the configuration that the layer's type can hold."""
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArchiveError(f"{key} must be a number. Received: {value!r:.80}")
        if not abs(value) <= float(np.finfo(self.dtype).max):
            raise ArchiveError(f"{key} must be finite in {self.dtype}. Received: {value!r:.80}")
        return float(value)

    def text(self, key: str, default: str, choices: Sequence[str]) -> str:
        """Return a word of the configuration that must be among ``choices``."""
        value = self.config.get(key, default)
        if value not in choices:
            words = ", ".join(choices)
            raise ArchiveError(f"{key} must be one of {words}. Received: {value!r:.80}")
        return str(value)

    def integer(self, key: str, default: int | None = None) -> int:
        """Return a non-negative integer of the configuration."""
        value = self.config.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ArchiveError(f"{key} must be a non-negative integer. Received: {value!r}")
        return value


def policy_name(policy: Any) -> str:
    """Return the name of a serialised dtype policy, ``"float32"`` if there is none."""
    if isinstance(policy, Mapping):
        inner = policy.get("config")
        policy = inner.get("name") if isinstance(inner, Mapping) else None
    return policy if isinstance(policy, str) else "float32"
