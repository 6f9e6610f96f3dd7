"""Choice of the mechanism that runs a scan.

=========  =====================================================  ===============================
mechanism  where it runs                                          code
=========  =====================================================  ===============================
kernels    machines without an accelerator, for any number of     `kspike_tf.scan.cpu`
           steps
blocks     machines with an accelerator, if the number of steps   `kspike_tf.scan.portable.blocks`
           is known when a graph is traced
loop       elsewhere: in exports, in a process that has loaded a  `kspike_tf.scan.portable.loop`
           saved graph, and under XLA where TensorFlow is older
           than 2.21
LiteRT     in exports to LiteRT, which has no float64             `kspike_tf.scan.portable.lite_rt`
=========  =====================================================  ===============================
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Any

import tensorflow as tf

from kspike_tf.scan.cpu import tensorflow_op, xla_handler
from kspike_tf.scan.cpu.kernels import Kernel
from kspike_tf.scan.portable import loop, saved_graphs
from kspike_tf.tracing import exporter, in_xla, is_plain

Tensor = Any


class Way(Enum):
    """A mechanism that scans a sequence."""

    KERNEL = "by a kernel on this machine's processor"
    KERNEL_IN_XLA = "by the same, called from what XLA compiles"
    BLOCKS = "in blocks of steps"
    LOOP = "in a loop of TensorFlow operations"
    LITE_RT = "in operations that are built into LiteRT"


def way(sequence: Tensor) -> Way:
    """Return the mechanism for a sequence ``(batch, time, units)``."""
    if is_plain():
        return Way.LITE_RT if exporter() == "LiteRT" else Way.LOOP
    if kernels_are_possible():
        if not in_xla():
            return Way.KERNEL
        if xla_handler.is_possible():
            return Way.KERNEL_IN_XLA
    # On CPUs, XLA takes a second to compile a loop and five for blocks; the loop runs no slower.
    return Way.BLOCKS if sequence.shape[1] and not only_processors() else Way.LOOP


def kernels_are_possible() -> bool:
    """Return whether TensorFlow runs on CPUs only and can register our kernels."""
    with tf.init_scope():
        return tf.executing_eagerly() and only_processors() and tensorflow_op.is_possible()


@cache
def only_processors() -> bool:
    """Return whether TensorFlow sees no accelerator."""
    return all(each.device_type == "CPU" for each in tf.config.list_physical_devices())


@tf.autograph.experimental.do_not_convert  # AutoGraph would rewrite the loops that Numba compiles
def run(how: Way, kernel: Kernel, args: Sequence[Tensor], observer: int = 0) -> list[Tensor]:
    """Scan tensors with a kernel's formulas.

    Parameters
    ----------
    how : Way
        `Way.KERNEL`, `Way.KERNEL_IN_XLA`, or `Way.LOOP`.
    kernel : Kernel
        The dynamics.
    args : sequence of tf.Tensor
        The sequence ``(batch, time, units)``, float32 or float64; states before the first step
        ``(batch, ..., units)``, float64; the arguments of the weights, ``(units,)`` or scalars,
        float64; for a backward kernel, the gradients of the forward scan's results.
    observer : int
        Number of an observer, to which XLA's programs show the sequence, or 0
        (`kspike_tf.scan.cpu.observers`).

    Returns
    -------
    list of tf.Tensor
        The output and the states after the last step; for a backward kernel, the gradients with
        respect to the sequence, the states and the first argument of the weights.
    """
    if how is Way.LOOP:
        return loop.run(kernel, args)
    if how is Way.KERNEL_IN_XLA:
        return xla_handler.call(kernel, args, observer)
    return saved_graphs.call(kernel, args)
