# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Layers that multiply the last axis by a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.layers.activation import activation
from kspike_ref.layers.base import Array, Layer, Shape, known


@known("Dense")
class Dense(Layer):
    """``activation(x @ kernel + bias)``."""

    pointwise_from = 3

    def setup(self) -> None:
        self.units = self.integer("units")
        self.use_bias = bool(self.config.get("use_bias", True))
        self.activation = activation(self.config.get("activation"))

    def weight_shapes(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, Any] = {"kernel": (shape[-1], self.units)}
        return shapes | ({"bias": (self.units,)} if self.use_bias else {})

    def output_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], self.units)

    def call(self, x: Array) -> Array:
        y = np.matmul(x.reshape(-1, x.shape[-1]), self.weights["kernel"])
        if self.use_bias:
            y += self.weights["bias"]
        return self.activation(y.reshape(*x.shape[:-1], self.units))
