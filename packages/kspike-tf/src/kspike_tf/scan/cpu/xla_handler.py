"""The handler of XLA's foreign function interface that runs scans in XLA programs.

This module relies on (tried with TensorFlow 2.18 and 2.21):

- ``XLA_FFI_GetApi`` in TensorFlow's library, with version 0.2 of the interface. The structures and
  constants below are named as in ``xla/ffi/api/c_api.h``, one of TensorFlow's header files. Each
  structure starts with its size, so that XLA knows which fields it has.
- ``tensorflow.compiler.tf2xla.python.xla.call_module``, an operation that holds a StableHLO module.
  Ours only calls a handler, for arguments of any shape.

TensorFlow before 2.21 does not export ``XLA_FFI_GetApi``. Where the function is missing or the
version differs, `is_possible` is false, and XLA compiles scans from TensorFlow operations.

One handler serves all scans. A program names its scan by a number (`place`) in an attribute, and
may name an observer there, too (`kspike_tf.scan.cpu.observers`). The handler is registered when the
package is imported, so that XLA can run a compiled function that another process saved. Before it
runs a program, XLA calls `_instantiate`, which compiles the scan if need be.
"""

from __future__ import annotations

import ctypes
import math
import traceback
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numba import types
from tensorflow.compiler.tf2xla.python import xla

from kspike_tf.scan.cpu import compiled, driver, intrinsics, observers, stablehlo
from kspike_tf.scan.cpu.driver import DOUBLE, INT, MOST_ARGUMENTS, PLAN, RUN, inside, structure
from kspike_tf.scan.cpu.intrinsics import elements, record
from kspike_tf.scan.cpu.kernels import KERNELS, Kernel
from kspike_tf.scan.cpu.tensorflow_op import library

Tensor = Any

NAME = "kspike_tf.scan"
MODULE_VERSION = 9  # of XlaCallModule: the features that a module may use
XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR = 0, 2
XLA_FFI_AttrType_SCALAR, XLA_FFI_DataType_S64 = 3, 5
XLA_FFI_DataType_F32, XLA_FFI_DataType_F64 = 11, 12
XLA_FFI_Extension_Metadata = 1

_HEAD = "struct_size", "extension_start"
XLA_FFI_Extension_Base = structure("struct_size", ("type", np.int32), "next")
XLA_FFI_Metadata_Extension = structure(("extension_base", XLA_FFI_Extension_Base), "metadata")
XLA_FFI_Api_Version = structure(*_HEAD, ("major_version", np.int32), ("minor_version", np.int32))
XLA_FFI_Metadata = structure("struct_size", ("api_version", XLA_FFI_Api_Version))
XLA_FFI_Buffer = structure(*_HEAD, ("dtype", np.int32), "data", "rank", "dims")
XLA_FFI_Args = structure(*_HEAD, "size", "types", "args")
XLA_FFI_Rets = structure(*_HEAD, "size", "types", "rets")
XLA_FFI_Attrs = structure(*_HEAD, "size", "types", "names", "attrs")
XLA_FFI_Scalar = structure(("dtype", np.int32), "value")
XLA_FFI_CallFrame = structure(
    *(*_HEAD, "api", "ctx", ("stage", np.int32), ("args", XLA_FFI_Args), ("rets", XLA_FFI_Rets)),
    ("attrs", XLA_FFI_Attrs),
)
XLA_FFI_Error_Create_Args = structure(*_HEAD, "message", ("errc", np.int32))
XLA_FFI_ByteSpan = structure("ptr", "len")
XLA_FFI_Handler_Bundle = structure("instantiate", "prepare", "initialize", "execute")
XLA_FFI_Handler_Register_Args = structure(
    *(*_HEAD, ("name", XLA_FFI_ByteSpan), ("platform", XLA_FFI_ByteSpan)),
    *(("bundle", XLA_FFI_Handler_Bundle), ("traits", np.uint32)),
)
XLA_FFI_Api = structure(
    *(*_HEAD, ("api_version", XLA_FFI_Api_Version), "internal_api", "XLA_FFI_Error_Create"),
    *("XLA_FFI_Error_GetMessage", "XLA_FFI_Error_Destroy", "XLA_FFI_Handler_Register"),
)
create_error = types.ExternalFunction("XLA_FFI_Error_Create", types.intp(types.intp))

# The arguments that create each of the driver's errors.
_errors = np.zeros(len(driver.ERRORS), XLA_FFI_Error_Create_Args)
_errors["struct_size"] = _errors.itemsize
_errors["errc"], _errors["message"] = driver.ERRORS.T
ERRORS_AT, ERROR_BYTES = _errors.ctypes.data, _errors.itemsize
# What XLA calls: `_describe` at first, and `handle` as soon as it is compiled.
_handler = np.zeros(1, INT)
HANDLER_AT = _handler.ctypes.data
# Addresses of compiled plans.
PLACES = 2**16
_plans = np.zeros(PLACES, INT)
PLANS_AT, LIMITS_AT = _plans.ctypes.data, observers.limits.ctypes.data
driver.keep(_errors, _handler, _plans)
RUN_BYTES, KIND = RUN.itemsize, np.dtype(np.int32)


def is_possible() -> bool:
    """Return whether XLA has accepted the handler."""
    return IS_KNOWN


def call(kernel: Kernel, args: Sequence[Tensor], observer: int = 0) -> list[Tensor]:
    """Scan tensors in a function that XLA compiles; arguments as for `choose.run`."""
    kind = args[0].dtype.name
    prepare(kernel, kind)
    number = observer * PLACES + place(kernel.name, kind)
    like = list(args)[: kernel.results]
    kinds = tuple((each.dtype.name, each.shape.rank) for each in args)
    return list(
        xla.call_module(
            args,
            version=MODULE_VERSION,
            module=stablehlo.module(NAME, number, kinds, len(like)),
            Tout=[each.dtype for each in like],
            Sout=[each.shape for each in like],
            platforms=["CPU"],
        )
    )


def place(name: str, kind: str) -> int:
    """Return the number by which programs name a scan: the same in every process and version."""
    return zlib.crc32(f"{name}.{kind}".encode()) % PLACES


def prepare(kernel: Kernel, kind: str) -> None:
    """Compile a scan and the handler if need be."""
    number, plan = place(kernel.name, kind), compiled.prepare(kernel, kind)
    if _plans[number] not in (0, plan):
        raise RuntimeError(
            f"a kernel named {kernel.name!r}, or one with the same number, {number}, is already in "
            "use under XLA: restart Python, or rename the kernel"
        )
    _plans[number] = plan
    _handler[0] = compiled.compiled(handle, types.intp, 3)


# Registration, when the package is imported


@cache
def api() -> Any:
    """Return XLA's interface, or None if it is missing or of another version."""
    get = getattr(library(), "XLA_FFI_GetApi", None)
    if get is None:
        return None
    get.restype = ctypes.c_void_p
    api = array_at(get(), XLA_FFI_Api)[0]
    version = api["api_version"]["major_version"], api["api_version"]["minor_version"]
    return api if version == (XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR) else None


def array_at(address: int, kind: Any, count: int = 1) -> np.ndarray:
    """Return an array at an address, which shares its memory."""
    kind = np.dtype(kind)
    memory: Any = (ctypes.c_char * (kind.itemsize * int(count))).from_address(int(address))
    return np.frombuffer(memory, kind)


def function_at(address: int) -> Any:
    """Return the function at an address, which takes an address and returns another or None."""
    return ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(int(address))


def register(name: str) -> bool:
    """Register the handler; return whether XLA accepts it."""
    if api() is None:
        return False
    llvm.add_symbol(create_error.symbol, int(api()["XLA_FFI_Error_Create"]))
    args = np.zeros(1, XLA_FFI_Handler_Register_Args)
    args["struct_size"] = args.itemsize
    args["name"], args["platform"] = (driver.text(name), len(name)), (driver.text("Host"), 4)
    args["bundle"]["instantiate"] = INSTANTIATE_AT
    args["bundle"]["execute"] = compiled.compiled(execute, types.intp, 1)
    return not function_at(api()["XLA_FFI_Handler_Register"])(args.ctypes.data)


def described(frame_at: int) -> bool:
    """Tell XLA the version of the interface if it asks, at registration; return whether it did."""
    extension_at = array_at(frame_at, XLA_FFI_CallFrame)[0]["extension_start"]
    if extension_at:
        extension = array_at(extension_at, XLA_FFI_Metadata_Extension)[0]
        if extension["extension_base"]["type"] == XLA_FFI_Extension_Metadata:
            version = array_at(extension["metadata"], XLA_FFI_Metadata)[0]["api_version"]
            version["major_version"] = XLA_FFI_API_MAJOR
            version["minor_version"] = XLA_FFI_API_MINOR
    return bool(extension_at)


def error(row: int) -> Any:
    """Return the address of one of the driver's errors."""
    return function_at(api()["XLA_FFI_Error_Create"])(ERRORS_AT + row * ERROR_BYTES)


# Called by XLA and by machine code


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def _describe(frame_at: int) -> Any:
    """Stand in for `handle` until it is compiled."""
    return None if described(frame_at) else error(driver.NOT_COMPILED)


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def _instantiate(frame_at: int) -> Any:
    """Compile the scan of a program that XLA is going to run."""
    if described(frame_at):
        return None
    try:
        number = function_at(compiled.compiled(number_in.py_func, types.intp, 1))(frame_at) or 0
        found = [
            (kernel, kind)
            for name, kernel in list(KERNELS.items())  # other threads may define kernels
            for kind in stablehlo.TYPES
            if place(name, kind) == number % PLACES
        ]
        for kernel, kind in found:
            prepare(kernel, kind)
    except BaseException:
        # Python may run a signal handler here, which interrupts; XLA cannot pass exceptions on.
        traceback.print_exc()
        return error(driver.NOT_COMPILED)
    # The number 0 stands for none; `handle` refuses it.
    return None if found or not number else error(driver.NOT_DEFINED)


@ctypes.CFUNCTYPE(*[ctypes.c_int64] * 4)
def _show(run_at: int, index: int, size: int) -> int:
    """Show the sequence of a scan to an observer; return zero or the address of an error."""
    try:
        run = array_at(run_at, RUN)[0]
        shape = tuple(int(run[name]) for name in ("batch", "steps", "units"))
        x = array_at(run["args"][0], f"f{size}", math.prod(shape)).reshape(shape)
        observers.show(index, x, float(array_at(run["args"][2], DOUBLE)[0]))
    except BaseException as failure:
        # A filter makes errors of warnings. XLA cannot pass any exception on.
        if not isinstance(failure, Warning):
            traceback.print_exc()
        message = str(failure) or type(failure).__name__
        text = ctypes.create_string_buffer(message.encode(errors="replace"))
        args = np.zeros_like(_errors[:1])
        args["struct_size"], args["errc"] = args.itemsize, driver.INVALID_ARGUMENT
        args["message"] = ctypes.addressof(text)
        return function_at(api()["XLA_FFI_Error_Create"])(args.ctypes.data) or 0
    return 0


driver.keep(_describe, _instantiate, _show)
DESCRIBE_AT, INSTANTIATE_AT, SHOW_AT = (
    ctypes.cast(each, ctypes.c_void_p).value or 0 for each in (_describe, _instantiate, _show)
)
_handler[0] = DESCRIBE_AT


# In machine code


def execute(frame_at: int) -> int:
    """Call the handler; compiled when the package is imported, so it is short."""
    return intrinsics.call(elements(HANDLER_AT, 0, INT)[0], frame_at, 0, 0)


def handle(frame_at: int, _second: int, _third: int) -> int:
    """Scan the buffers of a call frame; return zero or the address of an error."""
    frame = record(frame_at, XLA_FFI_CallFrame)
    if frame.extension_start != 0:
        return intrinsics.call(DESCRIBE_AT, frame_at, 0, 0)
    run_at, failed, shown = driver.calloc(1, RUN_BYTES), driver.NO_MEMORY, 0
    if run_at != 0:
        run, args, rets = record(run_at, RUN), frame.args, frame.rets
        run.arguments, run.results = args.size, rets.size
        describe(args.args, args.size, run_at + driver.ARGS, run_at + driver.SIZES)
        describe(rets.rets, rets.size, run_at + driver.OUTPUTS, run_at + driver.ROOMS)
        if args.size > 0:
            first = record(elements(args.args, 0, INT)[0], XLA_FFI_Buffer)
            run.axes = first.rank
            if first.rank == driver.AXES:
                lengths = elements(first.dims, 0, INT)
                run.batch, run.steps, run.units = lengths[0], lengths[1], lengths[2]
        number = number_in(frame_at)
        plan_at = elements(PLANS_AT, number % PLACES, INT)[0]
        failed = driver.run_scan(plan_at, run_at) if plan_at != 0 else driver.MISFIT
        if failed == 0:
            shown = observed(plan_at, run_at, number // PLACES)
    driver.free(run_at)
    return create_error(ERRORS_AT + failed * ERROR_BYTES) if failed != 0 else shown


@inside
def number_in(frame_at: int) -> int:
    """Return the number that a program names its scan and observer by, or zero."""
    attrs = record(frame_at, XLA_FFI_CallFrame).attrs
    if attrs.size != 1 or elements(attrs.types, 0, KIND)[0] != XLA_FFI_AttrType_SCALAR:
        return 0
    scalar = record(elements(attrs.attrs, 0, INT)[0], XLA_FFI_Scalar)
    if scalar.dtype != XLA_FFI_DataType_S64:
        return 0
    return elements(scalar.value, 0, INT)[0]


@inside
def observed(plan_at: int, run_at: int, observer: int) -> int:
    """Show a scan to an observer unless it has as many steps as the observer's limit.

    Do not trust the number: programs may come from files. One that belongs to another process is
    of another layer. Arguments of shared weights are scalars, and the first one is dt.
    """
    plan, run = record(plan_at, PLAN), record(run_at, RUN)
    if observer // observers.MOST != observers.PROCESS or plan.shared * run.size == 0:
        return 0
    index = observer % observers.MOST
    if run.steps >= elements(LIMITS_AT, index, INT)[0]:
        return 0
    return intrinsics.call(SHOW_AT, run_at, index, plan.bytes)


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


IS_KNOWN = register(NAME)
