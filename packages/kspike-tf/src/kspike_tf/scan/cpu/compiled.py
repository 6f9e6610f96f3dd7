"""Machine code of scans: when it is compiled, and how Python calls it.

Numba compiles in the process, at the first scan of a kind, and keeps nothing on the disk: so there
is no old code that could run after an upgrade, and nothing to load that others could have written.

One private interface of Numba (tried with 0.62 and 0.68): the lock of its compiler, which a fork
holds. It has to be this one: a second lock, taken before or after it, would let a fork and a
compilation wait for each other. Without it, the lock is ours.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import tensorflow as tf
from numba import types

from kspike_tf.scan.cpu import driver
from kspike_tf.scan.cpu.driver import CALL, PLAN
from kspike_tf.scan.cpu.kernels import KERNELS, Kernel

PART = 2**16  # steps of a unit that are worth another thread
# Types of sequences, by NumPy's letters.
KINDS: dict[str, Any] = {letter: np.dtype(letter) for letter in "fd"}

try:
    from numba.core.compiler_lock import global_compiler_lock as lock
except ImportError:
    lock = threading.RLock()

# A process that is forked while another thread compiles would find the compiler locked for ever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )


def compiled(function: Callable[..., Any], result: Any, arguments: int) -> int:
    """Return the address of a function of integers, compiled for as long as the process lives."""
    signature = result(*[types.intp] * arguments)
    with lock:
        made = numba.cfunc(signature, error_model="numpy")(function)
    keep(made)
    return int(made.address)


def keep(*objects: Any) -> None:
    """Let objects live as long as the process: other libraries' threads may use them at the end."""
    for each in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))


def _planned(kernel: Kernel, letter: str) -> np.ndarray:
    plan = np.zeros(1, PLAN)
    for name in ("arguments", "results", "states", "rows", "given", "shared", "backwards"):
        plan[name] = getattr(kernel, name)
    plan["name"], plan["part"] = driver.text(kernel.name), PART
    plan["bytes"] = np.dtype(letter).itemsize
    keep(plan)
    return plan


PLANS = {(kernel, letter): _planned(kernel, letter) for kernel in KERNELS for letter in KINDS}


def prepare(kernel: Kernel, letter: str) -> int:
    """Compile what a scan needs, if it has not been; return the address of its plan.

    Parameters
    ----------
    kernel : Kernel
        What is scanned.
    letter : str
        "f" or "d": the type of the sequences.
    """
    plan = PLANS[kernel, letter]
    with lock:
        if not plan["kernel"][0]:
            scan()
            plan["helper"], plan["threads"] = _helper(), _threads()
            work = driver.over_items(kernel, KINDS[letter])
            plan["kernel"] = compiled(work, types.void, 3)
    return plan.ctypes.data


def returning(number: int) -> int:
    """Return the address of a function that takes an integer and returns a number."""
    return compiled(lambda _: number, types.intp, 1)


def letter(kind: Any) -> str:
    """Return the letter of a type of TensorFlow's."""
    return str(np.dtype(kind.as_numpy_dtype).char)


@cache
def scan() -> int:
    """Return the address of the driver, which all plans have in common."""
    address = compiled(driver.scan, types.intp, 2)
    llvm.add_symbol(driver.run_scan.symbol, address)
    return address


@cache
def _helper() -> int:
    return compiled(driver.help_with.py_func, types.intp, 1)


def _threads() -> int:
    """Return how many threads may work at a time: as many as processors, if TensorFlow may."""
    limit = tf.config.threading.get_intra_op_parallelism_threads()  # 0 is no limit
    # The processors that this process may use; not all systems tell.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return limit or allowed or 1


def run(kernel: Kernel, args: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scan arrays.

    Parameters
    ----------
    kernel : Kernel
        What is scanned.
    args : sequence of array_like
        The sequence ``(batch, time, units)``, float32 or float64; states before the first step
        ``(batch, …, units)``, float64; what is given, ``(units,)`` or a number, float64; if it
        goes backwards, gradients of the forward scan's results. All are in C order.

    Returns
    -------
    list of ndarray
        The output and states after the last step; backwards, the gradients of sequence, states and
        what is given first.

    Raises
    ------
    ValueError
        If the arrays do not go together: machine code would go beyond them.
    MemoryError
        If there is none.
    """
    args = [np.asarray(each) for each in args]
    kind = np.dtype(args[0].dtype.char)  # in this machine's order of bytes
    for n, each in enumerate(args):
        is_sequence = n == 0 or (kernel.backwards and n == kernel.arguments - 2)
        _check(kernel, n, each, kind if is_sequence else np.dtype(np.float64))
    results = [np.empty_like(each) for each in args[: kernel.results]]
    call = np.zeros(1, CALL)
    call["arguments"], call["results"], call["axes"] = len(args), len(results), args[0].ndim
    call["batch"], call["steps"], call["units"] = args[0].shape
    for names, arrays in ((("args", "sizes"), args), (("outputs", "rooms"), results)):
        for name, values in zip(names, zip(*map(_described, arrays), strict=True), strict=True):
            call[name][0, : len(arrays)] = values
    failed = _callable()(prepare(kernel, kind.char), call.ctypes.data)
    if failed:
        error = ValueError if failed == driver.INVALID_ARGUMENT else MemoryError
        raise error(call["message"].tobytes().partition(b"\0")[0].decode())
    return results


@cache
def _callable() -> Any:
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 2)(scan())


def _check(kernel: Kernel, number: int, array: np.ndarray, kind: np.dtype) -> None:
    good = array.dtype == kind and array.flags.c_contiguous and (array.ndim == 3 or number)
    if not good or kind.char not in KINDS:
        raise ValueError(
            f"argument {number} of {kernel.name} must be {kind} in C order, got "
            f"{array.dtype} {array.shape}{'' if array.flags.c_contiguous else ' in another order'}"
        )


def _described(array: np.ndarray) -> tuple[int, int]:
    """Return where an array's memory begins, and how many bytes it has."""
    return array.ctypes.data, array.nbytes
