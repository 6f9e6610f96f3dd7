"""Masked time steps, which hold the state and repeat the output.

The steps that count are moved together, in their order, so that a scan over all of them runs as if
the masked ones were not there. Then every step gets the output of the last one that counts.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any


def packed(x: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Move the steps that count together, and fill the rest with zeros.

    Parameters
    ----------
    x : (batch, time, ...) tf.Tensor
        A sequence.
    mask : (batch, time) tf.Tensor of bool
        True at steps that count.
    at_end : bool
        Whether to move them to the end rather than to the start.

    Returns
    -------
    (batch, time, ...) tf.Tensor
        The steps that count, in one piece per example.
    """
    steps = tf.range(tf.shape(mask)[1])
    late = mask if at_end else tf.logical_not(mask)
    order = tf.argsort(steps + tf.where(late, tf.shape(mask)[1], 0), axis=1)
    counts = tf.gather(mask, order, batch_dims=1)
    return _where(counts, tf.gather(x, order, batch_dims=1))


def unpacked(y: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Undo `packed`: every step gets the value of the last step that counts.

    Parameters
    ----------
    y : (batch, time, ...) tf.Tensor
        Steps that count, in one piece.
    mask : (batch, time) tf.Tensor of bool
        True at steps that count.
    at_end : bool
        Whether the piece is at the end.

    Returns
    -------
    (batch, time, ...) tf.Tensor
        Values in their places; zeros before the first step that counts, as in Keras.
    """
    so_far = counted(mask)
    place = so_far - 1
    if at_end:
        place += tf.shape(mask)[1] - total(mask)
    return _where(so_far > 0, tf.gather(y, tf.maximum(place, 0), batch_dims=1))


def counted(mask: Tensor) -> Tensor:
    """Return the number of steps that count up to and including a step, ``(batch, time)``."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=1)


def total(mask: Tensor) -> Tensor:
    """Return the number of steps that count in an example, ``(batch, 1)``."""
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1, keepdims=True)


def _where(condition: Tensor, x: Tensor) -> Tensor:
    shape = tf.concat([tf.shape(condition), tf.ones([x.shape.rank - 2], tf.int32)], 0)
    return tf.where(tf.reshape(condition, shape), x, tf.zeros([], x.dtype))
