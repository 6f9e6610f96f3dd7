"""Scans as operations in TensorFlow graphs: labelled kernels, registered through the C API.

This module relies on (tried with TensorFlow 2.18 and 2.21):

- the functions `NAMES` in ``libtensorflow_framework``, which ``tensorflow/c/kernels.h`` and
  ``tf_tensor.h`` declare for plug-ins;
- the operation ``PyFuncStateless``, which is in every TensorFlow and takes any arguments and
  results. A graph with an operation of our own could not be loaded without kspike_tf;
- the attribute ``_kernel``, with which an operation requests the kernel that has a given label.

If a function is missing, `is_possible` is false, and scans consist of TensorFlow operations.

TensorFlow calls machine code, which finds the tensors' memory and calls the driver. No Python runs
in a step; it would take several times as long as the scan of a small layer.
"""

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import tensorflow as tf
from numba import types
from tensorflow.core.framework import attr_value_pb2

from kspike_tf.scan.cpu import compiled, driver
from kspike_tf.scan.cpu.driver import ERRORS_AT, INT, MOST_ARGUMENTS, RUN, inside
from kspike_tf.scan.cpu.intrinsics import elements, record
from kspike_tf.scan.cpu.kernels import Kernel

Tensor = Any

OPERATION = "PyFuncStateless"
TF_FLOAT, TF_DOUBLE = 1, 2
MOST_AXES = 4  # that fit into a STEP

# The driver's `RUN`; the handles of arguments and results; the lengths of a tensor's axes.
STEP = driver.structure(
    ("run", RUN), ("tensors", INT, 2 * MOST_ARGUMENTS), ("lengths", INT, MOST_AXES)
)
STEP_BYTES = STEP.itemsize
TENSORS, LENGTHS = driver.offset(STEP, "tensors"), driver.offset(STEP, "lengths")


def _function(name: str, arguments: int, result: Any = types.intp) -> Any:
    """Declare a function of TensorFlow's C API for machine code; all arguments are ``intp``."""
    return types.ExternalFunction(name, result(*[types.intp] * arguments))


allocate_output = _function("TF_AllocateOutput", 7)
delete_status = _function("TF_DeleteStatus", 1, types.void)
delete_tensor = _function("TF_DeleteTensor", 1, types.void)
length_of_axis = _function("TF_Dim", 2)
output_type = _function("TF_ExpectedOutputDataType", 2, types.int32)
get_input = _function("TF_GetInput", 4, types.void)
input_type = _function("TF_InputDatatype", 2, types.int32)
new_status = _function("TF_NewStatus", 0)
number_of_axes = _function("TF_NumDims", 1, types.int32)
number_of_inputs = _function("TF_NumInputs", 1, types.int32)
number_of_outputs = _function("TF_NumOutputs", 1, types.int32)
fail = _function("TF_OpKernelContext_Failure", 2, types.void)
set_status = _function("TF_SetStatus", 3, types.void)
bytes_of = _function("TF_TensorByteSize", 1)
memory_of = _function("TF_TensorData", 1)
IN_A_STEP = tuple(
    each.symbol
    for each in list(globals().values())
    if isinstance(each, types.ExternalFunction) and each.symbol.startswith("TF_")
)
NAMES = (
    *IN_A_STEP,
    *("TF_GetCode", "TF_KernelBuilder_Label", "TF_Message", "TF_NewKernelBuilder"),
    "TF_RegisterKernelBuilder",
)


@cache
def library() -> Any:
    """Return the library with TensorFlow's and XLA's C APIs, or None if it is not found."""
    found = list(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework*"))
    return ctypes.CDLL(str(found[0])) if found else None


def is_possible() -> bool:
    """Return whether this TensorFlow has all the functions that registration needs."""
    return all(hasattr(library(), name) for name in NAMES)


def call(kernel: Kernel, args: Sequence[Tensor]) -> list[Tensor]:
    """Scan tensors in a graph that runs in this process only; arguments as for `choose.run`."""
    label = registered(kernel, args[0].dtype.name)
    kinds = [each.dtype for each in args[: kernel.results]]
    found = tf.raw_ops.PyFuncStateless(input=list(args), token=label, Tout=kinds)
    found[0].op._set_attr("_kernel", attr_value_pb2.AttrValue(s=label.encode()))
    return list(found)


@cache
def registered(kernel: Kernel, kind: str) -> str:
    """Register a kernel with TensorFlow; return its label."""
    # Labels are random, so that they are unique even if two threads register at once, and so that
    # no saved file can contain one.
    label = f"kspike_tf.{kernel.name}.{kind}.{uuid.uuid4().hex}"
    plan = compiled.prepare(kernel, kind)
    for name in IN_A_STEP:
        llvm.add_symbol(name, address(name))
    create = compiled.compiled(lambda _: plan, types.intp, 1)
    work = compiled.compiled(compute, types.void, 2)
    make = function("TF_NewKernelBuilder", c_void_p, c_char_p, c_char_p, *[c_void_p] * 3)
    builder = make(OPERATION.encode(), b"CPU", create, work, None)
    function("TF_KernelBuilder_Label", None, c_void_p, c_char_p)(builder, label.encode())
    register = function("TF_RegisterKernelBuilder", None, c_char_p, c_void_p, c_void_p)
    status = function("TF_NewStatus", c_void_p)()
    register(label.encode(), builder, status)
    failed = function("TF_GetCode", c_int, c_void_p)(status)
    message = function("TF_Message", c_char_p, c_void_p)(status)
    function("TF_DeleteStatus", None, c_void_p)(status)
    if failed:
        raise RuntimeError(f"TensorFlow rejected the kernel {label}: {message.decode()}")
    return label


def function(name: str, result: Any, *args: Any) -> Any:
    """Return a function of TensorFlow's C API as a Python callable."""
    return ctypes.CFUNCTYPE(result, *args)(address(name))


def address(name: str) -> int:
    """Return the address of a function in TensorFlow's library."""
    return ctypes.cast(getattr(library(), name), c_void_p).value or 0


# In machine code


def compute(plan_at: int, context: int) -> None:
    """Scan the inputs of an operation; TensorFlow passes the plan as the kernel's own state."""
    status, step_at, failed = new_status(), driver.calloc(1, STEP_BYTES), driver.NO_MEMORY
    if step_at != 0:
        if take_inputs(context, step_at, status) and make_outputs(context, step_at, status):
            failed = driver.run_scan(plan_at, step_at)
        tensors = elements(step_at + TENSORS, 0, INT)
        for n in range(2 * MOST_ARGUMENTS):
            if tensors[n] != 0:
                delete_tensor(tensors[n])
    if failed != 0:
        error = elements(ERRORS_AT, 2 * failed, INT)
        set_status(status, error[0], error[1])
        fail(context, status)
    driver.free(step_at)
    delete_status(status)


@inside
def take_inputs(context: int, step_at: int, status: int) -> bool:
    """Store the addresses and sizes of the inputs; return whether TensorFlow provides all of them.

    The driver checks their number. Sizes of inputs that are not floats are zero.
    """
    run, tensors = record(step_at, RUN), elements(step_at + TENSORS, 0, INT)
    data, sizes = elements(step_at + driver.ARGS, 0, INT), elements(step_at + driver.SIZES, 0, INT)
    run.arguments, run.results = number_of_inputs(context), number_of_outputs(context)
    for n in range(min(run.arguments, MOST_ARGUMENTS)):
        get_input(context, n, step_at + TENSORS + n * driver.WORD, status)
        if tensors[n] == 0:
            return False
        data[n], kind = memory_of(tensors[n]), input_type(context, n)
        sizes[n] = bytes_of(tensors[n]) if TF_FLOAT <= kind <= TF_DOUBLE else 0
    if run.arguments > 0:
        run.axes = number_of_axes(tensors[0])
        if run.axes == driver.AXES:
            run.batch, run.steps = length_of_axis(tensors[0], 0), length_of_axis(tensors[0], 1)
            run.units = length_of_axis(tensors[0], 2)
    return True


@inside
def make_outputs(context: int, step_at: int, status: int) -> bool:
    """Allocate outputs with the types and shapes of the first inputs; return whether it worked."""
    run, tensors = record(step_at, RUN), elements(step_at + TENSORS, 0, INT)
    data = elements(step_at + driver.OUTPUTS, 0, INT)
    rooms = elements(step_at + driver.ROOMS, 0, INT)
    lengths = elements(step_at + LENGTHS, 0, INT)
    for n in range(min(min(run.arguments, run.results), MOST_ARGUMENTS)):
        like, kind = tensors[n], input_type(context, n)
        axes, size = min(number_of_axes(like), MOST_AXES), bytes_of(like)
        for axis in range(axes):
            lengths[axis] = length_of_axis(like, axis)
        made = allocate_output(context, n, kind, step_at + LENGTHS, axes, size, status)
        if made == 0:
            return False
        tensors[MOST_ARGUMENTS + n], data[n] = made, memory_of(made)
        rooms[n] = size if kind == output_type(context, n) else 0
    return True
