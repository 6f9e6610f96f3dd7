"""Runner of tests, or any code, with an inaccessible page behind every NumPy array's memory.

    python tests/guard_pages.py [pytest's arguments]

If one byte beyond an array is read or written, the process ends with a segmentation fault, and
Python's fault handler prints where. Numba compiles the functions that allocate memory, because
NumPy also calls them while errors are pending, when Python code must not run. Numba allocates the
arrays of compiled loops itself, without guards; the run with ``NUMBA_BOUNDSCHECK=1`` covers them.

Relies on NumPy's C interface, whose table does not change: ``PyDataMem_SetHandler`` is entry 304,
and takes a capsule named ``mem_handler`` with a ``PyDataMem_Handler`` of version 1.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

PAGE = mmap.PAGESIZE
HEADER = 16  # bytes before the memory: the start of its mapping and its length
_READ_WRITE, _NONE = mmap.PROT_READ | mmap.PROT_WRITE, 0
_PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_WORD, _INT = types.intp, types.intc

_map = types.ExternalFunction("mmap", _WORD(_WORD, _WORD, _INT, _INT, _INT, _WORD))
_protect = types.ExternalFunction("mprotect", _INT(_WORD, _WORD, _INT))
_unmap = types.ExternalFunction("munmap", _INT(_WORD, _WORD))
_copy = types.ExternalFunction("memcpy", _WORD(_WORD, _WORD, _WORD))


@intrinsic
def _load(_, address):
    def codegen(_context, builder, signature, args):
        pointer = builder.inttoptr(args[0], args[0].type.as_pointer())
        value = builder.load(pointer)
        value.align = 1
        return value

    return _WORD(_WORD), codegen


@intrinsic
def _store(_, address, value):
    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], args[0].type.as_pointer())
        builder.store(args[1], pointer).align = 1
        return context.get_dummy_value()

    return types.void(_WORD, _WORD), codegen


@numba.njit
def _allocate(size):
    """Return zeroed memory that ends at an inaccessible page, or 0 for a failure."""
    length = (HEADER + size + PAGE - 1) // PAGE * PAGE
    start = _map(0, length + PAGE, _READ_WRITE, _PRIVATE, -1, 0)
    if start == -1:
        return 0
    if _protect(start + length, PAGE, _NONE) != 0:
        return 0
    memory = start + length - size
    _store(memory - HEADER, start)
    _store(memory - HEADER + 8, length)
    return memory


@numba.njit
def _release(memory):
    if memory != 0:
        start = _load(memory - HEADER)
        _unmap(start, _load(memory - HEADER + 8) + PAGE)


@numba.cfunc(_WORD(_WORD, _WORD))
def _malloc(_context, size):
    return _allocate(size)


@numba.cfunc(_WORD(_WORD, _WORD, _WORD))
def _calloc(_context, count, size):
    return _allocate(count * size)


@numba.cfunc(_WORD(_WORD, _WORD, _WORD))
def _realloc(_context, memory, size):
    new = _allocate(size)
    if new != 0 and memory != 0:
        end = _load(memory - HEADER) + _load(memory - HEADER + 8)
        _copy(new, memory, min(size, end - memory))
        _release(memory)
    return new


@numba.cfunc(types.void(_WORD, _WORD, _WORD))
def _free(_context, memory, _size):
    _release(memory)


class _Handler(ctypes.Structure):
    """NumPy's ``PyDataMem_Handler`` structure."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("context", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


_handler = _Handler(
    b"guard pages", 1, None, _malloc.address, _calloc.address, _realloc.address, _free.address
)


def guard_this_thread() -> None:
    """Give guard pages to the arrays that this thread makes from now on."""
    api = ctypes.pythonapi
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = ctypes.py_object, ctypes.c_char_p
    api.PyCapsule_New.restype = ctypes.py_object
    api.PyCapsule_New.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p
    table = api.PyCapsule_GetPointer(np._core._multiarray_umath._ARRAY_API, None)
    address = ctypes.c_void_p.from_address(table + 304 * ctypes.sizeof(ctypes.c_void_p)).value
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(address)
    set_handler(api.PyCapsule_New(ctypes.addressof(_handler), b"mem_handler", None))


def install() -> None:
    """Give guard pages to the arrays of this thread, and of all threads that start later."""
    from kspike_ref.kernels import memory

    # Arrays that start at a cache line have unused memory behind them, where no access would fault.
    for name, module in list(sys.modules.items()):
        if name.startswith("kspike_ref.") and hasattr(module, "aligned") and module is not memory:
            module.aligned = lambda values: np.array(values, order="C")
    run = threading.Thread.run

    def guarded(self: threading.Thread) -> None:
        guard_this_thread()
        run(self)

    threading.Thread.run = guarded
    guard_this_thread()


if __name__ == "__main__":
    install()
    import pytest

    raise SystemExit(pytest.main(["-p", "no:cacheprovider", *sys.argv[1:]]))
