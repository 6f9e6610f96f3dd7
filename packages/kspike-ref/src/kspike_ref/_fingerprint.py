"""What the machine code of a kernel depends on: its code, what it calls, the globals it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
# Modules whose contents their versions tell.
_KNOWN = ("builtins", "llvmlite", "math", "numba", "numpy")


class UnknownDependencyError(Exception):
    """A global of which nobody knows when it changes."""


def fingerprint(function: Callable[..., Any]) -> str:
    """Describe a function so that descriptions differ where compiled code may.

    Parameters
    ----------
    function : callable
        A function whose globals are constants, functions, kernels, or modules that have versions.

    Returns
    -------
    str
        The same in each process.

    Raises
    ------
    UnknownDependencyError
        If a global is something else.
    """
    return "\n".join(_walk(function, function.__qualname__, set()))


def _walk(value: Any, name: str, seen: set[int]) -> Iterator[str]:
    known = _known(value)
    if known or id(value) in seen:
        yield f"{name} = {known or 'as above'}"
        return
    if isinstance(value, tuple):
        yield f"{name} = {len(value)} items"
        for item in value:
            yield from _walk(item, name, seen)
        return
    seen.add(id(value))
    if isinstance(value, FunctionType):
        yield from _function(value, name, seen)
    elif isinstance(value, type):
        yield f"{name} = class {value.__qualname__} of {value.__bases__!r}"
        for key, item in sorted(vars(value).items()):
            if isinstance(item, (FunctionType, *_PLAIN)) and key != "__doc__":
                yield from _walk(item, key, seen)
    elif hasattr(value, "py_func"):  # another kernel
        yield from _walk(value.py_func, name, seen)
    elif hasattr(value, "make"):  # a part that is made when a kernel is compiled
        yield from _walk(value.make, name, seen)
        yield from _walk(value.args, name, seen)
    else:
        raise UnknownDependencyError(f"{name} is a {type(value).__qualname__}")


def _known(value: Any) -> str:
    """Describe what is the same wherever its description is; empty for everything else."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, ModuleType) and value.__name__.split(".")[0] in _KNOWN:
        return f"module {value.__name__}"
    if isinstance(value, (type, FunctionType)) and value.__module__.split(".")[0] in _KNOWN:
        return f"{value.__module__}.{value.__qualname__}"
    return ""


def _function(function: FunctionType, name: str, seen: set[int]) -> Iterator[str]:
    yield f"{name} = function with defaults {function.__defaults__!r}"
    yield from _code(function.__code__)
    for cell_name, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        yield from _walk(cell.cell_contents, cell_name, seen)
    for used in sorted(_names(function.__code__)):
        if used in function.__globals__:
            yield from _walk(function.__globals__[used], used, seen)


def _names(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _code(code: CodeType) -> Iterator[str]:
    yield repr((code.co_name, code.co_argcount, code.co_flags, code.co_code))
    yield repr((code.co_varnames, code.co_names, code.co_freevars, code.co_cellvars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)
