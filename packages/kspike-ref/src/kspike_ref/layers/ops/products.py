# ruff: noqa: D102 (what the methods do is documented in base.Layer)
"""Products of matrices: `Matmul`, and steps that other products share.

A product of each row with a constant matrix does not depend on the number of rows: the answer for
an example has the same bits in any batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.base import Array, Shape
from kspike_ref.layers.merge import broadcast
from kspike_ref.layers.ops.base import Operation, same_steps, shape_of
from kspike_ref.layers.product import Product
from kspike_ref.layers.registry import known
from kspike_ref.running.counts import tally
from kspike_ref.saved.archive import ArchiveError


def rows_times(x: Array, matrix: Array) -> Array:
    """Return ``x @ matrix`` for one matrix, each row on its own."""
    if matrix.dtype.kind == "f":
        return Product(np.ascontiguousarray(matrix)).over_last_axis(np.ascontiguousarray(x))
    y: Array = np.matmul(x, matrix)
    return y


def factors(*values: Any) -> list[Array]:
    """Return factors of a matrix product in the type in which Keras multiplies.

    That is int32 for bytes; bools stay bools.
    """
    promoted = dtypes.promoted(*values)
    if all(np.asarray(value).dtype == np.int8 for value in values):
        promoted = [factor.astype(np.int32) for factor in promoted]
    return promoted


@known("ops:Matmul")
class Matmul(Operation):
    """The product of matrices, over leading axes that broadcast."""

    argument_names = ("x1", "x2")

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 2 or not any(isinstance(shape, tuple) for shape in shapes):
            raise ArchiveError(f"layer {self.name!r} must be called with two tensors")
        one, other = map(shape_of, shapes)
        if not one or not other:
            raise ArchiveError(f"layer {self.name!r} does not multiply numbers. Received: {shapes}")
        self._check_batch(shapes, one, other)
        depth = other[-2] if len(other) > 1 else other[0]
        if None not in (one[-1], depth) and one[-1] != depth:
            raise ArchiveError(f"layer {self.name!r}: shapes that do not fit: {one}, {other}")
        lead = broadcast([one[:-2], other[:-2]])
        return (*lead, *one[-2:-1], *(other[-1:] if len(other) > 1 else ()))

    def _check_batch(self, shapes: Any, one: Shape, other: Shape) -> None:
        """Refuse products in which the batch is not the first axis of every tensor's matrices."""
        is_tensor = [isinstance(shape, tuple) for shape in shapes]
        if all(is_tensor):
            if not len(one) == len(other) > 2:
                raise self.mixes(f"tensors of shapes {one} and {other}")
            return
        tensor, constant = (one, other) if is_tensor[0] else (other, one)
        first = constant[0] if len(constant) == len(tensor) > 2 else 1
        small = len(constant) <= (max(2, len(tensor)) if is_tensor[0] else len(tensor))
        if first != 1 or not small or (is_tensor[1] and len(tensor) < 3):
            raise self.mixes(f"a tensor of shape {tensor} and a constant of shape {constant}")

    def pointwise(self, *shapes: Any) -> bool:
        one, other = shapes
        if not isinstance(one, tuple):
            return len(other) > 3 and np.ndim(one) < 3
        if not isinstance(other, tuple):
            return len(one) > 2 and np.ndim(other) < 3
        return len(one) > 3 and same_steps(shapes)

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        return math.prod(made[0]) * max(given[0][-2:])

    def call(self, x: Any, y: Any) -> Array:
        x, y = factors(x, y)
        if y.ndim < 3:  # a constant
            z = rows_times(x, y.reshape(len(y), -1))
            return z if y.ndim == 2 else z[..., 0]
        tally.add(x.size * (y.shape[-1] if y.ndim > 1 else 1))
        product: Array = np.matmul(x, y)
        return product
