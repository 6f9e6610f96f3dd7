# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""``keras.ops`` that change types alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.dtypes import NAMES, computed, promoted
from kspike_ref.layers.base import Array, Layer, Shape, UnsupportedUseError
from kspike_ref.layers.registry import known


def numpy_type(name: Any, layer: str) -> np.dtype[Any]:
    """Return the type of NumPy that computes a type of Keras; refuse what is no number."""
    text = name if isinstance(name, str) else None
    if isinstance(name, dict) and isinstance(name.get("config"), dict):
        text = name["config"].get("name")
    if text not in NAMES:
        raise UnsupportedUseError(f"{layer}: dtype={name!r:.80}")
    return computed(text)


@known("ops:Cast", "ops:SaturateCast", "ops:ConvertToTensor")
class Cast(Layer):
    """The same values in another type."""

    pointwise_from = 2
    keeps_zeros = True

    def setup(self) -> None:
        given = self.config.get("dtype")
        for option in ("sparse", "ragged"):
            if self.config.get(option):
                raise UnsupportedUseError(f"{self.name}: {option}={self.config[option]!r}")
        self.target = None if given is None else numpy_type(given, self.name)

    def output_shape(self, x: Shape, dtype: Any = None, sparse: Any = None) -> Shape:
        if dtype is not None:
            self.target = numpy_type(dtype, self.name)
        return x

    def call(self, x: Array, dtype: Any = None, sparse: Any = None) -> Array:
        target = self.target
        if target is None or target == x.dtype:
            return x
        if self.class_name == "SaturateCast" and target.kind in "iu":
            limits = np.iinfo(target)
            low = max(limits.min, _lowest(x.dtype))
            high = min(limits.max, _highest(x.dtype))
            x = np.clip(x, *promoted(x, low, high)[1:])
        with np.errstate(invalid="ignore"):
            return x.astype(target)


def _lowest(kind: np.dtype[Any]) -> Any:
    if kind.kind == "b":
        return 0
    return np.iinfo(kind).min if kind.kind in "iu" else float(np.finfo(kind).min)


def _highest(kind: np.dtype[Any]) -> Any:
    if kind.kind == "b":
        return 1
    return np.iinfo(kind).max if kind.kind in "iu" else float(np.finfo(kind).max)
