"""Masked time steps, which keep the state and repeat the output.

The unmasked steps are moved together, in order, so that a scan runs as if the masked steps did not
exist. Then every step takes the output of the last unmasked one.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any


def packed(x: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Move the unmasked steps together, and fill the rest with zeros.

    Parameters
    ----------
    x : (batch, time, ...) tf.Tensor
        A sequence.
    mask : (batch, time) tf.Tensor of bool
        True at unmasked steps.
    at_end : bool
        Whether to move them to the end rather than to the start.

    Returns
    -------
    (batch, time, ...) tf.Tensor
        The unmasked steps of each example, in one piece.
    """
    steps = tf.range(tf.shape(mask)[1])
    late = mask if at_end else tf.logical_not(mask)
    order = tf.argsort(steps + tf.where(late, tf.shape(mask)[1], 0), axis=1)
    counts = tf.gather(mask, order, batch_dims=1)
    return _where(counts, tf.gather(x, order, batch_dims=1))


def unpacked(y: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Undo `packed`: every step takes the value of the last unmasked one.

    Parameters
    ----------
    y : (batch, time, ...) tf.Tensor
        Unmasked steps, in one piece.
    mask : (batch, time) tf.Tensor of bool
        True at unmasked steps.
    at_end : bool
        Whether the piece is at the end.

    Returns
    -------
    (batch, time, ...) tf.Tensor
        Values at their original steps; zeros before the first unmasked step, as in Keras.
    """
    so_far = counted(mask)
    place = so_far - 1
    if at_end:
        place += tf.shape(mask)[1] - total(mask)
    return _where(so_far > 0, tf.gather(y, tf.maximum(place, 0), batch_dims=1))


def counted(mask: Tensor) -> Tensor:
    """Return the number of unmasked steps up to and including a step, ``(batch, time)``."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=1)


def total(mask: Tensor) -> Tensor:
    """Return the number of unmasked steps in an example, ``(batch, 1)``."""
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1, keepdims=True)


def _where(condition: Tensor, x: Tensor) -> Tensor:
    shape = tf.concat([tf.shape(condition), tf.ones([x.shape.rank - 2], tf.int32)], 0)
    return tf.where(tf.reshape(condition, shape), x, tf.zeros([], x.dtype))
