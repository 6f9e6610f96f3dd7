# ruff: noqa: D102 (methods are documented in base.Layer)
"""Products of two inputs, summed over an axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.errors import Array, Shape
from kspike_ref.layers.merge import Merge
from kspike_ref.layers.normalization import unit
from kspike_ref.layers.registry import known
from kspike_ref.saved.archive import ArchiveError


@known("Dot")
class Dot(Merge):
    """The product of two inputs, summed over one axis of each, example by example."""

    def setup(self) -> None:
        self.normalize = self.boolean("normalize", False)

    def _axes(self, shapes: Any) -> tuple[int, int]:
        given = self.config["axes"]
        axes = given if isinstance(given, list) else [given, given]
        if len(axes) != 2 or len(shapes) != 2:
            raise ArchiveError(f"layer {self.name!r} needs two inputs and axes. Received: {axes}")
        pairs = list(zip(axes, shapes, strict=True))
        if not all(type(n) is int and -len(shape) <= n < len(shape) for n, shape in pairs):
            raise ArchiveError(
                f"axes must be valid for the shapes {shapes}. Received: {axes!r:.80}"
            )
        a, b = (axis % len(shape) for axis, shape in pairs)
        if 0 in (a, b):
            raise ArchiveError(f"axes must not be the batch axis. Received: {axes}")
        return a, b

    def output_shape(self, shapes: Any) -> Shape:
        self._check(shapes)
        a, b = self._axes(shapes)
        first, second = list(shapes[0]), list(shapes[1])
        if None not in (first[a], second[b]) and first[a] != second[b]:
            raise ArchiveError(f"layer {self.name!r}: axes of different lengths in {shapes}")
        del first[a], second[b], second[0]
        result = (*first, *second)
        return (*result, 1) if len(result) == 1 else result

    def pointwise(self, shapes: Any) -> bool:
        return False

    def mask_axes(self, given: Any, *shapes: Any) -> int | None:
        return None

    def call(self, inputs: list[Array], mask: Any = None) -> Array:
        a, b = self._axes([x.shape for x in inputs])
        x, y = np.moveaxis(inputs[0], a, -1), np.moveaxis(inputs[1], b, -1)
        if self.normalize:
            for one in (x, y):
                if one.dtype.kind != "f":
                    self.refuse(one.dtype, "only floats with normalize=True")
            x, y = unit(x, -1), unit(y, -1)
        exact = x.dtype == y.dtype == np.int8
        result = np.dtype("int32") if exact else dtypes.common_type(x, y)
        if result.kind != "f":  # Keras multiplies int8 exactly, others as floats
            x, y = (one.astype(result if exact else self.dtype) for one in (x, y))
        else:
            x, y = dtypes.unified([x, y])
        free, other = x.shape[1:-1], y.shape[1:-1]
        left = x.reshape(len(x), math.prod(free), x.shape[-1])
        right = y.reshape(len(y), math.prod(other), y.shape[-1])
        product = dtypes.cut(np.matmul(left, right.swapaxes(1, 2)), result)
        return product.reshape(len(x), *(free + other or (1,)))
