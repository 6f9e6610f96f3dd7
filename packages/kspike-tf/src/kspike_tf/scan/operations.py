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
import uuid
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_void_p
from functools import cache
from typing import Any

import tensorflow as tf
from llvmlite import ir
from tensorflow.core.framework import attr_value_pb2

from kspike_tf.scan import capi, code, driver, program
from kspike_tf.scan.code import NOTHING, NUMBER, POINTER, WORD
from kspike_tf.scan.driver import MOST_ARGUMENTS
from kspike_tf.scan.formulas import Recurrence

Tensor = Any

OPERATION = "PyFuncStateless"
MOST_AXES = 4  # that there is room for
TYPES = 1, 2  # TF_FLOAT and TF_DOUBLE
NAMES = (
    "TF_AllocateOutput",
    "TF_DeleteStatus",
    "TF_DeleteTensor",
    "TF_Dim",
    "TF_ExpectedOutputDataType",
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


def is_possible() -> bool:
    """Return whether this version of TensorFlow takes kernels from us."""
    return all(hasattr(capi.library(), name) for name in NAMES)


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
    label = _registered(recurrence, program.letter(args[0].dtype))
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
    # No two kernels may have one label, and threads may get here at once. Besides, what is in
    # nobody's file cannot be asked for by one.
    label = f"kspike_tf.{recurrence.name}.{letter}.{uuid.uuid4().hex}"
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
    return kind(capi.address(name))


# In machine code


@cache
def _machine_code() -> Any:
    """Return the engine of machine code that makes kernels and runs them."""
    module = ir.Module("kspike_tf_operations")
    for number, kind in enumerate(program.PLANS):
        create = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), f"create{number}")
        b = ir.IRBuilder(create.append_basic_block())
        # What TensorFlow takes for the kernel's memory is the plan of its scan.
        b.ret(b.inttoptr(WORD(program.address(*kind)), POINTER))
    compute = ir.Function(module, ir.FunctionType(NOTHING, [POINTER, POINTER]), "compute")
    b = ir.IRBuilder(compute.append_basic_block())
    _Compute(b, *compute.args).write()
    return code.compiled(module, 0)


class _Compute:
    """Writes what runs a kernel: it is given the scan's plan, and TensorFlow's context."""

    def __init__(self, b: Any, plan: Any, context: Any) -> None:
        self.b, self.plan, self.context = b, plan, context
        self.status = self.call("TF_NewStatus", POINTER)
        arrays = [code.room(b, POINTER, MOST_ARGUMENTS) for _ in range(4)]
        self.inputs, self.outputs, self.data, self.found = arrays
        self.sizes, self.rooms = (code.room(b, WORD, MOST_ARGUMENTS) for _ in range(2))
        self.shape, self.lengths = (code.room(b, WORD, MOST_AXES) for _ in range(2))
        self.counts, self.missing = code.room(b, WORD, 3), code.room(b, WORD, 1)

    def call(self, name: str, kind: Any, *args: Any) -> Any:
        """Write a call of TensorFlow's C API."""
        kinds = [each.type for each in args]
        return self.b.call(code.function_at(self.b, capi.address(name), kind, kinds), args)

    def write(self) -> None:
        """Write all of it."""
        b = self.b
        b.store(WORD(0), self.missing)
        with code.each(b, WORD(0), WORD(MOST_ARGUMENTS)) as n:
            for tensors in (self.inputs, self.outputs):
                b.store(POINTER(None), code.at(b, tensors, n, POINTER))
        numbers = [
            b.sext(self.call(f"TF_Num{each}", NUMBER, self.context), WORD)
            for each in ("Inputs", "Outputs")
        ]
        for n, number in enumerate((*numbers, WORD(0))):
            b.store(number, code.at(b, self.counts, WORD(n), WORD))
        # The driver refuses what is more, or less, than it expects.
        taken, given = (code.smaller(b, each, WORD(MOST_ARGUMENTS)) for each in numbers)
        self._write_inputs(taken)
        with b.if_then(self._is_complete()):
            self._write_outputs(code.smaller(b, given, taken))
        with b.if_else(self._is_complete()) as (complete, incomplete):
            with complete:
                self._write_scan(taken)
            with incomplete:
                said = code.text(b.module, "no memory, or no argument")
                self._write_failure(NUMBER(driver.RESOURCE_EXHAUSTED), said)
        self._write_end()

    def _is_complete(self) -> Any:
        return self.b.icmp_signed("==", self.b.load(self.missing, typ=WORD), WORD(0))

    def _write_inputs(self, count: Any) -> None:
        b = self.b
        with code.each(b, WORD(0), count) as n:
            place = code.at(b, self.inputs, n, POINTER)
            number = b.trunc(n, NUMBER)
            self.call("TF_GetInput", NOTHING, self.context, number, place, self.status)
            kind = self.call("TF_InputDatatype", NUMBER, self.context, number)
            is_known = [b.icmp_signed("==", kind, NUMBER(each)) for each in TYPES]
            self._describe(b.load(place, typ=POINTER), b.or_(*is_known), n, self.data, self.sizes)

    def _write_outputs(self, count: Any) -> None:
        """Write that memory is taken, of the types and shapes of as many arguments."""
        b = self.b
        with code.each(b, WORD(0), count) as n:
            like, number = code.load(b, self.inputs, n, POINTER), b.trunc(n, NUMBER)
            axes = self._write_shape(like, self.lengths)
            axes = b.trunc(code.smaller(b, axes, WORD(MOST_AXES)), NUMBER)
            kind = self.call("TF_InputDatatype", NUMBER, self.context, number)
            size = self.call("TF_TensorByteSize", WORD, like)
            args = self.context, number, kind, self.lengths, axes, size, self.status
            tensor = self.call("TF_AllocateOutput", POINTER, *args)
            b.store(tensor, code.at(b, self.outputs, n, POINTER))
            expected = self.call("TF_ExpectedOutputDataType", NUMBER, self.context, number)
            is_same = b.icmp_signed("==", kind, expected)
            self._describe(tensor, is_same, n, self.found, self.rooms)

    def _describe(self, tensor: Any, is_good: Any, n: Any, data: Any, sizes: Any) -> None:
        """Write where a tensor's memory is, and how many bytes it has: none, of other types."""
        b = self.b
        with b.if_else(code.is_given(b, tensor), likely=True) as (there, not_there):
            with there:
                memory = self.call("TF_TensorData", POINTER, tensor)
                b.store(memory, code.at(b, data, n, POINTER))
                size = self.call("TF_TensorByteSize", WORD, tensor)
                b.store(b.select(is_good, size, WORD(0)), code.at(b, sizes, n, WORD))
            with not_there:
                b.store(WORD(1), self.missing)

    def _write_shape(self, tensor: Any, lengths: Any) -> Any:
        """Write that the lengths of axes are written down; return how many there are."""
        b = self.b
        axes = b.sext(self.call("TF_NumDims", NUMBER, tensor), WORD)
        with code.each(b, WORD(0), code.smaller(b, axes, WORD(MOST_AXES))) as axis:
            length = self.call("TF_Dim", WORD, tensor, b.trunc(axis, NUMBER))
            b.store(length, code.at(b, lengths, axis, WORD))
        return axes

    def _write_scan(self, taken: Any) -> None:
        b = self.b
        with b.if_then(b.icmp_signed(">", taken, WORD(0)), likely=True):
            axes = self._write_shape(code.load(b, self.inputs, WORD(0), POINTER), self.shape)
            b.store(axes, code.at(b, self.counts, WORD(2), WORD))
        message = code.room(b, code.BYTE, driver.MESSAGE)
        arrays = self.data, self.sizes, self.found, self.rooms
        scan = code.function_at(b, program.scan(), WORD, driver.KIND)
        failed = b.call(scan, [self.plan, self.counts, self.shape, *arrays, message])
        with b.if_then(b.icmp_signed("!=", failed, WORD(0)), likely=False):
            self._write_failure(b.trunc(failed, NUMBER), message)

    def _write_failure(self, number: Any, message: Any) -> None:
        self.call("TF_SetStatus", NOTHING, self.status, number, message)
        self.call("TF_OpKernelContext_Failure", NOTHING, self.context, self.status)

    def _write_end(self) -> None:
        b = self.b
        with code.each(b, WORD(0), WORD(MOST_ARGUMENTS)) as n:
            for tensors in (self.inputs, self.outputs):
                tensor = code.load(b, tensors, n, POINTER)
                with b.if_then(code.is_given(b, tensor)):
                    self.call("TF_DeleteTensor", NOTHING, tensor)
        self.call("TF_DeleteStatus", NOTHING, self.status)
        b.ret_void()
