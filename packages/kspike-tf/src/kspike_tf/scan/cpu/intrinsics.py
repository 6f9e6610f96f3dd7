"""Numba intrinsics for raw memory: access by address, indirect calls, atomic addition, prefetch.

Addresses are integers (``intp``) throughout; 64-bit machines pass C pointers the same way.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

WORD, NUMBER, BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)


@intrinsic
def record(_context: Any, _address: Any, kind: Any) -> Any:
    """Return the record of a NumPy dtype at an address; its fields can be read and assigned."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return kind.dtype(types.intp, kind), write


@intrinsic
def elements(_context: Any, _address: Any, _offset: Any, kind: Any) -> Any:
    """Return a pointer to elements of a NumPy dtype, at an address plus an offset in elements.

    Elements are read and assigned by index, without bounds checks.
    """

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        element = context.get_data_type(kind.dtype)
        place = builder.inttoptr(args[0], element.as_pointer())
        return builder.gep(place, [args[1]], source_etype=element)

    return types.CPointer(kind.dtype)(types.intp, types.intp, kind), write


@intrinsic
def call(_context: Any, _function: Any, _first: Any, _second: Any, _third: Any) -> Any:
    """Call the function at an address with three integers; it returns another one."""

    def write(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(WORD, [WORD] * 3)
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.intp(*[types.intp] * 4), write


@intrinsic
def fetch_and_add(_context: Any, _address: Any, _number: Any) -> Any:
    """Add to the integer at an address atomically; return its previous value."""

    def write(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], WORD.as_pointer())
        return builder.atomic_rmw("add", place, args[1], "monotonic")

    return types.intp(types.intp, types.intp), write


@intrinsic
def prefetch(_context: Any, first: Any, second: Any, third: Any, _index: Any) -> Any:
    """Prefetch the element at an index of three arrays; the index may be out of bounds."""

    def write(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), *[NUMBER] * 3])
        function = builder.module.declare_intrinsic("llvm.prefetch", [BYTE.as_pointer()], kind)
        for array in args[:3]:
            place = builder.bitcast(builder.gep(array, [args[3]]), BYTE.as_pointer())
            builder.call(function, [place, NUMBER(0), NUMBER(3), NUMBER(1)])
        return context.get_dummy_value()

    return types.none(first, second, third, types.intp), write
