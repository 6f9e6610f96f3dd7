"""Scans as operations of TensorFlow's graphs: kernels registered through its C API for plugins.

``tensorflow/c/kernels.h`` among TensorFlow's header files describes the functions. What TensorFlow
calls is machine code: it gets the tensors' memory and calls the driver of scans. So no Python runs
in a step, which would take several times as long as the scan of a small layer.

An operation of our own could not even be loaded where kspike_tf has not been imported. So it is one
that TensorFlow has everywhere, `PyFuncStateless`, with any arguments and results. Its kernels have
labels, by which an operation asks for one that is not the usual: ours are for labels of ours.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf
from llvmlite import ir
from tensorflow.core.framework import attr_value_pb2

from kspike_tf.scan import code, driver, program
from kspike_tf.scan.code import NOTHING, NUMBER, POINTER, WORD
from kspike_tf.scan.formulas import Recurrence

Tensor = Any

OPERATION = "PyFuncStateless"
MOST_ARGUMENTS, MOST_AXES = 8, 4  # as many as there is room for
NAMES = (
    "TF_AllocateOutput",
    "TF_DeleteStatus",
    "TF_DeleteTensor",
    "TF_Dim",
    "TF_GetCode",
    "TF_GetInput",
    "TF_InputDatatype",
    "TF_KernelBuilder_Label",
    "TF_Message",
    "TF_NewKernelBuilder",
    "TF_NewStatus",
    "TF_NumDims",
    "TF_NumInputs",
    "TF_NumOutputs",
    "TF_OpKernelContext_Failure",
    "TF_RegisterKernelBuilder",
    "TF_SetStatus",
    "TF_TensorByteSize",
    "TF_TensorData",
)


@cache
def _library() -> dict[str, Any] | None:
    """Return the functions of the C API, or None where one is missing."""
    try:
        path = next(Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework*"))
        library = ctypes.CDLL(str(path))
        return {name: getattr(library, name) for name in NAMES}
    except (StopIteration, OSError, AttributeError):
        return None


def is_possible() -> bool:
    """Return whether this version of TensorFlow takes kernels from us."""
    return _library() is not None


def call(recurrence: Recurrence, args: Sequence[Tensor]) -> list[Tensor]:
    """Scan tensors of a graph, which runs in this process only.

    Parameters
    ----------
    recurrence : Recurrence
        What is done in a step.
    args : sequence of tf.Tensor
        As `program.run` takes them.

    Returns
    -------
    list of tf.Tensor
        The results; of the types and shapes of as many arguments, in their order.
    """
    label = _registered(recurrence, code.letter(args[0].dtype))
    like = list(args)[: recurrence.results]
    types = [each.dtype for each in like]
    found = tf.raw_ops.PyFuncStateless(input=list(args), token=label, Tout=types)
    found[0].op._set_attr("_kernel", attr_value_pb2.AttrValue(s=label.encode()))
    for each, argument in zip(found, like, strict=True):
        each.set_shape(argument.shape)
    return list(found)


@cache
def _registered(recurrence: Recurrence, letter: str) -> str:
    """Return the label of a kernel, which TensorFlow knows from then on."""
    label = f"kspike_tf.{recurrence.name}.{letter}"
    engine, number = _machine_code(), list(program.PLANS).index((recurrence, letter))
    create, compute = map(engine.get_function_address, (f"create{number}", "compute"))
    make = _function("TF_NewKernelBuilder", c_void_p, c_char_p, c_char_p, *[c_void_p] * 3)
    builder = make(OPERATION.encode(), b"CPU", create, compute, None)
    _function("TF_KernelBuilder_Label", None, c_void_p, c_char_p)(builder, label.encode())
    register = _function("TF_RegisterKernelBuilder", None, c_char_p, c_void_p, c_void_p)
    status = _function("TF_NewStatus", c_void_p)()
    register(label.encode(), builder, status)
    failed = _function("TF_GetCode", c_int, c_void_p)(status)
    message = _function("TF_Message", c_char_p, c_void_p)(status)
    _function("TF_DeleteStatus", None, c_void_p)(status)
    if failed:
        raise RuntimeError(f"TensorFlow does not take the kernel {label}: {message.decode()}")
    return label


def _function(name: str, result: Any, *args: Any) -> Any:
    kind = ctypes.CFUNCTYPE(result, *args)
    return kind(code.address_of((_library() or {})[name]))


# In machine code


class _Api:
    """Writes calls of the C API."""

    def __init__(self, b: Any) -> None:
        self.b = b

    def call(self, name: str, kind: Any, *args: Any) -> Any:
        kinds = [each.type for each in args]
        address = code.address_of((_library() or {})[name])
        function = code.function_at(self.b, address, kind, kinds)
        return self.b.call(function, args)


@cache
def _machine_code() -> Any:
    """Return the engine of machine code that makes kernels and runs them."""
    module = ir.Module("kspike_tf_operations")
    for number, kind in enumerate(program.PLANS):
        create = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), f"create{number}")
        b = ir.IRBuilder(create.append_basic_block())
        # What TensorFlow takes for the kernel's memory is the plan of its scan.
        b.ret(b.inttoptr(WORD(program.address(*kind)), POINTER))
    _write_compute(module)
    return code.compiled(module, 0)


def _write_compute(module: Any) -> None:
    """Write what runs a kernel: it is given the scan's plan, and TensorFlow's context."""
    compute = ir.Function(module, ir.FunctionType(NOTHING, [POINTER, POINTER]), "compute")
    b = ir.IRBuilder(compute.append_basic_block())
    api = _Api(b)
    plan, context = compute.args
    status = api.call("TF_NewStatus", POINTER)
    inputs, outputs, data, found = (code.room(b, POINTER, MOST_ARGUMENTS) for _ in range(4))
    sizes, rooms = (code.room(b, WORD, MOST_ARGUMENTS) for _ in range(2))
    shape, counts = code.room(b, WORD, MOST_AXES), code.room(b, WORD, 3)
    message = code.room(b, code.BYTE, driver.MESSAGE)
    numbers = api.call("TF_NumInputs", NUMBER, context), api.call("TF_NumOutputs", NUMBER, context)
    for n, number in enumerate(numbers):
        b.store(b.sext(number, WORD), code.at(b, counts, WORD(n), WORD))
    # The driver refuses what is more, or less, than it expects.
    taken, given = (_limited(b, b.sext(each, WORD), MOST_ARGUMENTS) for each in numbers)
    given = b.select(b.icmp_signed("<", given, taken), given, taken)
    with code.each(b, WORD(0), taken) as n:
        place = code.at(b, inputs, n, POINTER)
        api.call("TF_GetInput", NOTHING, context, b.trunc(n, NUMBER), place, status)
        tensor = b.load(place, typ=POINTER)
        b.store(api.call("TF_TensorData", POINTER, tensor), code.at(b, data, n, POINTER))
        b.store(api.call("TF_TensorByteSize", WORD, tensor), code.at(b, sizes, n, WORD))
    all_there = _write_outputs(api, context, given, inputs, outputs, (found, rooms), status)
    with b.if_then(b.icmp_signed(">", taken, WORD(0)), likely=True):
        axes = _write_shape(api, code.load(b, inputs, WORD(0), POINTER), shape)
        b.store(b.sext(axes, WORD), code.at(b, counts, WORD(2), WORD))
    with b.if_else(all_there, likely=True) as (scanned, failed):
        with scanned:
            function = code.function_at(b, program.scan(), WORD, driver.KIND)
            args = [plan, counts, shape, data, sizes, found, rooms, message]
            error = b.call(function, args)
            with b.if_then(b.icmp_signed("!=", error, WORD(0)), likely=False):
                api.call("TF_SetStatus", NOTHING, status, b.trunc(error, NUMBER), message)
                api.call("TF_OpKernelContext_Failure", NOTHING, context, status)
        with failed:
            said, number = code.text(module, "no memory"), NUMBER(driver.RESOURCE_EXHAUSTED)
            api.call("TF_SetStatus", NOTHING, status, number, said)
            api.call("TF_OpKernelContext_Failure", NOTHING, context, status)
    for tensors, count in ((inputs, taken), (outputs, given)):
        with code.each(b, WORD(0), count) as n:
            tensor = code.load(b, tensors, n, POINTER)
            with b.if_then(code.is_given(b, tensor), likely=True):
                api.call("TF_DeleteTensor", NOTHING, tensor)
    api.call("TF_DeleteStatus", NOTHING, status)
    b.ret_void()


def _write_outputs(
    api: _Api, context: Any, count: Any, inputs: Any, outputs: Any, memory: Any, status: Any
) -> Any:
    """Write that memory is taken for results, of the types and shapes of as many arguments.

    Returns whether there is some for each.
    """
    b = api.b
    lengths, missing = code.room(b, WORD, MOST_AXES), code.room(b, WORD, 1)
    b.store(WORD(0), missing)
    with code.each(b, WORD(0), count) as n:
        like, number = code.load(b, inputs, n, POINTER), b.trunc(n, NUMBER)
        axes = _write_shape(api, like, lengths)
        kind = api.call("TF_InputDatatype", NUMBER, context, number)
        size = api.call("TF_TensorByteSize", WORD, like)
        take = "TF_AllocateOutput"
        tensor = api.call(take, POINTER, context, number, kind, lengths, axes, size, status)
        b.store(tensor, code.at(b, outputs, n, POINTER))
        with b.if_else(code.is_given(b, tensor), likely=True) as (there, not_there):
            with there:
                found, rooms = memory
                data = api.call("TF_TensorData", POINTER, tensor)
                b.store(data, code.at(b, found, n, POINTER))
                size = api.call("TF_TensorByteSize", WORD, tensor)
                b.store(size, code.at(b, rooms, n, WORD))
            with not_there:
                b.store(WORD(1), missing)
    return b.icmp_signed("==", b.load(missing, typ=WORD), WORD(0))


def _write_shape(api: _Api, tensor: Any, lengths: Any) -> Any:
    """Write that the lengths of a tensor's axes are written down; return how many they are."""
    b = api.b
    axes = api.call("TF_NumDims", NUMBER, tensor)
    with code.each(b, WORD(0), _limited(b, b.sext(axes, WORD), MOST_AXES)) as axis:
        length = api.call("TF_Dim", WORD, tensor, b.trunc(axis, NUMBER))
        b.store(length, code.at(b, lengths, axis, WORD))
    return axes


def _limited(b: Any, number: Any, most: int) -> Any:
    return b.select(b.icmp_signed("<", number, WORD(most)), number, WORD(most))
