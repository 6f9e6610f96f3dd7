"""Forward-mode differentiation of scans in graphs.

In eager mode, `tf.custom_gradient` supports `tf.autodiff.ForwardAccumulator` by differentiating its
gradient. In a graph it does not: the operation that carries the gradient (``IdentityN``) takes its
tangents from the operations inside, and those of a scan are zero. TensorFlow does differentiate a
call of a graph function as a whole. So scans whose inputs have tangents become graph functions.

Only TensorFlow's private ``forwardprop_util.pack_tangents`` tells whether there are tangents (tried
with TensorFlow 2.21). Where it is missing, forward mode in a graph yields zero tangents; everything
else is the same.
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
    """Call a function of tensors, as a graph function if its arguments have tangents."""
    if pack_tangents is None or tf.executing_eagerly():
        return function(*args)
    if not pack_tangents([tf.convert_to_tensor(each) for each in args]).tangents:
        return function(*args)
    return tf.function(function, autograph=False)(*args)
