"""What the cells of this package share: states in float64, whatever the dtype policy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from kspike_tf.layers.cell import KerasSpikingCell
from kspike_tf.layers.lite_rt import check_cell

Tensor = Any


class PreciseCell(KerasSpikingCell):
    """A cell whose states are float64, and whose inputs and outputs are at least float32."""

    @property
    def compute_dtype(self) -> str:
        """Float64: Keras' RNN casts the states to this."""
        return "float64"

    @property
    def sequence_dtype(self) -> str:
        """Type in which a layer hands inputs to the cell."""
        return "float64" if self.dtype_policy.compute_dtype == "float64" else "float32"

    def call(self, inputs: Tensor, states: Any, training: Any = None) -> Any:
        """Take one time step, as `KerasSpikingCell.call`."""
        check_cell(self)
        return super().call(inputs, states, training=training)

    def _cast(self, inputs: Tensor) -> Tensor:
        return tf.cast(inputs, self.sequence_dtype)

    def _flat(self, x: Tensor) -> Tensor:
        """Merge the unit axes of a time step."""
        return tf.reshape(x, [-1, self.units])

    def _merged(self, x: Tensor) -> Tensor:
        """Merge the unit axes of a sequence, as ``(batch, time, units)``."""
        if len(self.size) == 1:
            return x  # LiteRT has no reshape of two open axes
        merged = tf.reshape(x, tf.concat([tf.shape(x)[:2], [self.units]], 0))
        return shaped(merged, [*x.shape[:2], self.units])

    def _split(self, x: Tensor, like: Tensor) -> Tensor:
        """Undo `_merged`, to the shape of a sequence."""
        if len(self.size) == 1:
            return x
        return shaped(tf.reshape(x, tf.shape(like)), like.shape)

    @property
    def units(self) -> int:
        """Number of units."""
        count = 1
        for length in self.size:
            count *= length
        return count


def shaped(x: Tensor, shape: Any) -> Tensor:
    """Let a tensor know its shape: `tf.ensure_shape` has no forward mode in graphs."""
    x.set_shape(shape)
    return x
