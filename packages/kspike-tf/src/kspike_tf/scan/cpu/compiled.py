"""Compilation of scans to machine code, and calls to it from Python.

Numba compiles a scan in this process at its first use, and caches nothing on disk. So no stale code
can run after an upgrade, and no code from elsewhere can be loaded.

This module uses one private interface of Numba (tried with 0.62 and 0.68): its compiler lock, which
a fork holds. With a second lock of our own, a fork and a compilation could deadlock. Where Numba
has no such lock, this module makes one.
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

PART = 2**16  # unit steps (units × steps × batch) that are worth another thread
# Dtypes of sequences, by NumPy's one-letter codes.
KINDS: dict[str, Any] = {letter: np.dtype(letter) for letter in "fd"}

try:
    from numba.core.compiler_lock import global_compiler_lock as lock
except ImportError:
    lock = threading.RLock()

# A child forked while another thread compiles would find the compiler locked forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )


@cache
def compiled(function: Callable[..., Any], result: Any, arguments: int) -> int:
    """Compile a function of integers, kept until the process ends; return its address."""
    signature = result(*[types.intp] * arguments)
    with lock:
        made = numba.cfunc(signature, error_model="numpy")(function)
    keep(made)
    return int(made.address)


def keep(*objects: Any) -> None:
    """Keep objects alive until the process ends: threads of other libraries may still use them."""
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


# One plan per kernel and dtype of sequences.
PLANS = {(kernel, letter): _planned(kernel, letter) for kernel in KERNELS for letter in KINDS}


def prepare(kernel: Kernel, letter: str) -> int:
    """Compile a scan if need be; return the address of its plan."""
    plan = PLANS[kernel, letter]
    with lock:
        if not plan["kernel"][0]:
            scan()
            plan["helper"] = compiled(driver.help_with.py_func, types.intp, 1)
            plan["threads"] = _threads()
            work = driver.over_items(kernel, KINDS[letter])
            plan["kernel"] = compiled(work, types.void, 3)
    return plan.ctypes.data


def letter(kind: Any) -> str:
    """Return NumPy's one-letter code for a TensorFlow dtype."""
    return str(np.dtype(kind.as_numpy_dtype).char)


@cache
def scan() -> int:
    """Return the address of the compiled driver, which all plans share."""
    address = compiled(driver.scan, types.intp, 2)
    llvm.add_symbol(driver.run_scan.symbol, address)
    return address


def _threads() -> int:
    """Return the number of threads: TensorFlow's intra-op limit, or the available processors."""
    limit = tf.config.threading.get_intra_op_parallelism_threads()  # 0 means no limit
    # Not every system can tell which processors the process may use.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return limit or allowed or 1


def run(kernel: Kernel, args: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scan arrays.

    Parameters
    ----------
    kernel : Kernel
        The dynamics.
    args : sequence of array_like
        The sequence ``(batch, time, units)``, float32 or float64; states before the first step
        ``(batch, …, units)``, float64; the arguments of the weights, ``(units,)`` or scalars,
        float64; for a backward kernel, the gradients of the forward scan's results. All in C order.

    Returns
    -------
    list of ndarray
        The output and the states after the last step; for a backward kernel, the gradients with
        respect to the sequence, the states and the first argument of the weights.

    Raises
    ------
    ValueError
        If the sizes of the arrays do not match; machine code would read or write past their ends.
    MemoryError
        If memory runs out.
    """
    args = [np.asarray(each) for each in args]
    kind = np.dtype(args[0].dtype.char)  # in native byte order
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
    """Return the address of an array's memory and its size in bytes."""
    return array.ctypes.data, array.nbytes
