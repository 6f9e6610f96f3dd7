"""Compilation of scans to machine code.

Numba compiles a scan in this process at its first use, and caches nothing on disk. So no stale code
can run after an upgrade, and no code from elsewhere can be loaded.

This module uses one private interface of Numba (tried with 0.62 and 0.68): its compiler lock, which
a fork holds. With a second lock of our own, a fork and a compilation could deadlock. Where Numba
has no such lock, this module makes one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
import tensorflow as tf
from numba import types

from kspike_tf.scan.cpu import driver, loops
from kspike_tf.scan.cpu.driver import PLAN
from kspike_tf.scan.cpu.kernels import Kernel

PART = 2**18  # unit steps (units × steps × batch) that are worth another thread, as in kspike_ref

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
    driver.keep(made)
    return int(made.address)


@cache
def plan_of(kernel: Kernel, kind: str) -> np.ndarray:
    """Return the plan of a kernel for sequences of a dtype, not compiled yet."""
    plan = np.zeros(1, PLAN)
    for name in ("arguments", "results", "states", "rows", "shared", "backwards"):
        plan[name] = getattr(kernel, name)
    plan["bytes"], plan["part"] = np.dtype(kind).itemsize, PART
    driver.keep(plan)
    return plan


def prepare(kernel: Kernel, kind: str) -> int:
    """Compile a scan if need be; return the address of its plan."""
    with lock:
        plan = plan_of(kernel, kind)
        if not plan["work"][0]:
            llvm.add_symbol(driver.run_scan.symbol, compiled(driver.scan, types.intp, 2))
            plan["helper"] = compiled(driver.help_with.py_func, types.intp, 1)
            count = _weights(kernel)
            plan["threads"], plan["weights"] = _threads(), count
            plan["weigh"] = compiled(loops.over_units(kernel), types.intp, 3)
            work = loops.over_items(kernel, np.dtype(kind), count)
            plan["work"] = compiled(work, types.intp, 3)
    return plan.ctypes.data


@cache
def _weights(kernel: Kernel) -> int:
    """Return the number of a kernel's weights."""
    formula = driver.inside(kernel.weights)
    formula.compile((types.float64,) * kernel.given)
    found = formula.nopython_signatures[0].return_type
    if not isinstance(found, types.BaseTuple) or not len(found):
        raise TypeError(
            f"the weights of the kernel {kernel.name!r} must be a tuple of numbers. "
            f"Received: {found}"
        )
    return len(found)


def _threads() -> int:
    """Return the number of threads: TensorFlow's intra-op limit, or the available processors."""
    limit = tf.config.threading.get_intra_op_parallelism_threads()  # 0 means no limit
    # Not every system can tell which processors the process may use.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return limit or allowed or 1
