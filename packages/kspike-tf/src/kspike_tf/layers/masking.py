"""Masked time steps, which keep the state and repeat the output.

The unmasked steps are moved together, in order, so that a scan runs as if the masked steps did not
exist. Then every step takes the output of the last unmasked one. Sequences are
``(batch, time, ...)``; masks, ``(batch, time)``, are true at unmasked steps.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any


def packed(x: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Move the unmasked steps to the start, or to the end, and fill the rest with zeros."""
    steps = tf.range(tf.shape(mask)[1])
    late = mask if at_end else tf.logical_not(mask)
    order = tf.argsort(steps + tf.where(late, tf.shape(mask)[1], 0), axis=1)
    counts = tf.gather(mask, order, batch_dims=1)
    return where(counts, tf.gather(x, order, batch_dims=1), tf.zeros([], x.dtype))


def unpacked(y: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Undo `packed`: every step takes the value of the last unmasked one.

    Before the first unmasked step, values are zero, as in Keras.
    """
    so_far = counted(mask)
    place = so_far - 1
    if at_end:
        place += tf.shape(mask)[1] - total(mask)
    last = tf.gather(y, tf.maximum(place, 0), batch_dims=1)
    return where(so_far > 0, last, tf.zeros([], y.dtype))


def counted(mask: Tensor) -> Tensor:
    """Return the number of unmasked steps up to and including a step, ``(batch, time)``."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=1)


def total(mask: Tensor) -> Tensor:
    """Return the number of unmasked steps in an example, ``(batch, 1)``."""
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1, keepdims=True)


def where(condition: Tensor, x: Tensor, other: Tensor) -> Tensor:
    """Return x where a condition on its first axes holds, otherwise the other values."""
    further = tf.ones([x.shape.rank - condition.shape.rank], tf.int32)
    shape = tf.concat([tf.shape(condition), further], 0)
    return tf.where(tf.reshape(condition, shape), x, other)


def swapped(x: Any) -> Any:
    """Exchange batch and time of a sequence or a mask, if there is one."""
    return None if x is None else tf.transpose(x, [1, 0, *range(2, x.shape.rank)])
