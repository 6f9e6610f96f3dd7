"""A handler of XLA's foreign function interface that shows a sequence to Python.

The handler is machine code. It calls Python only if a presentation has fewer steps than any that
an observer has approved of, so that most runs of a compiled function cost no Python. It reads
sequences, and changes nothing. See `kspike_tf.scan.cpu.xla_handler` for the interface.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import weakref
from functools import cache
from typing import Any, Protocol

import numpy as np
from numba import types
from tensorflow.compiler.tf2xla.python import xla

from kspike_tf.scan.cpu import compiled, driver, intrinsics, xla_handler
from kspike_tf.scan.cpu.driver import INT
from kspike_tf.scan.cpu.intrinsics import elements, record

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
EVERY = 2**31 - 1
MOST = 2**16  # observers in a process
TYPES = {"float32": "f32", "float64": "f64"}
_limits = np.full(MOST, EVERY, np.int64)
_python = np.zeros(1, np.int64)  # the address of `_show`
LIMITS_AT, PYTHON_AT = _limits.ctypes.data, _python.ctypes.data
_numbers = itertools.count()
_observers: weakref.WeakValueDictionary[int, Observer] = weakref.WeakValueDictionary()

_MODULE = """
module @kspike_tf attributes {{jax.uses_shape_polymorphism = true}} {{
  func.func public @main(%0: {x}, %1: tensor<f64>, %2: tensor<i64>) -> () {{
    stablehlo.custom_call @"{name}"(%0, %1, %2) {{
      api_version = 4 : i32, has_side_effect = true
    }} : ({x}, tensor<f64>, tensor<i64>) -> ()
    return
  }}
}}"""


def number_of(observer: Observer) -> int | None:
    """Register an observer, which stays alive elsewhere; return its number.

    None if XLA does not accept the handler, or if there are too many observers.
    """
    number = next(_numbers)
    if number >= MOST or not _is_registered():
        return None
    _observers[number] = observer
    return number


def call(number: int, sequence: Tensor, dt: Tensor) -> None:
    """Show a sequence and dt to an observer, in a function that XLA compiles."""
    kind = f"tensor<?x?x?x{TYPES[sequence.dtype.name]}>"
    xla.call_module(
        [sequence, dt, np.int64(number)],
        version=xla_handler.MODULE_VERSION,
        module=_MODULE.format(name=NAME, x=kind),
        Tout=[],
        Sout=[],
        platforms=["CPU"],
    )


@cache
def _is_registered() -> bool:
    """Register the handler; return whether XLA accepts it."""
    if not xla_handler.is_possible():
        return False
    _python[0] = ctypes.cast(_show, ctypes.c_void_p).value
    return xla_handler.register(NAME, compiled.compiled(look, types.intp, 1))


def look(frame_at: int) -> int:
    """Show the sequence of a call to Python unless it has as many steps as the observer's limit.

    The arguments of a call are the sequence, dt and the observer's number.
    """
    frame = record(frame_at, xla_handler.XLA_FFI_CallFrame)
    if frame.extension_start == 0:
        args = elements(frame.args.args, 0, INT)
        sequence = record(args[0], xla_handler.XLA_FFI_Buffer)
        number = record(args[2], xla_handler.XLA_FFI_Buffer)
        limit = elements(LIMITS_AT, elements(number.data, 0, INT)[0], INT)[0]
        if elements(sequence.dims, 1, INT)[0] >= limit:
            return 0
    return intrinsics.call(elements(PYTHON_AT, 0, INT)[0], frame_at, 0, 0)


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def _show(frame_at: int) -> Any:
    """Show the sequence of a call to its observer; return the address of an error or None."""
    if xla_handler.described(frame_at):
        return None
    frame = _at(frame_at, xla_handler.XLA_FFI_CallFrame)[0]
    buffers = [
        _at(address, xla_handler.XLA_FFI_Buffer)[0]
        for address in _at(frame["args"]["args"], np.int64, frame["args"]["size"])
    ]
    shape = tuple(map(int, _at(buffers[0]["dims"], np.int64, buffers[0]["rank"])))
    is_single = buffers[0]["dtype"] == xla_handler.XLA_FFI_DataType_F32
    kind = np.dtype(np.float32 if is_single else np.float64)
    sequence = _at(buffers[0]["data"], kind, math.prod(shape)).reshape(shape)
    number = int(_at(buffers[2]["data"], np.int64)[0])
    observer = _observers.get(number)
    try:
        dt = float(_at(buffers[1]["data"], np.float64)[0])
        limit = observer.see(sequence, dt) if observer else 0
    except Warning as told:  # a filter makes errors of warnings
        _limits[number] = 0
        return _error(str(told))
    _limits[number] = limit
    return None


def _error(message: str) -> Any:
    args = np.zeros(1, xla_handler.XLA_FFI_Error_Create_Args)
    text = ctypes.create_string_buffer(message.encode())
    args["struct_size"], args["errc"] = args.itemsize, driver.INVALID_ARGUMENT
    args["message"] = ctypes.addressof(text)
    return xla_handler.create_error_of(args.ctypes.data)


def _at(address: int, kind: Any, count: int = 1) -> np.ndarray:
    """Return an array at an address, which shares its memory."""
    kind = np.dtype(kind)
    memory: Any = (ctypes.c_char * (kind.itemsize * int(count))).from_address(int(address))
    return np.frombuffer(memory, kind)
