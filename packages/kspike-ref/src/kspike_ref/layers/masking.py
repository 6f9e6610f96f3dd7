# ruff: noqa: D102 (methods are documented in base.Layer)
"""Layers that pass on their input: layers that act only in training, and `Masking`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from kspike_ref import activations, dtypes
from kspike_ref.layers.activation import Pointwise
from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError


@known(
    "Dropout", "AlphaDropout", "Identity",
    "GaussianDropout", "GaussianNoise", "ActivityRegularization",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
)  # fmt: skip
class Identity(Pointwise):
    """A layer that acts only in training."""

    keeps_zeros = True
    function = staticmethod(activations.linear)

    def setup(self) -> None:
        if self.class_name == "ActivityRegularization":  # Keras sums squares for a loss
            self.refused = ("bool", "int8", "int16", "uint8", "uint16")
        if self.class_name == "Identity":
            self.kinds = "biufO"


@known("Masking")
class Masking(Layer):
    """A mask of the steps whose values all equal ``mask_value``; these values become zeros."""

    pointwise_from = 3
    keeps_zeros = True
    makes_mask = True

    def setup(self) -> None:
        value = self.config.get("mask_value", 0.0)
        if isinstance(value, Mapping) and isinstance(value.get("config"), Mapping):
            value = value["config"].get("value")  # a serialised array
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArchiveError(f"mask_value must be a number. Received: {value!r:.80}")
        self.value = float(value)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) < 2:
            raise ArchiveError(f"layer {self.name!r} needs 2 axes or more. Received: {shape}")
        return super().output_shape(shape)

    def mask(self, given: Any, *inputs: Any) -> Any:
        x = inputs[0]
        if x.dtype == self.dtype:
            return (x != x.dtype.type(self.value)).any(axis=-1)
        values, value = dtypes.promoted(x, self.value)
        return (values != value).any(axis=-1)

    def call(self, x: Array) -> Array:
        y = np.where(self.mask((), x)[..., None], x, x.dtype.type(0))
        return y.astype(dtypes.common_type(x, 0), copy=False)  # bools become int32
