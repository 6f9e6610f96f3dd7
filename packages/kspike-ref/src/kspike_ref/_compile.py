"""Kernels to machine code, by Numba. Imported only where the machine code is not on the disk."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-not-found]
import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-not-found]
from numba import types
from numba.core.compiler_lock import global_compiler_lock
from numba.np import arrayobj

from kspike_ref._jit import OPTIONS, Deferred, Kernel
from kspike_ref._objects import FAILED, Made
from kspike_ref._runtime import runtime

# What machine code may take from the C library; everything else would be Numba's own runtime.
_LIBRARY = frozenset({"memcpy", "memmove", "memset", "malloc", "free"})
_WORD, _BYTE = ir.IntType(64), ir.IntType(8)
_POINTER = _BYTE.as_pointer()
_HEADER = object.__basicsize__  # of a Python object, before NumPy's own fields


def dispatcher(kernel: Kernel) -> Any:
    """Return Numba's function for a kernel: what Python calls where there can be no object."""
    function = _with_numba_globals(kernel.py_func, lambda callee: callee.dispatcher)
    try:
        return numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba: "no locator available", no folder can be written
        return numba.njit(**OPTIONS)(function)


@cache
def _part(kernel: Kernel) -> Any:
    """Return Numba's function for a kernel that is linked to others, and not called by Python.

    It is not in Numba's own cache, which does not see what changes in a kernel that this one calls.
    """
    function = _with_numba_globals(kernel.py_func, _part)
    return numba.njit(**OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def _with_numba_globals(function: Any, numbas: Callable[[Kernel], Any]) -> Any:
    """Return a function whose kernels and deferred parts are what Numba understands."""
    if not isinstance(function, FunctionType):
        return function
    names = dict(function.__globals__)
    for name in function.__code__.co_names:
        value = names.get(name)
        if isinstance(value, Kernel):
            names[name] = numbas(value)
        elif isinstance(value, Deferred):
            names[name] = value.made
    copy = FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def compile_object(kernel: Kernel, args: tuple[Any, ...], symbol: str) -> Made | None:
    """Compile a kernel for the types of some arguments.

    Parameters
    ----------
    kernel : Kernel
        What to compile.
    args : tuple
        Arguments of the types wanted.
    symbol : str
        The name of the machine code's entry.

    Returns
    -------
    Made or None
        The object code, or None where it needs Numba's runtime, or Numba's inner interfaces are
        not those known here.
    """
    signature = tuple(_any_layout(numba.typeof(arg)) for arg in args)
    try:
        compiled = _part(kernel)
        with global_compiler_lock:
            compiled.compile(signature)
            return _emit(compiled.overloads[signature], symbol)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        warnings.warn(f"{kernel.py_func.__name__} is not kept on the disk: {error!r}", stacklevel=2)
        return None


def _any_layout(kind: Any) -> Any:
    """Return the type with Fortran order as any order, in tuples as well."""
    if isinstance(kind, types.BaseTuple):
        return types.Tuple([_any_layout(item) for item in kind])
    if isinstance(kind, types.Array) and kind.layout == "F":
        return kind.copy(layout="A")
    return kind


def _emit(result: Any, symbol: str) -> Made | None:
    """Link an entry, the kernel, and what it takes from Numba's runtime, to one object."""
    returned = result.signature.return_type
    is_void = isinstance(returned, types.NoneType)
    if not is_void and returned not in (types.int64, types.intp):
        return None
    context = result.target_context
    library = context.codegen().create_library(symbol)
    library.add_ir_module(_entry(library, result, symbol, is_void))
    module = library._final_module
    module.link_in(result.library._get_module_for_linking(), preserve=True)
    needs = llvm.parse_assembly(str(runtime()))
    needs.data_layout, needs.triple = module.data_layout, module.triple
    module.link_in(needs)
    for item in (*module.functions, *module.global_variables):
        if not item.is_declaration and item.name != symbol and item.linkage.name != "internal":
            item.linkage = "internal"
    library._optimize_final_module()
    module.verify()
    needed = [f.name for f in module.functions if f.is_declaration]
    needed = [name for name in needed if not name.startswith("llvm.")]
    unknown = [g for g in module.global_variables if g.is_declaration]
    if unknown or not _LIBRARY.issuperset(needed):
        return None
    code = context.codegen()._tm.emit_object(module)
    return Made(code=bytes(code), needs=tuple(needed), is_void=is_void)


def _entry(library: Any, result: Any, symbol: str, is_void: bool) -> Any:
    """Write the function that takes the words of a call and gives them to the kernel."""
    context, native, signature = result.target_context, result.fndesc, result.signature
    module = library.create_ir_module(symbol)
    entry = ir.Function(module, ir.FunctionType(_WORD, [_POINTER]), symbol)
    builder = ir.IRBuilder(entry.append_basic_block())
    kernel_type = context.call_conv.get_function_type(native.restype, native.argtypes)
    kernel = ir.Function(module, kernel_type, native.llvm_func_name)
    block = builder.bitcast(entry.args[0], _WORD.as_pointer())
    words = _Words(context, builder, block)
    values = [words.take(kind) for kind in signature.args]
    status, value = context.call_conv.call_function(
        builder, kernel, native.restype, native.argtypes, values
    )
    done = _WORD(0) if is_void else builder.sext(value, _WORD) if value.type != _WORD else value
    builder.ret(builder.select(status.is_error, _WORD(FAILED), done))
    return module


class _Words:
    """Turns the words of a call into Numba's values, one after another."""

    def __init__(self, context: Any, builder: Any, block: Any) -> None:
        self.context, self.builder, self.block, self.at = context, builder, block, 0

    def take(self, kind: Any) -> Any:
        """Return the next value."""
        builder = self.builder
        if isinstance(kind, types.BaseTuple):
            return self.context.make_tuple(builder, kind, [self.take(item) for item in kind])
        place = builder.gep(self.block, [_WORD(self.at)])
        self.at += 1
        if isinstance(kind, types.Float):
            return builder.load(
                builder.bitcast(place, self.context.get_value_type(kind).as_pointer())
            )
        word = builder.load(place)
        if kind == types.boolean:
            return builder.trunc(word, self.context.get_value_type(kind))
        if isinstance(kind, types.Integer):
            return word
        if isinstance(kind, types.Array):
            return self._array(kind, builder.inttoptr(word, _POINTER))
        raise NotImplementedError(f"an argument of type {kind}")

    def _array(self, kind: Any, owner: Any) -> Any:
        """Read data, shape and strides of a NumPy array: its fields are part of NumPy's ABI."""
        builder = self.builder

        def field(position: int) -> Any:
            place = builder.gep(owner, [_WORD(_HEADER + 8 * position)])
            return builder.load(builder.bitcast(place, _WORD.as_pointer()))

        def numbers(position: int) -> list[Any]:
            first = builder.inttoptr(field(position), _WORD.as_pointer())
            return [builder.load(builder.gep(first, [_WORD(i)])) for i in range(kind.ndim)]

        array = arrayobj.make_array(kind)(self.context, builder)
        data = builder.inttoptr(field(0), array.data.type)
        size = _WORD(np.dtype(str(kind.dtype)).itemsize if kind.dtype != types.boolean else 1)
        arrayobj.populate_array(
            array, data=data, shape=numbers(2), strides=numbers(3), itemsize=size, meminfo=None
        )
        return array._getvalue()
