"""A handler of XLA's foreign function interface that shows a sequence to Python.

The handler is machine code. It calls Python only if a presentation has fewer steps than any that
an observer has approved of, so that most runs of a compiled function cost no Python. It reads
sequences, and changes nothing. See `kspike_tf.scan.cpu.xla_handler` for the interface.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import secrets
import traceback
import weakref
from typing import Any, Protocol

import numpy as np
from numba import types
from tensorflow.compiler.tf2xla.python import xla

from kspike_tf.scan.cpu import compiled, driver, intrinsics, xla_handler
from kspike_tf.scan.cpu.driver import AXES, INT, inside
from kspike_tf.scan.cpu.intrinsics import elements, record
from kspike_tf.scan.cpu.xla_handler import DESCRIBE_AT, MISFIT_AT, array_at, create_error

Tensor = Any


class Observer(Protocol):
    """An object that looks at sequences."""

    def see(self, x: np.ndarray, dt: float) -> int:
        """Look at a sequence ``(batch, time, units)`` and at the seconds per step.

        Returns
        -------
        int
            Sequences with as many steps are not shown any more.
        """
        ...


NAME = "kspike_tf.observe"
ARGUMENTS = 4
F32, F64 = xla_handler.XLA_FFI_DataType_F32, xla_handler.XLA_FFI_DataType_F64
S64 = xla_handler.XLA_FFI_DataType_S64
# Numbers of observers belong to a process; programs that others saved must not use them.
PROCESS = secrets.randbits(62)
EVERY = 2**31 - 1
MOST = 2**16  # observers in a process
TYPES = {"float32": "f32", "float64": "f64"}
_limits = np.full(MOST, EVERY, np.int64)
_python = np.zeros(1, np.int64)  # the address of `_show`
_looking = np.zeros(1, np.int64)  # the address of `_look_first`, and of `look` once it is compiled
driver.keep(_limits, _python, _looking)
LIMITS_AT, PYTHON_AT, LOOKING_AT = (each.ctypes.data for each in (_limits, _python, _looking))
_numbers = itertools.count()
_observers: weakref.WeakValueDictionary[int, Observer] = weakref.WeakValueDictionary()

_MODULE = """
module @kspike_tf attributes {{jax.uses_shape_polymorphism = true}} {{
  func.func public @main(%0: {x}, %1: tensor<f64>, %2: tensor<i64>, %3: tensor<i64>) -> () {{
    stablehlo.custom_call @"{name}"(%0, %1, %2, %3) {{
      api_version = 4 : i32, has_side_effect = true
    }} : ({x}, tensor<f64>, tensor<i64>, tensor<i64>) -> ()
    return
  }}
}}"""


def number_of(observer: Observer) -> int | None:
    """Register an observer, which stays alive elsewhere; return its number.

    None if XLA does not accept the handler, or if there are too many observers.
    """
    number = next(_numbers)
    if number >= MOST or not IS_KNOWN:
        return None
    _prepare()
    _observers[number] = observer
    return number


def call(number: int, sequence: Tensor, dt: Tensor) -> None:
    """Show a sequence and dt to an observer, in a function that XLA compiles."""
    kind = f"tensor<?x?x?x{TYPES[sequence.dtype.name]}>"
    xla.call_module(
        [sequence, dt, np.int64(number), np.int64(PROCESS)],
        version=xla_handler.MODULE_VERSION,
        module=_MODULE.format(name=NAME, x=kind),
        Tout=[],
        Sout=[],
        platforms=["CPU"],
    )


def _prepare() -> None:
    """Compile the handler if need be."""
    _looking[0] = compiled.compiled(look, types.intp, 3)


def _register() -> bool:
    """Register the handler when the package is imported; return whether XLA accepts it.

    Functions may contain it that another process saved.
    """
    if not xla_handler.is_possible():
        return False
    _python[0] = xla_handler.address_of(_show)
    _looking[0] = xla_handler.address_of(_look_first)
    address = compiled.compiled(xla_handler.calling(LOOKING_AT), types.intp, 1)
    return xla_handler.register(NAME, address)


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def _look_first(frame_at: int) -> Any:
    """Stand in for `look` until it is compiled."""
    if xla_handler.described(frame_at):
        return None
    try:
        _prepare()
        return xla_handler.function_at(_looking[0])(frame_at)
    except BaseException:
        # Python may run a signal handler here, which interrupts; XLA cannot pass exceptions on.
        traceback.print_exc()
        return xla_handler.create_error_of(xla_handler.NOT_COMPILED_AT)


def look(frame_at: int, _second: int, _third: int) -> int:
    """Show the sequence of a call to Python unless it has as many steps as the observer's limit.

    The arguments of a call are the sequence, dt, and the numbers of the observer and its process.
    Do not trust callers: programs may come from files.
    """
    frame = record(frame_at, xla_handler.XLA_FFI_CallFrame)
    if frame.extension_start != 0:
        return intrinsics.call(DESCRIBE_AT, frame_at, 0, 0)
    if frame.args.size != ARGUMENTS:
        return create_error(MISFIT_AT)
    args = elements(frame.args.args, 0, INT)
    sequence = record(args[0], xla_handler.XLA_FFI_Buffer)
    if sequence.rank != AXES or (sequence.dtype != F32 and sequence.dtype != F64):
        return create_error(MISFIT_AT)
    if not (is_number(args[1], F64) and is_number(args[2], S64) and is_number(args[3], S64)):
        return create_error(MISFIT_AT)
    if first_of(args[3]) != PROCESS:
        return 0  # a saved program, with the number of another layer
    number = first_of(args[2])
    if number < 0 or number >= MOST:
        return create_error(MISFIT_AT)
    if elements(sequence.dims, 1, INT)[0] >= elements(LIMITS_AT, number, INT)[0]:
        return 0
    return intrinsics.call(elements(PYTHON_AT, 0, INT)[0], frame_at, 0, 0)


@inside
def is_number(buffer_at: int, kind: int) -> bool:
    """Return whether a buffer holds one number of a type."""
    buffer = record(buffer_at, xla_handler.XLA_FFI_Buffer)
    return buffer.rank == 0 and buffer.dtype == kind


@inside
def first_of(buffer_at: int) -> int:
    """Return the first integer in a buffer."""
    return elements(record(buffer_at, xla_handler.XLA_FFI_Buffer).data, 0, INT)[0]


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def _show(frame_at: int) -> Any:
    """Show the sequence of a call to its observer; return the address of an error or None.

    `look` has checked the arguments.
    """
    number = None
    try:
        sequence, dt, number = _arguments(frame_at)
        observer = _observers.get(number)
        _limits[number] = observer.see(sequence, dt) if observer else 0
    except BaseException as error:
        # A filter makes errors of warnings. XLA cannot pass any exception on.
        if not isinstance(error, Warning):
            traceback.print_exc()
        if number is not None:
            _limits[number] = 0
        return _error(str(error) or type(error).__name__)
    return None


def _arguments(frame_at: int) -> tuple[np.ndarray, float, int]:
    """Return the sequence, dt and the observer's number in a call."""
    args = array_at(frame_at, xla_handler.XLA_FFI_CallFrame)[0]["args"]
    buffers = [
        array_at(address, xla_handler.XLA_FFI_Buffer)[0]
        for address in array_at(args["args"], np.int64, args["size"])
    ]
    shape = tuple(map(int, array_at(buffers[0]["dims"], np.int64, AXES)))
    kind = np.float32 if buffers[0]["dtype"] == F32 else np.float64
    sequence = array_at(buffers[0]["data"], kind, math.prod(shape)).reshape(shape)
    dt = array_at(buffers[1]["data"], np.float64)[0]
    return sequence, float(dt), int(array_at(buffers[2]["data"], np.int64)[0])


def _error(message: str) -> Any:
    args = np.zeros(1, xla_handler.XLA_FFI_Error_Create_Args)
    text = ctypes.create_string_buffer(message.encode())
    args["struct_size"], args["errc"] = args.itemsize, driver.INVALID_ARGUMENT
    args["message"] = ctypes.addressof(text)
    return xla_handler.create_error_of(args.ctypes.data)


IS_KNOWN = _register()
