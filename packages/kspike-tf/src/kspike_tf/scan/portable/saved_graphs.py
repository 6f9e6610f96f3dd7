"""Graphs that can be saved: a kernel in this process, TensorFlow operations in any other.

In a graph, a kernel is an operation (`kspike_tf.scan.cpu.tensorflow_op`) that works in this process
only. So a call branches on whether it runs in the process that traced it. A loaded graph always
runs the TensorFlow operations, even in this process, because TensorFlow renames its resources.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import tensorflow as tf

from kspike_tf.scan.cpu import tensorflow_op
from kspike_tf.scan.cpu.kernels import Kernel
from kspike_tf.scan.portable import loop

Tensor = Any
Kinds = tuple[tuple[Any, int], ...]


def call(kernel: Kernel, args: Sequence[Tensor]) -> list[Tensor]:
    """Scan tensors, eagerly or in a graph; arguments as for `kspike_tf.scan.choose.run`."""
    kinds = tuple((each.dtype, each.shape.rank) for each in args)
    here = in_graph(tensorflow_op.call, kernel, kinds)
    if tf.executing_eagerly():
        return here(*args)
    like = list(args)[: kernel.results]
    # Not `tf.cond`: TensorFlow would inline both branches, and look for the kernel where there is
    # none.
    return tf.raw_ops.StatelessIf(
        cond=is_this_process(),
        input=list(args),
        Tout=[each.dtype for each in like],
        then_branch=here,
        else_branch=in_graph(_in_loop, kernel, kinds),
        output_shapes=[each.shape for each in like],
    )


@cache
def in_graph(run: Callable[..., list[Tensor]], kernel: Kernel, kinds: Kinds) -> Any:
    """Return a scan as a graph for any shape, traced once per process."""
    signature = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in kinds]
    with tf.init_scope():
        traced = tf.function(
            lambda *args: run(kernel, args), input_signature=signature, autograph=False
        )
        return traced.get_concrete_function()


def _in_loop(kernel: Kernel, args: Sequence[Tensor]) -> list[Tensor]:
    """Call a function that TensorFlow instantiates only when it runs."""
    later = {"_noinline": True}
    run = tf.function(partial(loop.run, kernel), autograph=False, experimental_attributes=later)
    return run(list(args))


@cache
def _name() -> str:
    """Create a variable that exists in this process alone; return its name."""
    name = f"kspike_tf_{uuid.uuid4().hex}"
    with tf.init_scope():
        tf.raw_ops.AssignVariableOp(resource=_variable(name), value=tf.constant(True))
    return name


def _variable(name: str) -> Tensor:
    # Variables belong to a device, and replicas run on several.
    with tf.device("CPU:0"):
        return tf.raw_ops.VarHandleOp(shape=[], dtype=tf.bool, shared_name=name)


def is_this_process() -> Tensor:
    """Return whether the graph runs in the process that traced it."""
    handle = _variable(_name())
    with tf.device("CPU:0"):
        return tf.raw_ops.VarIsInitializedOp(resource=handle)
