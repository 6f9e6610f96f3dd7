# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Layers around layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.layers.base import Array, Layer, Shape, create, known


@known("TimeDistributed")
class TimeDistributed(Layer):
    """A layer applied to every time step: time is folded into the batch."""

    pointwise_from = 2

    def setup(self) -> None:
        self.layer = create(self.config["layer"], self.name)

    def parts(self, shape: Shape) -> list[tuple[str, Layer, tuple[Any, ...]]]:
        return [("layer", self.layer, (_one_step(shape),))]

    def output_shape(self, shape: Shape) -> Shape:
        inner = self.layer.output_shape(_one_step(shape))
        return (shape[0], shape[1], *inner[1:])

    def call(self, x: Array) -> Array:
        batch, steps = x.shape[:2]
        folded = np.ascontiguousarray(x).reshape(batch * steps, *x.shape[2:])
        y: Array = self.layer.call(folded)
        return y.reshape(batch, steps, *y.shape[1:])


def _one_step(shape: Shape) -> Shape:
    return (shape[0], *shape[2:])
