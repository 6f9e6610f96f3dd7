"""Which mechanism scans, and how XLA compiles parts of a scan."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache, partial, wraps
from typing import Any

import tensorflow as tf

from kspike_tf.scan import host, xla
from kspike_tf.tracing import exporter, in_xla, is_plain

Tensor = Any


class Way(Enum):
    """How a sequence is scanned."""

    HOST = "kernels on this machine's processor"
    FROM_XLA = "the same, called from what XLA compiles"
    BLOCKS = "blocks of steps, compiled by XLA"
    LOOP = "a loop of TensorFlow operations"
    LITE_RT = "operations that are built into LiteRT"


def way(sequence: Tensor) -> Way:
    """Return how a sequence is scanned.

    Parameters
    ----------
    sequence : (batch, time, units) tf.Tensor
        What is scanned.

    Returns
    -------
    Way
        Kernels, unless there is an accelerator, or a version of TensorFlow or XLA that cannot call
        them: there it is blocks, where the length is known now and is not zero. Exports get loops,
        LiteRT no loop over single steps.
    """
    if is_plain():
        return Way.LITE_RT if exporter() == "LiteRT" else Way.LOOP
    if in_xla():
        if xla.is_possible():
            return Way.FROM_XLA
    elif host.is_possible():
        return Way.HOST
    return Way.BLOCKS if sequence.shape[1] else Way.LOOP


def stage(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part of a scan with XLA, apart from other parts, once for each shape.

    XLA would merge an elementwise part into the next, and compute it again for each of its
    uses. So parts are compiled one by one. Inside a function that XLA compiles as a whole, a part
    is a branch that is always taken: branches are not merged with what is around them.

    Parameters
    ----------
    function : callable
        Takes structures of tensors, a non-empty floating tensor first; returns tensors.

    Returns
    -------
    callable
        Takes and returns the same.
    """

    @cache
    def alone(key: Any) -> Any:
        # One for each shape, and under a name of its own: TensorFlow would warn of a function
        # that is traced for many.
        del key
        return tf.function(partial(function), jit_compile=True, autograph=False)

    @wraps(function)
    def call(*args: Any) -> Any:
        if in_xla():
            return _branch(function, args)
        return alone(tuple(tuple(x.shape) for x in tf.nest.flatten(args)))(*args)

    return call


def _branch(function: Callable[..., Any], args: Any) -> Any:
    some = tf.cast(tf.reshape(tf.nest.flatten(args)[0], [-1])[0], tf.float32)
    impossible = tf.square(some) < -1  # not even for NaN; the compiler does not know

    def otherwise() -> Any:
        return tf.nest.map_structure(tf.zeros_like, function(*args))

    return tf.cond(impossible, otherwise, lambda: function(*args))
