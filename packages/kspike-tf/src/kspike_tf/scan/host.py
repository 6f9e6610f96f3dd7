"""The kernels on this machine's processor, called from TensorFlow.

A compiled loop over an array is many times faster than any loop of TensorFlow operations. In a
graph it is a Python function, which exists in this process only: a graph that is saved, loaded
elsewhere and run there has to find another way. So each call in a graph that may be saved is a
branch, on whether the process is this one; the other branch is a loop of TensorFlow operations.
(TensorFlow renames what a loaded graph refers to, so that it always takes the other branch, here as
well.)
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from kspike_tf.scan import kernels, threads
from kspike_tf.scan.formulas import Recurrence
from kspike_tf.scan.machine import Arrays, prepare

Tensor = Any

PART = 2**18  # steps of a unit, forwards, that are worth another thread


# In TensorFlow


def call(
    function: Callable[..., Any], args: Sequence[Tensor], otherwise: Callable[..., Any]
) -> Any:
    """Apply one of the functions below to tensors.

    Parameters
    ----------
    function : callable
        Takes arrays, and one more for its first result; returns a list of arrays. It stays for as
        long as the process.
    args : sequence of tf.Tensor
        Its arguments.
    otherwise : callable
        Does the same in TensorFlow operations, for other processes. It stays as well.

    Returns
    -------
    list of tf.Tensor
        What the function returns; of the types and shapes of as many arguments, in their order.
    """
    like = list(args)[: function.results]  # type: ignore[attr-defined]
    if tf.executing_eagerly():
        arrays = list(map(np.asarray, args))
        outputs = function(*arrays, np.empty_like(arrays[0]))
        return [tf.convert_to_tensor(each) for each in outputs]

    def shaped(outputs: Sequence[Tensor]) -> list[Tensor]:
        return [tf.ensure_shape(o, each.shape) for o, each in zip(outputs, like, strict=True)]

    def here() -> list[Tensor]:
        # TensorFlow's own memory: to get new pages from the system takes longer than to fill them.
        # The operation is stateful: none is shared by two calls, or made into a constant.
        room = tf.raw_ops.Empty(shape=tf.shape(args[0]), dtype=args[0].dtype)
        types = [each.dtype for each in like]
        return shaped(tf.numpy_function(function, [*args, room], types))

    def elsewhere() -> list[Tensor]:
        kinds = tuple((each.dtype, each.shape.rank) for each in args)
        return shaped(_of_any_shape(otherwise, kinds)(*args))

    if _is_never_saved():
        return here()
    return tf.cond(_is_this_process(), here, elsewhere)


@cache
def _of_any_shape(function: Callable[..., Any], kinds: tuple[tuple[Any, int], ...]) -> Any:
    """Return it as a function that is traced once, rather than for each new shape."""
    signature = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in kinds]
    return tf.function(
        lambda *args: list(function(*args)), input_signature=signature, autograph=False
    )


def is_possible() -> bool:
    """Return whether the layer that is traced now may call the host: nothing else computes."""
    with tf.init_scope():
        return tf.executing_eagerly() and _only_processors()


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


# On arrays


def _entry(results: int) -> Callable[..., Any]:
    """Mark a function with the number of its results."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.results = results  # type: ignore[attr-defined]
        return function

    return mark


@_entry(2)
def spikes(
    rates: np.ndarray, voltage: np.ndarray, dt: np.ndarray, out: np.ndarray
) -> list[np.ndarray]:
    """Return spikes and final voltage."""
    return _spikes(kernels.spikes, rates, voltage, dt, out)


@_entry(2)
def rectified_spikes(
    x: np.ndarray, voltage: np.ndarray, dt: np.ndarray, out: np.ndarray
) -> list[np.ndarray]:
    """Return spikes and final voltage, for rates max(x, 0)."""
    return _spikes(kernels.rectified_spikes, x, voltage, dt, out)


def _spikes(
    kernel: Recurrence, x: np.ndarray, voltage: np.ndarray, dt: np.ndarray, out: np.ndarray
) -> list[np.ndarray]:
    end, seconds = voltage.copy(), float(dt)
    constants = seconds * kernels.TICKS, 1 / seconds
    _run(kernel, Arrays(end[:, None], [x], [out], constants=constants))
    return [out, end]


@_entry(2)
def lowpass(
    x: np.ndarray, state: np.ndarray, ratio: np.ndarray, out: np.ndarray
) -> list[np.ndarray]:
    """Return output and final state."""
    end = state.copy()
    _run(kernels.lowpass, Arrays(end, [x], [out], [np.exp(-ratio)]))
    return [out, end]


@_entry(3)
def lowpass_back(
    x: np.ndarray,
    state: np.ndarray,
    ratio: np.ndarray,
    d_out: np.ndarray,
    d_end: np.ndarray,
    d_x: np.ndarray,
) -> list[np.ndarray]:
    """Return the gradients of input, state and ratio."""
    weights = [np.exp(-ratio), -np.expm1(-ratio)]
    return _back(kernels.lowpass_back, weights, x, state, d_out, d_end, d_x)


@_entry(2)
def alpha(x: np.ndarray, state: np.ndarray, ratio: np.ndarray, out: np.ndarray) -> list[np.ndarray]:
    """Return output and final state."""
    end, decay = state.copy(), np.exp(-ratio)
    _run(kernels.alpha, Arrays(end, [x], [out], [decay, decay * ratio]))
    return [out, end]


@_entry(3)
def alpha_back(
    x: np.ndarray,
    state: np.ndarray,
    ratio: np.ndarray,
    gain: np.ndarray,
    d_out: np.ndarray,
    d_end: np.ndarray,
    d_x: np.ndarray,
) -> list[np.ndarray]:
    """Return the gradients of input, state and ratio; the gain is 1 − e·(1 + r)."""
    decay = np.exp(-ratio)
    weights = [decay, decay * ratio, gain, decay * (1 - ratio)]
    return _back(kernels.alpha_back, weights, x, state, d_out, d_end, d_x)


def _back(
    kernel: Recurrence,
    weights: list[np.ndarray],
    x: np.ndarray,
    state: np.ndarray,
    d_out: np.ndarray,
    d_end: np.ndarray,
    d_x: np.ndarray,
) -> list[np.ndarray]:
    """Run an adjoint: on gradients of the states, their derivatives for r, and a sum over time."""
    batch, count, units = state.shape
    states = np.zeros((batch, 2 * count + 1, units))
    states[:, :count] = d_end
    _run(kernel, Arrays(states, [x, d_out], [d_x], weights))
    # The loss depends on the first state as on an input.
    first = (state * states[:, count:-1]).sum((0, 1))
    return [d_x, states[:, :count].copy(), states[:, -1].sum(0) + first]


def _run(kernel: Recurrence, arrays: Arrays) -> None:
    """Run a kernel on all items, in several threads where that is worth it."""
    threads.stay()
    work, items = prepare(kernel, arrays)
    worth = PART // 2 if kernel.backwards else PART
    threads.run(work, items, arrays.inputs[0].size // worth)
