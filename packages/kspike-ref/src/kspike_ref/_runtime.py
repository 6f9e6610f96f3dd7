"""What kernels take from Numba's runtime, written anew so that their objects need no Numba.

Scratch arrays need memory; reshaped arrays need strides. The names and signatures are Numba's.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-not-found]
from numba.core import cgutils

_WORD, _INT, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8)
_POINTER, _WORDS = _BYTE.as_pointer(), _WORD.as_pointer()
_HEADER = 48  # bytes: reference count, destructor, its argument, data, size, allocator


def runtime() -> Any:
    """Write the module of these functions.

    Returns
    -------
    llvmlite.ir.Module
        Linked to a kernel; what it does not call is dropped.
    """
    module = ir.Module("runtime")
    _allocate(module)
    _release(module)
    _reshape(module)
    return module


def _function(module: Any, name: str, result: Any, *args: Any) -> tuple[Any, Any]:
    function = ir.Function(module, ir.FunctionType(result, args), name)
    return function, ir.IRBuilder(function.append_basic_block())


def _allocate(module: Any) -> None:
    """Return a block with Numba's header, and aligned data after it; null without memory."""
    malloc = ir.Function(module, ir.FunctionType(_POINTER, [_WORD]), "malloc")
    function, builder = _function(module, "NRT_MemInfo_alloc_aligned", _POINTER, _WORD, _INT)
    size, align = function.args
    align = builder.zext(align, _WORD)
    room = builder.add(builder.add(size, align), _WORD(_HEADER))
    block = builder.call(malloc, [room])
    with builder.if_then(builder.icmp_unsigned("==", builder.ptrtoint(block, _WORD), _WORD(0))):
        builder.ret(ir.Constant(_POINTER, None))
    first = builder.add(builder.ptrtoint(block, _WORD), _WORD(_HEADER))
    data = builder.and_(builder.sub(builder.add(first, align), _WORD(1)), builder.neg(align))
    fields = builder.bitcast(block, _WORDS)
    for i, value in enumerate((_WORD(1), _WORD(0), _WORD(0), data, size, _WORD(0))):
        builder.store(value, builder.gep(fields, [_WORD(i)]))
    builder.ret(block)


def _release(module: Any) -> None:
    """Free a block whose last reference is gone."""
    free = ir.Function(module, ir.FunctionType(ir.VoidType(), [_POINTER]), "free")
    function, builder = _function(module, "NRT_MemInfo_call_dtor", ir.VoidType(), _POINTER)
    builder.call(free, function.args)
    builder.ret_void()


def _reshape(module: Any) -> None:
    """Fill in the strides of a C-contiguous array in another shape; return 0 for other arrays."""
    function, builder = _function(
        module, "numba_attempt_nocopy_reshape", _INT,
        _WORD, _WORDS, _WORDS, _WORD, _WORDS, _WORDS, _WORD, _INT,
    )  # fmt: skip
    ndim, shape, strides, new_ndim, new_shape, new_strides, itemsize, _ = function.args
    wrong = cgutils.alloca_once_value(builder, _INT(0))
    step = cgutils.alloca_once_value(builder, itemsize)
    with cgutils.for_range(builder, ndim) as loop:
        axis = builder.sub(builder.sub(ndim, loop.index), _WORD(1))
        length = builder.load(builder.gep(shape, [axis]))
        expected = builder.load(step)
        other = builder.icmp_signed("!=", builder.load(builder.gep(strides, [axis])), expected)
        with builder.if_then(builder.and_(other, builder.icmp_signed(">", length, _WORD(1)))):
            builder.store(_INT(1), wrong)
        builder.store(builder.mul(expected, length), step)
    empty = builder.icmp_signed("==", builder.load(step), _WORD(0))  # has any strides
    builder.store(itemsize, step)
    with cgutils.for_range(builder, new_ndim) as loop:
        axis = builder.sub(builder.sub(new_ndim, loop.index), _WORD(1))
        stride = builder.load(step)
        builder.store(stride, builder.gep(new_strides, [axis]))
        length = builder.load(builder.gep(new_shape, [axis]))
        builder.store(builder.mul(stride, length), step)
    fits = builder.icmp_signed("==", builder.load(wrong), _INT(0))
    builder.ret(builder.zext(builder.or_(fits, empty), _INT))
