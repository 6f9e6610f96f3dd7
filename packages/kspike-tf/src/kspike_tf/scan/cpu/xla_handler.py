"""Scans in programs that XLA compiles: handlers of its foreign function interface.

What this relies on (tried with TensorFlow 2.18 and 2.21):

- ``XLA_FFI_GetApi`` in TensorFlow's library, with version 0.2 of the interface; the structures and
  constants below have their names from ``xla/ffi/api/c_api.h`` among TensorFlow's header files, and
  begin with their size, by which XLA knows how much of them there is;
- ``tensorflow.compiler.tf2xla.python.xla.call_module``, an operation whose contents XLA takes as
  they are, a module of StableHLO: ours is just the call of a handler, for any shape.

TensorFlow before 2.21 does not export the function. Where it or the version is missing,
`is_possible` is false, and XLA compiles scans from TensorFlow operations.

XLA knows handlers by their names from when the package is imported: so it can run a compiled
function that was saved elsewhere. To compile them with Numba would make each import longer; so what
is registered only calls `handle`, and has it compiled when it is not yet.
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

MODULE_VERSION = 9  # of XlaCallModule: what it may contain
XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR = 0, 2
XLA_FFI_Extension_Metadata = 1
XLA_FFI_DataType_F32, XLA_FFI_DataType_F64 = 11, 12
XLA_FFI_Error_Code_CANCELLED = 1


def _structure(*fields: Any) -> np.dtype:
    """Return a structure whose fields are 8 bytes long, where nothing else is said."""
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
# What machine code needs in a call: what the driver takes, and an error.
STEP = _structure(("call", CALL), ("error", XLA_FFI_Error_Create_Args))
STEP_BYTES, ERROR = STEP.itemsize, driver.offset(STEP, "error")
ERROR_BYTES = XLA_FFI_Error_Create_Args.itemsize


def _error(code: int, message: str) -> int:
    """Return the address of what makes an error."""
    args = np.zeros(1, XLA_FFI_Error_Create_Args)
    args["struct_size"], args["errc"], args["message"] = ERROR_BYTES, code, driver.text(message)
    compiled.keep(args)
    return args.ctypes.data


OUT_OF_MEMORY = _error(driver.RESOURCE_EXHAUSTED, "no memory for a scan")
# In the main thread Python runs handlers of signals wherever it is, and prints what they raise.
NOT_COMPILED = _error(XLA_FFI_Error_Code_CANCELLED, "interrupted, or failed, as printed before")


def is_possible() -> bool:
    """Return whether XLA knows our handlers."""
    return ARE_KNOWN


def call(kernel: Kernel, args: Sequence[Tensor]) -> list[Tensor]:
    """Scan tensors of a function that XLA compiles.

    Parameters
    ----------
    kernel : Kernel
        What is scanned.
    args : sequence of tf.Tensor
        As `compiled.run` takes them.

    Returns
    -------
    list of tf.Tensor
        The results; of the types and shapes of as many arguments, in their order.
    """
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
    """Return the name by which programs call a scan."""
    return f"kspike_tf.{kernel.name}.{stablehlo.TYPES[letter]}"


# Registration, when the package is imported

# Machine code of the handlers: a plan's is `handle`, once that is compiled.
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
    """Return the interface, or None where there is none of our version."""
    get = getattr(library(), "XLA_FFI_GetApi", None)
    if get is None:
        return None
    get.restype = ctypes.c_void_p
    api = _at(get(), XLA_FFI_Api)
    version = api["api_version"]["major_version"], api["api_version"]["minor_version"]
    return api if version == (XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR) else None


def _at(address: int, kind: np.dtype) -> Any:
    """Return the structure at an address, for Python."""
    memory: Any = (ctypes.c_char * kind.itemsize).from_address(int(address))
    return np.frombuffer(memory, kind)[0]


def register(plans: dict[str, int]) -> bool:
    """Let XLA's programs on this machine's processor call scans.

    Parameters
    ----------
    plans : dict of str to int
        Addresses of plans, by the names that programs call scans by.

    Returns
    -------
    bool
        Whether they can.
    """
    if api() is None:
        return False
    engine = _handlers(plans.values())
    add = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(int(api()["XLA_FFI_Handler_Register"]))
    for name, plan in plans.items():
        args = np.zeros(1, XLA_FFI_Handler_Register_Args)
        args["struct_size"] = args.itemsize
        args["name"], args["platform"] = (driver.text(name), len(name)), (driver.text("Host"), 4)
        args["bundle"]["execute"] = engine.get_function_address(f"handler{plan}")
        if add(args.ctypes.data):  # which gives the address of an error
            return False
    return True


def _handlers(plans: Iterable[int]) -> Any:
    """Return an engine with machine code that XLA calls, a function for each scan."""
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
    """Tell XLA, which asks when we register, for which version we are written."""
    extension = _at(extension_at, XLA_FFI_Metadata_Extension)
    if extension["extension_base"]["type"] == XLA_FFI_Extension_Metadata:
        version = _at(extension["metadata"], XLA_FFI_Metadata)["api_version"]
        version["major_version"], version["minor_version"] = XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _make(plan_at: int) -> None:
    """Compile what a program calls that was traced elsewhere."""
    for kind, plan in compiled.PLANS.items():
        if plan.ctypes.data == plan_at:
            prepare(*kind)


def prepare(kernel: Kernel, letter: str) -> None:
    """Compile a scan for XLA, if it has not been."""
    compiled.prepare(kernel, letter)
    compiled.PLANS[kernel, letter]["handle"] = _compiled_handle()


@cache
def _compiled_handle() -> int:
    llvm.add_symbol(create_error.symbol, int(api()["XLA_FFI_Error_Create"]))
    return compiled.compiled(handle, types.intp, 2)


# In machine code


def handle(frame_at: int, plan_at: int) -> int:
    """Scan the buffers of a frame, by a plan; return zero, or the address of an error."""
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
    """Write down the memory of buffers, and their bytes: none, of others than floats.

    The driver refuses more of them, or fewer, than it expects.
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
