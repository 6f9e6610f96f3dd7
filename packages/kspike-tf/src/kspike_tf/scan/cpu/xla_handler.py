"""Handlers of XLA's foreign function interface, which run scans in XLA programs.

This module relies on (tried with TensorFlow 2.18 and 2.21):

- ``XLA_FFI_GetApi`` in TensorFlow's library, with version 0.2 of the interface. The structures and
  constants below are named as in ``xla/ffi/api/c_api.h``, one of TensorFlow's header files. Each
  structure starts with its size, so that XLA knows which fields it has.
- ``tensorflow.compiler.tf2xla.python.xla.call_module``, an operation that holds a StableHLO module.
  Ours only calls a handler, for arguments of any shape.

TensorFlow before 2.21 does not export ``XLA_FFI_GetApi``. Where the function is missing or the
version differs, `is_possible` is false, and XLA compiles scans from TensorFlow operations.

The handlers are registered under their names when the package is imported, so that XLA can run a
compiled function that another process saved. Compiling them with Numba at import would take
seconds, so the registered functions are stubs: they compile `handle` if need be, and call it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import types
from tensorflow.compiler.tf2xla.python import xla

from kspike_tf.scan.cpu import compiled, driver, stablehlo
from kspike_tf.scan.cpu.driver import CALL, INT, MOST_ARGUMENTS, inside
from kspike_tf.scan.cpu.intrinsics import elements, record
from kspike_tf.scan.cpu.kernels import Kernel
from kspike_tf.scan.cpu.tensorflow_op import library

Tensor = Any

MODULE_VERSION = 9  # of XlaCallModule: the features that a module may use
XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR = 0, 2
XLA_FFI_Extension_Metadata = 1
XLA_FFI_DataType_F32, XLA_FFI_DataType_F64 = 11, 12
XLA_FFI_Error_Code_CANCELLED = 1


def _structure(*fields: Any) -> np.dtype:
    """Return a structure; fields without a dtype are 8-byte integers."""
    return np.dtype([(each, INT) if isinstance(each, str) else each for each in fields], align=True)


_HEAD = "struct_size", "extension_start"
XLA_FFI_Extension_Base = _structure("struct_size", ("type", np.int32), "next")
XLA_FFI_Metadata_Extension = _structure(("extension_base", XLA_FFI_Extension_Base), "metadata")
XLA_FFI_Api_Version = _structure(*_HEAD, ("major_version", np.int32), ("minor_version", np.int32))
XLA_FFI_Metadata = _structure("struct_size", ("api_version", XLA_FFI_Api_Version))
XLA_FFI_Buffer = _structure(*_HEAD, ("dtype", np.int32), "data", "rank", "dims")
XLA_FFI_Args = _structure(*_HEAD, "size", "types", "args")
XLA_FFI_Rets = _structure(*_HEAD, "size", "types", "rets")
XLA_FFI_CallFrame = _structure(
    *(*_HEAD, "api", "ctx", ("stage", np.int32), ("args", XLA_FFI_Args), ("rets", XLA_FFI_Rets))
)
XLA_FFI_Error_Create_Args = _structure(*_HEAD, "message", ("errc", np.int32))
XLA_FFI_ByteSpan = _structure("ptr", "len")
XLA_FFI_Handler_Bundle = _structure("instantiate", "prepare", "initialize", "execute")
XLA_FFI_Handler_Register_Args = _structure(
    *(*_HEAD, ("name", XLA_FFI_ByteSpan), ("platform", XLA_FFI_ByteSpan)),
    *(("bundle", XLA_FFI_Handler_Bundle), ("traits", np.uint32)),
)
XLA_FFI_Api = _structure(
    *(*_HEAD, ("api_version", XLA_FFI_Api_Version), "internal_api", "XLA_FFI_Error_Create"),
    *("XLA_FFI_Error_GetMessage", "XLA_FFI_Error_Destroy", "XLA_FFI_Handler_Register"),
)
create_error = types.ExternalFunction("XLA_FFI_Error_Create", types.intp(types.intp))
# The memory of one call: the driver's `CALL`, and an error.
STEP = _structure(("call", CALL), ("error", XLA_FFI_Error_Create_Args))
STEP_BYTES, ERROR = STEP.itemsize, driver.offset(STEP, "error")
ERROR_BYTES = XLA_FFI_Error_Create_Args.itemsize


def _error(code: int, message: str) -> int:
    """Return the address of the arguments that create an error."""
    args = np.zeros(1, XLA_FFI_Error_Create_Args)
    args["struct_size"], args["errc"], args["message"] = ERROR_BYTES, code, driver.text(message)
    compiled.keep(args)
    return args.ctypes.data


OUT_OF_MEMORY = _error(driver.RESOURCE_EXHAUSTED, "out of memory in a scan")
# Compilation runs Python code. In the main thread, Python may run a signal handler meanwhile; an
# exception that it raises can only be printed.
NOT_COMPILED = _error(
    XLA_FFI_Error_Code_CANCELLED,
    "compilation of a scan was interrupted or failed; see the error printed above",
)


def is_possible() -> bool:
    """Return whether XLA has accepted the handlers."""
    return ARE_KNOWN


def call(kernel: Kernel, args: Sequence[Tensor]) -> list[Tensor]:
    """Scan tensors in a function that XLA compiles; arguments as for `compiled.run`."""
    letter = compiled.letter(args[0].dtype)
    prepare(kernel, letter)
    like = list(args)[: kernel.results]
    kinds = tuple((compiled.letter(each.dtype), each.shape.rank) for each in args)
    return list(
        xla.call_module(
            args,
            version=MODULE_VERSION,
            module=stablehlo.module(_name(kernel, letter), kinds, len(like)),
            Tout=[each.dtype for each in like],
            Sout=[each.shape for each in like],
            platforms=["CPU"],
        )
    )


def _name(kernel: Kernel, letter: str) -> str:
    """Return the name of a scan's handler."""
    return f"kspike_tf.{kernel.name}.{stablehlo.TYPES[letter]}"


# Registration, when the package is imported

# LLVM IR of the handlers: each compiles the `handle` of its plan if need be, and calls it.
_ANSWER = """
define ptr @answer(ptr %frame, ptr %plan) {{
  %asking = getelementptr i8, ptr %frame, i64 {extension_start}
  %extension = load ptr, ptr %asking
  %asks = icmp ne ptr %extension, null
  br i1 %asks, label %describe, label %look
describe:
  call void inttoptr (i64 {describe} to ptr)(ptr %extension)
  ret ptr null
look:
  %place = getelementptr i8, ptr %plan, i64 {handle}
  %found = load atomic ptr, ptr %place acquire, align 8
  %is_there = icmp ne ptr %found, null
  br i1 %is_there, label %run, label %make
make:
  call void inttoptr (i64 {make} to ptr)(ptr %plan)
  %made = load atomic ptr, ptr %place acquire, align 8
  %is_made = icmp ne ptr %made, null
  br i1 %is_made, label %run, label %fail
fail:
  %error = call ptr inttoptr (i64 {create_error} to ptr)(ptr inttoptr (i64 {error} to ptr))
  ret ptr %error
run:
  %handle = phi ptr [%found, %look], [%made, %make]
  %result = call ptr %handle(ptr %frame, ptr %plan)
  ret ptr %result
}}
"""
_HANDLER = """
define ptr @handler{plan}(ptr %frame) {{
  %result = call ptr @answer(ptr %frame, ptr inttoptr (i64 {plan} to ptr))
  ret ptr %result
}}
"""


@cache
def api() -> Any:
    """Return XLA's interface, or None if it is missing or of another version."""
    get = getattr(library(), "XLA_FFI_GetApi", None)
    if get is None:
        return None
    get.restype = ctypes.c_void_p
    api = _at(get(), XLA_FFI_Api)
    version = api["api_version"]["major_version"], api["api_version"]["minor_version"]
    return api if version == (XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR) else None


def _at(address: int, kind: np.dtype) -> Any:
    """Return the structure at an address as a NumPy record."""
    memory: Any = (ctypes.c_char * kind.itemsize).from_address(int(address))
    return np.frombuffer(memory, kind)[0]


def register(plans: dict[str, int]) -> bool:
    """Register a handler for each plan (name: address); return whether XLA accepts them all."""
    if api() is None:
        return False
    engine = _handlers(plans.values())
    add = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(int(api()["XLA_FFI_Handler_Register"]))
    for name, plan in plans.items():
        args = np.zeros(1, XLA_FFI_Handler_Register_Args)
        args["struct_size"] = args.itemsize
        args["name"], args["platform"] = (driver.text(name), len(name)), (driver.text("Host"), 4)
        args["bundle"]["execute"] = engine.get_function_address(f"handler{plan}")
        if add(args.ctypes.data):  # the address of an error
            return False
    return True


def _handlers(plans: Iterable[int]) -> Any:
    """Compile the stubs, one per scan; return the engine that owns them."""
    answer = _ANSWER.format(
        extension_start=driver.offset(XLA_FFI_CallFrame, "extension_start"),
        handle=driver.offset(driver.PLAN, "handle"),
        describe=ctypes.cast(_describe, ctypes.c_void_p).value,
        make=ctypes.cast(_make, ctypes.c_void_p).value,
        create_error=api()["XLA_FFI_Error_Create"],
        error=NOT_COMPILED,
    )
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    module = llvm.parse_assembly(answer + "".join(_HANDLER.format(plan=each) for each in plans))
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    compiled.keep(engine, _describe, _make)
    return engine


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _describe(extension_at: int) -> None:
    """Tell XLA the version of the interface, for which it asks at registration."""
    extension = _at(extension_at, XLA_FFI_Metadata_Extension)
    if extension["extension_base"]["type"] == XLA_FFI_Extension_Metadata:
        version = _at(extension["metadata"], XLA_FFI_Metadata)["api_version"]
        version["major_version"], version["minor_version"] = XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _make(plan_at: int) -> None:
    """Compile the scan of a plan, for a program that was traced elsewhere."""
    for kind, plan in compiled.PLANS.items():
        if plan.ctypes.data == plan_at:
            prepare(*kind)


def prepare(kernel: Kernel, letter: str) -> None:
    """Compile a scan and its handler if need be."""
    compiled.prepare(kernel, letter)
    llvm.add_symbol(create_error.symbol, int(api()["XLA_FFI_Error_Create"]))
    compiled.PLANS[kernel, letter]["handle"] = compiled.compiled(handle, types.intp, 2)


# In machine code


def handle(frame_at: int, plan_at: int) -> int:
    """Scan the buffers of a call frame; return zero or the address of an error."""
    frame, step_at = record(frame_at, XLA_FFI_CallFrame), driver.calloc(1, STEP_BYTES)
    if step_at == 0:
        return create_error(OUT_OF_MEMORY)
    call, args, rets = record(step_at, CALL), frame.args, frame.rets
    call.arguments, call.results = args.size, rets.size
    describe(args.args, args.size, step_at + driver.ARGS, step_at + driver.SIZES)
    describe(rets.rets, rets.size, step_at + driver.OUTPUTS, step_at + driver.ROOMS)
    if args.size > 0:
        first = record(elements(args.args, 0, INT)[0], XLA_FFI_Buffer)
        call.axes = first.rank
        if first.rank == driver.AXES:
            lengths = elements(first.dims, 0, INT)
            call.batch, call.steps, call.units = lengths[0], lengths[1], lengths[2]
    failed, error_at = driver.run_scan(plan_at, step_at), 0
    if failed != 0:
        error = record(step_at + ERROR, XLA_FFI_Error_Create_Args)
        error.struct_size, error.message, error.errc = ERROR_BYTES, step_at + driver.MESSAGE, failed
        error_at = create_error(step_at + ERROR)
    driver.free(step_at)
    return error_at


@inside
def describe(buffers_at: int, count: int, data_at: int, sizes_at: int) -> None:
    """Store the addresses and sizes of buffers; sizes of buffers that are not floats are zero.

    The driver checks their number.
    """
    buffers = elements(buffers_at, 0, INT)
    data, sizes = elements(data_at, 0, INT), elements(sizes_at, 0, INT)
    for n in range(min(count, MOST_ARGUMENTS)):
        buffer = record(buffers[n], XLA_FFI_Buffer)
        size, lengths = 0, elements(buffer.dims, 0, INT)
        if buffer.dtype == XLA_FFI_DataType_F32:
            size = 4
        elif buffer.dtype == XLA_FFI_DataType_F64:
            size = 8
        for axis in range(buffer.rank):
            size *= lengths[axis]
        data[n], sizes[n] = buffer.data, size


ARE_KNOWN = register({_name(*kind): plan.ctypes.data for kind, plan in compiled.PLANS.items()})
