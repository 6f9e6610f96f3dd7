"""How the kernels are compiled: by Numba, once; later processes load machine code from the disk.

Importing Numba and its first call take two seconds, in which a small model could be done. So the
object code of a kernel, for the types that it was called with, is kept on the disk and loaded with
llvmlite alone. Numba is imported only where no such object is found.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Callable
from threading import RLock
from typing import Any

import numpy as np

from kspike_ref import _objects

# Of all that "fastmath" allows, only the fusion of a product into the sum that takes it, which
# rounds once instead of twice. Nothing is reordered, so the bits of a unit do not depend on the
# place it has in an array, provided that each product has one sum to go into.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract"},
}

_C, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400  # of NumPy's array flags
_FLAGS = _C | _ALIGNED | _WRITEABLE
# What machine code can be given: NumPy's numbers of their own types, subclasses are not looked at.
_LETTERS: dict[type, str] = {
    int: "q",
    bool: "q",
    np.int64: "q",
    float: "d",
    np.float64: "d",
    np.float32: "f4x",
}

_DISABLED = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")

_lock = RLock()  # loading and compiling, in this process
if hasattr(os, "register_at_fork"):  # nobody else may be in the middle of it in a child
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=lambda: _lock.release(),
    )


class Kernel:
    """A compiled loop.

    Parameters
    ----------
    function : callable
        Plain loops over arrays, which write into their last argument.

    Attributes
    ----------
    py_func : callable
        The same loops in Python.
    loaded, compiled : int
        For how many combinations of types the code came from the disk, or from Numba.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.py_func = function
        self.loaded = self.compiled = 0
        self._entries: dict[Any, _objects.Entry | None] = {}

    def __reduce__(self) -> str:
        return self.py_func.__qualname__  # pickled as a name, like a function

    def __call__(self, *args: Any) -> Any:
        if _DISABLED:
            return self.py_func(*args)
        key: list[Any] = []
        words: list[Any] = []
        _describe(args, key, words)
        types = tuple(key)
        entry = self._entries.get(types) or self._prepare(types, args)
        if entry is None:
            return self.dispatcher(*args)
        return entry.run(entry.pack(*words))

    def bind(self, *args: Any) -> Callable[[], Any]:
        """Prepare a call with the same arrays again and again.

        Parameters
        ----------
        *args : ndarray, int, float, or tuple of them
            The arguments. Arrays may change their values, but not their shape.

        Returns
        -------
        callable
            Does the call, without arguments.
        """
        key: list[Any] = []
        words: list[Any] = []
        _describe(args, key, words)
        entry = None if _DISABLED else self._prepare(tuple(key), args)
        if entry is None:
            return functools.partial(self, *args)
        return _Bound(entry.run, entry.pack(*words), args)

    def _prepare(self, types: tuple[Any, ...], args: tuple[Any, ...]) -> _objects.Entry | None:
        """Load or compile what these types need; None where only Numba itself can call it."""
        with _lock:
            if types not in self._entries:
                self._entries[types] = self._find(types, args)
            return self._entries[types]

    def _find(self, types: tuple[Any, ...], args: tuple[Any, ...]) -> _objects.Entry | None:
        layout = _layout(types)
        place = None if layout is None else _objects.place(self.py_func, types, OPTIONS)
        if layout is None or place is None:
            self.compiled += 1
            return None
        entry = _objects.load(place, layout)
        if entry is not None:
            self.loaded += 1
            return entry
        self.compiled += 1
        from kspike_ref import _compile  # imports Numba

        made = _compile.compile_object(self, args, place.symbol)
        if made is None:
            return None
        _objects.save(place, made)
        return _objects.load_object(place, made, layout)

    @functools.cached_property
    def dispatcher(self) -> Any:
        """Numba's own compiled function."""
        from kspike_ref import _compile

        with _lock:
            return _compile.dispatcher(self)


class _Bound:
    """A call whose arguments are packed already."""

    __slots__ = ("_args", "_block", "_run")

    def __init__(self, run: Callable[[bytes], Any], block: bytes, args: tuple[Any, ...]) -> None:
        self._run, self._block, self._args = run, block, args  # arrays live as long as the block

    def __call__(self) -> Any:
        return self._run(self._block)


class Deferred:
    """A part of kernels that needs Numba to be made, and is made when a kernel is compiled.

    Parameters
    ----------
    make : callable
        Returns what a kernel calls, such as an intrinsic function; imports Numba itself.
    *args : int, bool, str
        Given to ``make``.
    """

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self.make, self.args = make, args

    def __call__(self, *args: Any) -> Any:
        return self.made(*args)

    @functools.cached_property
    def made(self) -> Any:
        """What ``make`` returned, once."""
        return self.make(*self.args)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a loop at its first call, or load it from the disk cache.

    The cache is beside the source, or in the user's cache folder where that is read-only, or in
    ``NUMBA_CACHE_DIR``. Where none can be written (a container without a home), the kernel is
    compiled in every process.

    Parameters
    ----------
    function : callable
        Plain loops over arrays, which write into their last argument.

    Returns
    -------
    Kernel
        The compiled function.
    """
    return Kernel(function)


def _describe(args: tuple[Any, ...], key: list[Any], words: list[Any]) -> None:
    """Append what identifies the types of arguments, and the words that machine code is given."""
    for arg in args:
        kind = type(arg)
        if kind is np.ndarray:
            key += (arg.dtype, arg.ndim, arg.flags.num & _FLAGS)
            words.append(id(arg))
        elif kind is tuple:
            key.append(len(arg))
            _describe(arg, key, words)
        else:
            key.append(kind)
            words.append(arg)


def _layout(types: tuple[Any, ...]) -> struct.Struct | None:
    """Return the layout of the words, or None where machine code cannot be given such types."""
    letters = []
    items = iter(types)
    for item in items:
        if isinstance(item, np.dtype):
            next(items)
            flags = next(items)
            if item.kind not in "fiub" or item == np.float16 or not item.isnative:
                return None
            if not flags & _ALIGNED:
                return None
            letters.append("Q")
        elif isinstance(item, int):
            continue  # the length of a tuple
        elif item in _LETTERS:
            letters.append(_LETTERS[item])
        else:
            return None
    return struct.Struct("=" + "".join(letters))
