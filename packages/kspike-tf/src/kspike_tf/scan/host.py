"""The kernels on this machine's processor, called from TensorFlow.

A compiled loop over an array is many times faster than any loop of TensorFlow operations. In a
graph it is a Python function, which exists in this process only: a graph that is saved, loaded
elsewhere and run there has to find another way. So each call is a branch, on whether the process
is this one; the other branch is a loop of TensorFlow operations. (TensorFlow renames what a loaded
graph refers to, so that it always takes the other branch, here as well.)
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
import tensorflow as tf

Tensor = Any

ALIGNMENT = 64  # bytes; TensorFlow takes such arrays over, and copies others
PART = 2**18  # steps of a unit, forwards, that are worth another thread
PAGES = 2**22  # bytes from which memory comes in few large pages
KEPT = 2**25  # bytes of smaller outputs whose memory is used again


# In TensorFlow


def call(
    function: Callable[..., Any], args: Sequence[Tensor], otherwise: Callable[..., Any]
) -> Any:
    """Apply one of the functions below to tensors.

    Parameters
    ----------
    function : callable
        Takes arrays, returns a list of arrays. It stays for as long as the process.
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
        return [tf.convert_to_tensor(each) for each in function(*map(np.asarray, args))]

    def shaped(outputs: Sequence[Tensor]) -> list[Tensor]:
        return [tf.ensure_shape(o, each.shape) for o, each in zip(outputs, like, strict=True)]

    def here() -> list[Tensor]:
        types = [each.dtype for each in like]
        return shaped(tf.numpy_function(function, args, types, stateful=False))

    def elsewhere() -> list[Tensor]:
        kinds = tuple((each.dtype, each.shape.rank) for each in args)
        return shaped(_of_any_shape(otherwise, kinds)(*args))

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


def _is_this_process() -> Tensor:
    handle = _handle(_name())
    with tf.device("CPU:0"):
        return tf.raw_ops.VarIsInitializedOp(resource=handle)


# On arrays


def _entry(results: int) -> Callable[..., Any]:
    """Mark a function with the number of its results, and fix its arguments' types for Numba."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        def entry(*args: Any) -> list[np.ndarray]:
            return function(*map(_read_only, args))

        entry.results = results  # type: ignore[attr-defined]
        return entry

    return mark


def _read_only(array: np.ndarray) -> np.ndarray:
    # Numba compiles anew for arrays that it may write to.
    view = np.asarray(array).view()  # scalars are no arrays
    view.flags.writeable = False
    return view


@_entry(2)
def spikes(rates: np.ndarray, voltage: np.ndarray, dt: np.ndarray) -> list[np.ndarray]:
    """Return spikes and final voltage."""
    outputs = _like(rates), _like(voltage)
    _run("spikes", rates, voltage, float(dt), *outputs)
    return list(outputs)


@_entry(2)
def lowpass(x: np.ndarray, state: np.ndarray, ratio: np.ndarray) -> list[np.ndarray]:
    """Return output and final state."""
    outputs = _like(x), _like(state)
    _run("lowpass", x, state, np.exp(-ratio), *outputs)
    return list(outputs)


@_entry(3)
def lowpass_back(
    x: np.ndarray, state: np.ndarray, ratio: np.ndarray, d_out: np.ndarray, d_end: np.ndarray
) -> list[np.ndarray]:
    """Return the gradients of input, state and ratio."""
    outputs = _like(x), _like(state), np.empty((x.shape[0], x.shape[2]))
    weights = np.exp(-ratio), -np.expm1(-ratio)
    _run("lowpass_back", x, state, *weights, d_out, d_end, *outputs)
    return [*outputs[:2], outputs[2].sum(0)]


@_entry(2)
def alpha(x: np.ndarray, state: np.ndarray, ratio: np.ndarray) -> list[np.ndarray]:
    """Return output and final state."""
    outputs = _like(x), _like(state)
    decay = np.exp(-ratio)
    _run("alpha", x, state, decay, decay * ratio, *outputs)
    return list(outputs)


@_entry(3)
def alpha_back(
    x: np.ndarray,
    state: np.ndarray,
    ratio: np.ndarray,
    gain: np.ndarray,
    d_out: np.ndarray,
    d_end: np.ndarray,
) -> list[np.ndarray]:
    """Return the gradients of input, state and ratio; the gain is 1 − e·(1 + r)."""
    outputs = _like(x), _like(state), np.empty((x.shape[0], x.shape[2]))
    decay = np.exp(-ratio)
    weights = decay, decay * ratio, gain, decay * (1 - ratio)
    _run("alpha_back", x, state, *weights, d_out, d_end, *outputs)
    return [*outputs[:2], outputs[2].sum(0)]


def _like(array: np.ndarray) -> np.ndarray:
    """Return a new array that TensorFlow takes over without a copy."""
    room = _rooms().take(array.nbytes + ALIGNMENT)
    skipped = -room.ctypes.data % ALIGNMENT
    return room[skipped : skipped + array.nbytes].view(array.dtype).reshape(array.shape)


class _Rooms:
    """Memory that is used again: to get a page from the system takes longer than to fill it."""

    def __init__(self) -> None:
        self._lock = Lock()
        # How many references are seen of memory that nothing but the list holds: a matter of how
        # Python counts those of its own.
        self._rooms: list[np.ndarray] = [np.empty(0, np.uint8)]
        self._idle = self._references(0)
        self._rooms.clear()

    def _references(self, index: int) -> int:
        return sys.getrefcount(self._rooms[index])

    def take(self, size: int) -> np.ndarray:
        """Return bytes that nothing else refers to."""
        if size >= PAGES:
            return np.empty(size, np.uint8)
        with self._lock:
            for index in range(len(self._rooms)):
                if self._rooms[index].size == size and self._references(index) == self._idle:
                    self._rooms.append(self._rooms.pop(index))
                    return self._rooms[-1]
            room = np.empty(size, np.uint8)
            self._rooms.append(room)
            while sum(each.size for each in self._rooms) > KEPT:
                del self._rooms[0]  # the one that was not taken for longest; outputs may outlive it
        return room


@cache
def _rooms() -> _Rooms:
    return _Rooms()


def _run(name: str, sequence: np.ndarray, *args: Any) -> None:
    """Run a kernel on all items, in several threads where that is worth it."""
    from kspike_tf.scan import kernels  # Numba: not before it is needed

    kernel, items = getattr(kernels, name), kernels.items(sequence)
    worth = PART // 2 if name.endswith("_back") else PART
    number = min(items, sequence.size // worth)
    bounds = [items * n // number for n in range(number + 1)] if number > 1 else [0, items]
    parts = iter(list(pairwise(bounds)))

    def work() -> None:
        # Who is ready takes the next part: other threads of TensorFlow use the processor too.
        for first, last in parts:
            kernel(sequence, *args, first, last)

    helpers = min(number, _threads()) - 1
    futures = [_pool().submit(work) for _ in range(helpers)]
    work()
    for future in futures:
        if not future.cancel():  # not yet begun, and nothing left to do
            future.result()


@cache
def _threads() -> int:
    limit = tf.config.threading.get_intra_op_parallelism_threads()  # 0 is no limit
    # The processors that this process may use; not all systems tell.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return limit or allowed or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _threads() - 1), thread_name_prefix="kspike_tf")


# Threads do not survive a fork, and locks may be held.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)
    os.register_at_fork(after_in_child=_rooms.cache_clear)
