"""When a scan is compiled by XLA, and how."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from kspike_tf.tracing import is_plain

Tensor = Any


def uses_blocks(sequence: Tensor) -> bool:
    """Return whether a sequence is scanned in blocks, rather than in a loop.

    Parameters
    ----------
    sequence : (batch, time, units) tf.Tensor
        What is scanned.

    Returns
    -------
    bool
        True where the length is known now, and is not zero.
    """
    return bool(sequence.shape[1]) and not is_plain()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with XLA, once for each shape of its arguments.

    Inside a function that XLA compiles as a whole, the function becomes part of that.

    Parameters
    ----------
    function : callable
        Takes and returns tensors and Python values.

    Returns
    -------
    callable
        Takes and returns the same.
    """

    @cache
    def alone(key: Any) -> Any:
        # One for each shape: TensorFlow would warn of a function that is traced for many.
        del key
        return tf.function(function, jit_compile=True, autograph=False)

    @wraps(function)
    def call(*args: Any) -> Any:
        if not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(
            tf.compat.v1.get_default_graph()
        ):
            return function(*args)
        shapes = [tuple(x.shape) if tf.is_tensor(x) else None for x in args]
        return alone(tuple(shapes))(*args)

    return call
