"""How layers are traced: compiled by default, or with plain operations for export."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import tensorflow as tf
from tensorflow.python.ops import control_flow_util

__all__ = ["in_xla", "is_plain", "plain_operations"]

_plain = ContextVar("kspike_tf_plain_operations", default=False)


@contextmanager
def plain_operations() -> Iterator[None]:
    """Trace layers without XLA, and with operations that other runtimes know.

    The numbers are the same; only the initial voltages of a layer without a seed come from
    another generator.

    Examples
    --------
    >>> with plain_operations():
    ...     is_plain()
    True
    >>> is_plain()
    False
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Return whether a layer that is traced now has to use plain operations.

    Returns
    -------
    bool
        True inside `plain_operations`.

    Examples
    --------
    >>> is_plain()
    False
    """
    return _plain.get()


def in_xla() -> bool:
    """Return whether XLA compiles the function that is traced now, or one around it.

    Returns
    -------
    bool
        True inside ``tf.function(jit_compile=True)``.

    Examples
    --------
    >>> in_xla()
    False
    """
    return not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )
