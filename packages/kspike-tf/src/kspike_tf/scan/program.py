"""Whole scans as machine code, which needs no Python when it runs.

LLVM makes that of a recurrence in some hundredths of a second, while TensorFlow traces, so that
nothing has to be kept on the disk. Python calls it here; TensorFlow and XLA call the same: see
`kspike_tf.scan.operations` and `kspike_tf.scan.foreign`.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir

from kspike_tf.scan import code, driver, kernels, machine, threads
from kspike_tf.scan.driver import Plan
from kspike_tf.scan.formulas import Recurrence

PART = 2**16  # steps of a unit that are worth another thread
LETTERS = tuple(code.SIZES)

Kind = tuple[Recurrence, str]


def _planned(recurrence: Recurrence, letter: str) -> Plan:
    return Plan(
        arguments=recurrence.arguments,
        results=recurrence.results,
        visible=recurrence.visible,
        states=recurrence.states,
        weights=recurrence.weights,
        shared=recurrence.shared,
        backwards=recurrence.backwards,
        bytes=code.SIZES[letter],
        part=PART,
        name=recurrence.name.encode(),
    )


# What there is to scan, of float32 and of float64 ("f" and "d"). Machine code reads the plans.
PLANS = {(each, letter): _planned(each, letter) for each in kernels.ALL for letter in LETTERS}
code.keep(PLANS)
_makers: dict[Kind, threading.Thread] = {}
MAKER = "kspike_tf makes machine code"  # the name of threads


def begin(recurrence: Recurrence, letter: str) -> None:
    """Begin to make the machine code of a scan, in another thread.

    Parameters
    ----------
    recurrence : Recurrence
        What is done in a step.
    letter : str
        "f" or "d": the type of the sequences.
    """
    kind = recurrence, letter
    if kind not in _makers:
        # If two get here at once, both make it, and either is good.
        thread = threading.Thread(target=_make, args=kind, name=MAKER)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads: `finish` makes it in its own
            return
        _makers[kind] = thread


def finish(recurrence: Recurrence, letter: str) -> None:
    """Return when there is machine code."""
    begin(recurrence, letter)
    if thread := _makers.get((recurrence, letter)):
        thread.join()
    if not PLANS[recurrence, letter].steps:  # no thread, or it has failed, and so may this
        _make(recurrence, letter)


def _make(recurrence: Recurrence, letter: str) -> None:
    plan = PLANS[recurrence, letter]
    made = machine.compiled(recurrence, letter)
    plan.coefficients, plan.gradients = made["coefficients"], made.get("gradients", 0)
    plan.threads = threads.number()
    publish = _driver().get_function_address("publish")
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(publish)(
        ctypes.addressof(plan), made["steps"]
    )


def _wait_for_makers() -> None:
    # A process that is forked meanwhile would find LLVM locked for ever.
    for each in threading.enumerate():
        if each.name == MAKER:
            each.join()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_makers)


def letter(kind: Any) -> str:
    """Return the letter of a type of TensorFlow's."""
    return str(np.dtype(kind.as_numpy_dtype).char)


def address(recurrence: Recurrence, letter: str) -> int:
    """Return where the plan of a scan is, for machine code."""
    return ctypes.addressof(PLANS[recurrence, letter])


def scan() -> int:
    """Return the address of the driver, which all plans have in common."""
    return int(_driver().get_function_address("scan"))


@cache
def _driver() -> Any:
    code.keep(_make_at)
    module = ir.Module("kspike_tf_driver")
    driver.write(module, code.address_of(_make_at))
    driver.write_publish(module)
    return code.compiled(module, 0)


@ctypes.CFUNCTYPE(None, ctypes.c_int64)
def _make_at(address: int) -> None:
    """Make the machine code of a plan, at the driver's request."""
    finish(*next(kind for kind, plan in PLANS.items() if ctypes.addressof(plan) == address))


@cache
def _callable() -> Any:
    kinds = [ctypes.c_void_p] * len(driver.KIND)
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(scan())


def run(recurrence: Recurrence, args: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Scan arrays.

    Parameters
    ----------
    recurrence : Recurrence
        What is done in a step.
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
    args = list(map(np.asarray, args))
    kind = np.dtype(args[0].dtype.char)  # in this machine's order of bytes
    for n, each in enumerate(args):
        _check(recurrence, n, each, kind)
    results = [np.empty_like(each) for each in args[: recurrence.results]]
    counts = _words(len(args), len(results), args[0].ndim)
    message = ctypes.create_string_buffer(driver.MESSAGE)
    arrays = (*_described(args), *_described(results))
    plan = PLANS[recurrence, kind.char]
    if not plan.steps:
        finish(recurrence, kind.char)
    shape = _words(*args[0].shape)
    failed = _callable()(ctypes.byref(plan), counts, shape, *arrays, message)
    if failed:
        error = ValueError if failed == driver.INVALID_ARGUMENT else MemoryError
        raise error(message.value.decode())
    return results


def _check(recurrence: Recurrence, number: int, array: np.ndarray, kind: Any) -> None:
    if not recurrence.is_sequence(number):
        kind = np.dtype(np.float64)
    good = array.dtype == kind and array.flags.c_contiguous and (array.ndim == 3 or number)
    if not good or kind.char not in code.SIZES:
        raise ValueError(
            f"argument {number} of {recurrence.name} must be {kind} in C order, got "
            f"{array.dtype} {array.shape}{'' if array.flags.c_contiguous else ' in another order'}"
        )


def _words(*numbers: int) -> Any:
    return (ctypes.c_int64 * len(numbers))(*numbers)


def _described(arrays: Sequence[np.ndarray]) -> tuple[Any, Any]:
    """Return where arrays are, and how many bytes each has."""
    return _words(*map(_address, arrays)), _words(*[each.nbytes for each in arrays])


def _address(array: np.ndarray) -> int:
    """Return where an array's memory begins: ``array.ctypes`` takes three times as long."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    return array.ctypes.data
