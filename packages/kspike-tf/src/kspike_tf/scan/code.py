"""What machine code is written with: llvmlite's builder, and a few things on top of it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

BYTE, NUMBER, WORD = ir.IntType(8), ir.IntType(32), ir.IntType(64)
DOUBLE, FLOAT = ir.DoubleType(), ir.FloatType()
NOTHING, POINTER = ir.VoidType(), ir.PointerType()
ELEMENTS = {"f": FLOAT, "d": DOUBLE}  # by NumPy's letters
SIZES = {"f": 4, "d": 8}


def compiled(written: Any, level: int) -> Any:
    """Return the engine that holds a module's machine code, for as long as the process lives.

    Parameters
    ----------
    written : llvmlite.ir.Module
        What is compiled.
    level : int
        How far LLVM improves it, 0 to 3. From 1 on, loops work on several units at once.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(llvm.get_host_cpu_name(), features, opt=level, jit=True)
    written.triple, written.data_layout = machine.triple, str(machine.target_data)
    module = llvm.parse_assembly(str(written))
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=level)
    tuning.loop_vectorization = level > 0
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    keep(engine)
    return engine


def keep(anything: Any) -> None:
    """Let it live as long as the process: other libraries' threads may still use it at the end."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(anything))


@contextmanager
def each(b: Any, start: Any, stop: Any, by: int = 1) -> Iterator[Any]:
    """Write a loop around what is written within: it is given the index."""
    before = b.block
    body, after = b.append_basic_block(), b.append_basic_block()
    b.cbranch(b.icmp_signed("<", start, stop), body, after)
    b.position_at_end(body)
    index = b.phi(WORD)
    index.add_incoming(start, before)
    yield index
    following = b.add(index, WORD(by), flags=["nsw"])
    index.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, stop), body, after)
    b.position_at_end(after)


def at(b: Any, pointer: Any, index: Any, kind: Any) -> Any:
    """Return the address of an element of an array of a type."""
    return b.gep(pointer, [index], source_etype=kind)


def load(b: Any, pointer: Any, index: Any, kind: Any) -> Any:
    """Return an element of an array."""
    return b.load(at(b, pointer, index, kind), typ=kind)


def field(b: Any, structure: Any, which: Any, kind: Any) -> Any:
    """Return a field of a structure of ctypes, whose class's attribute is given."""
    return b.load(at(b, structure, WORD(which.offset), BYTE), typ=kind)


def smaller(b: Any, first: Any, second: Any) -> Any:
    """Return the smaller of two numbers."""
    return b.select(b.icmp_signed("<", first, second), first, second)


def is_given(b: Any, pointer: Any) -> Any:
    """Return whether a pointer is not NULL."""
    return b.icmp_unsigned("!=", b.ptrtoint(pointer, WORD), WORD(0))


def room(b: Any, kind: Any, count: Any) -> Any:
    """Return memory for an array, until the function returns."""
    memory = b.alloca(kind, count)
    memory.type = POINTER  # llvmlite's is of a pointer to one type
    return memory


def local(module: Any, kind: Any, args: Sequence[Any], name: str) -> Any:
    """Return a function that only its module calls."""
    function = ir.Function(module, ir.FunctionType(kind, args), name)
    function.linkage = "internal"
    return function


def library(module: Any, name: str, kind: Any, args: Sequence[Any], more: bool = False) -> Any:
    """Return a function of C's library."""
    if name in module.globals:
        return module.get_global(name)
    return ir.Function(module, ir.FunctionType(kind, args, var_arg=more), name)


def function_at(b: Any, address: Any, kind: Any, args: Sequence[Any]) -> Any:
    """Return a function that is known by its address, a number now or then."""
    if isinstance(address, int):
        address = WORD(address)
    return b.inttoptr(address, ir.FunctionType(kind, args).as_pointer())


def address_of(function: Any) -> int:
    """Return where a function of ctypes is."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def text(module: Any, string: str) -> Any:
    """Return a pointer to a string of C's."""
    data = bytearray(string.encode() + b"\0")
    kind = ir.ArrayType(BYTE, len(data))
    name = module.get_unique_name("text")
    variable = ir.GlobalVariable(module, kind, name)
    variable.global_constant, variable.linkage = True, "internal"
    variable.initializer = ir.Constant(kind, data)
    variable.type = POINTER
    return variable
