"""Steps that a mask leaves out: they hold the state and repeat the output.

The steps that count are moved together, in the order they have, so that a scan over all of them
runs as if the others were not there. Then each step takes the output of the last one that counts.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

Tensor = Any


def packed(x: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Move the steps that count together, and put zeros in the place of the others.

    Parameters
    ----------
    x : (batch, time, ...) tf.Tensor
        A sequence.
    mask : (batch, time) tf.Tensor of bool
        True at steps that count.
    at_end : bool
        Whether to move them to the end, rather than to the start.

    Returns
    -------
    (batch, time, ...) tf.Tensor
        The steps that count in one piece for each example.
    """
    steps = tf.range(tf.shape(mask)[1])
    late = mask if at_end else tf.logical_not(mask)
    order = tf.argsort(steps + tf.where(late, tf.shape(mask)[1], 0), axis=1)
    counts = tf.gather(mask, order, batch_dims=1)
    return _where(counts, tf.gather(x, order, batch_dims=1))


def unpacked(y: Tensor, mask: Tensor, at_end: bool = False) -> Tensor:
    """Give each step the value of the last step that counts, from a sequence like `packed`.

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
        Values in their places; zeros before the first step that counts, as Keras has it.
    """
    so_far = counted(mask)
    place = so_far - 1
    if at_end:
        place += tf.shape(mask)[1] - total(mask)
    return _where(so_far > 0, tf.gather(y, tf.maximum(place, 0), batch_dims=1))


def counted(mask: Tensor) -> Tensor:
    """Return for each step how many steps count, up to this one and with it."""
    return tf.cumsum(tf.cast(mask, tf.int32), axis=1)


def total(mask: Tensor) -> Tensor:
    """Return how many steps of each example count, ``(batch, 1)``."""
    return tf.reduce_sum(tf.cast(mask, tf.int32), axis=1, keepdims=True)


def _where(condition: Tensor, x: Tensor) -> Tensor:
    shape = tf.concat([tf.shape(condition), tf.ones([x.shape.rank - 2], tf.int32)], 0)
    return tf.where(tf.reshape(condition, shape), x, tf.zeros([], x.dtype))
