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

import llvmlite.binding as llvm
import numpy as np
from tensorflow.compiler.tf2xla.python import xla

from kspike_tf.scan.cpu import compiled, driver, xla_handler

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
# The arguments of a call are the sequence, dt and the observer's number.
_HANDLER = """
define ptr @handler(ptr %frame) {{
  %asking = getelementptr i8, ptr %frame, i64 {extension_start}
  %extension = load ptr, ptr %asking
  %asks = icmp ne ptr %extension, null
  br i1 %asks, label %show, label %look
look:
  %args_at = getelementptr i8, ptr %frame, i64 {args}
  %args = load ptr, ptr %args_at
  %sequence = load ptr, ptr %args
  %dims_at = getelementptr i8, ptr %sequence, i64 {dims}
  %dims = load ptr, ptr %dims_at
  %steps_at = getelementptr i64, ptr %dims, i64 1
  %steps = load i64, ptr %steps_at
  %third_at = getelementptr ptr, ptr %args, i64 2
  %third = load ptr, ptr %third_at
  %data_at = getelementptr i8, ptr %third, i64 {data}
  %data = load ptr, ptr %data_at
  %number = load i64, ptr %data
  %limit_at = getelementptr i64, ptr inttoptr (i64 {limits} to ptr), i64 %number
  %limit = load atomic i64, ptr %limit_at monotonic, align 8
  %is_short = icmp slt i64 %steps, %limit
  br i1 %is_short, label %show, label %done
show:
  %result = call ptr inttoptr (i64 {python} to ptr)(ptr %frame)
  ret ptr %result
done:
  ret ptr null
}}
"""


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
    frame, buffer = xla_handler.XLA_FFI_CallFrame, xla_handler.XLA_FFI_Buffer
    text = _HANDLER.format(
        extension_start=driver.offset(frame, "extension_start"),
        args=driver.offset(frame, "args") + driver.offset(xla_handler.XLA_FFI_Args, "args"),
        dims=driver.offset(buffer, "dims"),
        data=driver.offset(buffer, "data"),
        limits=_limits.ctypes.data,
        python=ctypes.cast(_show, ctypes.c_void_p).value,
    )
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(text), machine)
    engine.finalize_object()
    compiled.keep(engine, _show, _limits)
    args = np.zeros(1, xla_handler.XLA_FFI_Handler_Register_Args)
    args["struct_size"] = args.itemsize
    args["name"], args["platform"] = (driver.text(NAME), len(NAME)), (driver.text("Host"), 4)
    args["bundle"]["execute"] = engine.get_function_address("handler")
    return not _function("XLA_FFI_Handler_Register")(args.ctypes.data)


def _function(name: str) -> Any:
    """Return a function of XLA's interface that takes a structure and returns an error."""
    address = int(xla_handler.api()[name])
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(address)


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def _show(frame_at: int) -> Any:
    """Show the sequence of a call to its observer; return the address of an error or None."""
    frame = _at(frame_at, xla_handler.XLA_FFI_CallFrame)[0]
    if frame["extension_start"]:
        _describe(frame["extension_start"])
        return None
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


def _describe(extension_at: int) -> None:
    """Tell XLA the version of the interface, for which it asks at registration."""
    extension = _at(extension_at, xla_handler.XLA_FFI_Metadata_Extension)[0]
    if extension["extension_base"]["type"] == xla_handler.XLA_FFI_Extension_Metadata:
        version = _at(extension["metadata"], xla_handler.XLA_FFI_Metadata)["api_version"]
        version["major_version"] = xla_handler.XLA_FFI_API_MAJOR
        version["minor_version"] = xla_handler.XLA_FFI_API_MINOR


def _error(message: str) -> Any:
    args = np.zeros(1, xla_handler.XLA_FFI_Error_Create_Args)
    text = ctypes.create_string_buffer(message.encode())
    args["struct_size"], args["errc"] = args.itemsize, driver.INVALID_ARGUMENT
    args["message"] = ctypes.addressof(text)
    return _function("XLA_FFI_Error_Create")(args.ctypes.data)


def _at(address: int, kind: Any, count: int = 1) -> np.ndarray:
    """Return an array at an address, which shares its memory."""
    kind = np.dtype(kind)
    memory: Any = (ctypes.c_char * (kind.itemsize * int(count))).from_address(int(address))
    return np.frombuffer(memory, kind)
