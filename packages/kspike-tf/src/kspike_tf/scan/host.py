"""The kernels on this machine's processor, called from TensorFlow.

A compiled loop over an array is many times faster than any loop of TensorFlow operations. In a
graph it is an operation (`kspike_tf.scan.operations`) that runs in this process only: a graph that
is saved, loaded elsewhere and run there has to find another way. So each call in a graph that may
be saved is a branch, on whether the process is this one; the other branch is a loop of TensorFlow
operations. (TensorFlow renames what a loaded graph refers to, so that it always takes the other
branch, here as well.)
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import tensorflow as tf

from kspike_tf.scan import operations, program
from kspike_tf.scan.formulas import Recurrence

Tensor = Any


def call(recurrence: Recurrence, args: Sequence[Tensor], otherwise: Callable[..., Any]) -> Any:
    """Scan tensors.

    Parameters
    ----------
    recurrence : Recurrence
        What is done in a step.
    args : sequence of tf.Tensor
        As `program.run` takes them.
    otherwise : callable
        Does the same in TensorFlow operations, for other processes. It stays for as long as the
        process.

    Returns
    -------
    list of tf.Tensor
        The results; of the types and shapes of as many arguments, in their order.
    """
    if tf.executing_eagerly():
        return [tf.convert_to_tensor(each) for each in program.run(recurrence, args)]
    program.begin(recurrence, program.letter(args[0].dtype))
    if _is_never_saved():
        return operations.call(recurrence, args)
    kinds = tuple((each.dtype, each.shape.rank) for each in args)
    like = list(args)[: recurrence.results]
    # Not `tf.cond`, which lays both branches open to TensorFlow: it would look for the kernel
    # where there is none.
    found = tf.raw_ops.StatelessIf(
        cond=_is_this_process(),
        input=list(args),
        Tout=[each.dtype for each in like],
        then_branch=_of_any_shape(operations.call, kinds, recurrence),
        else_branch=_of_any_shape(otherwise, kinds),
        output_shapes=[each.shape for each in like],
    )
    for each, argument in zip(found, like, strict=True):
        each.set_shape(argument.shape)
    return list(found)


@cache
def _of_any_shape(
    function: Callable[..., Any],
    kinds: tuple[tuple[Any, int], ...],
    recurrence: Recurrence | None = None,
) -> Any:
    """Return it as a graph that is traced once, rather than for each new shape."""
    signature = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in kinds]

    def traced(*args: Tensor) -> list[Tensor]:
        return list(function(recurrence, args) if recurrence else function(*args))

    with tf.init_scope():
        whole = tf.function(traced, input_signature=signature, autograph=False)
        return whole.get_concrete_function()


def is_possible() -> bool:
    """Return whether the layer that is traced now may call the host: nothing else computes."""
    with tf.init_scope():
        return tf.executing_eagerly() and _only_processors() and operations.is_possible()


@cache
def _only_processors() -> bool:
    return all(each.device_type == "CPU" for each in tf.config.list_physical_devices())


@cache
def _name() -> str:
    """Return the name of a variable that exists in this process alone, and make it."""
    name = f"kspike_tf_{uuid.uuid4().hex}"
    with tf.init_scope():
        tf.raw_ops.AssignVariableOp(resource=_handle(name), value=tf.constant(True))
    return name


def _handle(name: str) -> Tensor:
    # A device's variables are its own, and replicas run on several.
    with tf.device("CPU:0"):
        return tf.raw_ops.VarHandleOp(shape=[], dtype=tf.bool, shared_name=name)


def _is_never_saved() -> bool:
    """Return whether Keras traces a step of `fit`, `evaluate` or `predict`, or just learns shapes.

    It leaves these graphs out of what it saves. To trace the other branch is most of what a layer
    adds to a first, short epoch. (A function of somebody else's that has the name of Keras' own,
    and is saved, does not run elsewhere.)
    """
    name = tf.compat.v1.get_default_graph().name
    steps = "one_step_on_data", "one_step_on_data_distributed"
    return name in steps or name.startswith("scratch_graph")


def _is_this_process() -> Tensor:
    handle = _handle(_name())
    with tf.device("CPU:0"):
        return tf.raw_ops.VarIsInitializedOp(resource=handle)
