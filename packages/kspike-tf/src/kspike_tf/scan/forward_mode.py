"""Forward-mode differentiation of scans in graphs.

`tf.custom_gradient` answers `tf.autodiff.ForwardAccumulator` in eager mode, by differentiating its
gradient. In a graph it does not: the operation that carries the gradient (``IdentityN``) passes on
the tangents of what is inside, which are zero for a scan. The call of a graph function is
differentiated as a whole, and rightly; so where there are tangents, a scan is called as one.

Whether there are tangents only TensorFlow's private ``forwardprop_util.pack_tangents`` tells (tried
with TensorFlow 2.21). Without it, forward mode in a graph finds no tangents; all else is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

try:
    from tensorflow.python.eager.forwardprop_util import pack_tangents
except ImportError:
    pack_tangents = None

Tensor = Any


def call(function: Callable[..., Any], *args: Tensor) -> Any:
    """Call a function of tensors; as a graph of its own, where that makes tangents right."""
    if pack_tangents is None or tf.executing_eagerly():
        return function(*args)
    if not pack_tangents([tf.convert_to_tensor(each) for each in args]).tangents:
        return function(*args)
    return tf.function(function, autograph=False)(*args)
