# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that shift and scale by fixed or trained numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.merge import broadcast
from kspike_ref.layers.normalization import axes_of
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError, Weights
from kspike_ref.saved.limits import budget


@known("Normalization")
class Normalization(Layer):
    """Normalisation by means and variances of the data, from ``adapt`` or the configuration."""

    casts = "biuf"

    def setup(self) -> None:
        self.inverts = self.boolean("invert", False)
        self.kept: tuple[Any, ...] | None = None  # lengths of the axes in ``axis``, 1 elsewhere

    def _axes(self, rank: int) -> tuple[int, ...]:
        return () if self.config.get("axis", -1) is None else axes_of(self.config, rank)

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        size: Any = tuple(shape[axis] for axis in self._axes(len(shape)))
        given = self.config.get("mean") is not None
        return {} if given else {"mean": size, "variance": size, "count": ()}

    def pointwise(self, shape: Shape) -> bool:
        return len(shape) > 2 and 1 not in self._axes(len(shape))

    def output_shape(self, shape: Shape) -> Shape:
        if self.kept is not None and len(shape) != len(self.kept):
            raise ArchiveError(f"layer {self.name!r} was built for {len(self.kept)} axes")
        return super().output_shape(shape)

    def load(self, store: Weights, path: str, *shapes: Any) -> None:
        (shape,) = shapes
        axes = self._axes(len(shape))
        self.kept = tuple(n if i in axes else 1 for i, n in enumerate(shape))
        super().load(store, path, *shapes)

    def prepare(self) -> None:
        assert self.kept is not None  # noqa: S101 (`load` has set it)
        if "mean" in self.weights:
            mean, variance = self.weights["mean"], self.weights["variance"]
        else:
            mean, variance = (
                np.asarray(_value(self.config.get(key)), np.float64) for key in ("mean", "variance")
            )
            budget().make(2 * math.prod(self.kept) * self.dtype.itemsize, f"layer {self.name!r}")
        mean, variance = self._spread(mean, self.kept), self._spread(variance, self.kept)
        self.mean = mean.astype(self.dtype)
        # 1e-7 is Keras' backend.epsilon()
        self.deviation = np.maximum(np.sqrt(variance), 1e-7).astype(self.dtype)
        if not (np.isfinite(self.mean).all() and np.isfinite(self.deviation).all()):
            raise ArchiveError(f"layer {self.name!r} has a mean or variance that is not finite")

    def _spread(self, values: Array, kept: tuple[Any, ...]) -> Array:
        """Align values with the kept axes, from the right."""
        axes, shape = self._axes(len(kept)), [1] * len(kept)
        for i in range(1, values.ndim + 1):
            shape[axes[-i]] = values.shape[-i]
        return np.broadcast_to(values.reshape(shape), kept)

    def call(self, x: Array) -> Array:
        if self.inverts:
            return np.asarray(self.mean + x * self.deviation)
        return np.asarray((x - self.mean) / self.deviation)


def _value(given: Any) -> Any:
    """Return numbers that a configuration holds directly or as a serialised array."""
    if isinstance(given, dict) and isinstance(given.get("config"), dict):
        return given["config"].get("value")
    return given


@known("Rescaling")
class Rescaling(Layer):
    """``x·scale + offset``."""

    casts = "biuf"

    def setup(self) -> None:
        self.scale, self.offset = (
            self.rounded(np.asarray(_value(self.config.get(key, default)), np.float64), key)
            for key, default in (("scale", 1.0), ("offset", 0.0))
        )

    def output_shape(self, shape: Shape) -> Shape:
        spread = [values.shape for values in self._factors(len(shape))]
        if broadcast([shape, *spread]) != shape:
            raise ArchiveError(f"layer {self.name!r}: {spread} does not fit inputs of {shape}")
        return shape

    def _factors(self, rank: int) -> tuple[Array, Array]:
        """Return scale and offset in shapes that broadcast with an input of ``rank`` axes."""
        if self._by_channels_first(rank):
            return self.scale.reshape(-1, 1, 1), self.offset.reshape(-1, 1, 1)
        return self.scale, self.offset

    def pointwise(self, shape: Shape) -> bool:
        if self._by_channels_first(len(shape)):
            return False
        return len(shape) > 2 + max(0, self.scale.ndim - 1, self.offset.ndim - 1)

    def _by_channels_first(self, rank: int) -> bool:
        """Return whether scale and offset lie along axis 1."""
        first = self.config.get("data_format") == "channels_first"
        return first and self.scale.ndim == 1 and rank == 4

    def call(self, x: Array) -> Array:
        scale, offset = self._factors(x.ndim)
        y: Array = x * scale + offset
        return y


@known("LayerScale", "custom:LayerScale")
class LayerScale(Layer):
    """ConvNeXt's trained factor per channel."""

    kinds = "iuf"  # Keras multiplies bools with gamma as a bool
    casts = "iuf"
    pointwise_from = 3

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return {"gamma": (self.integer("projection_dim"),)}

    def call(self, x: Array) -> Array:
        y: Array = x * self.weights["gamma"]
        return y
