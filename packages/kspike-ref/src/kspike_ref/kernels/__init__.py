"""Compiled loops, and the checks that stand in front of them.

Numba compiles the loops. They check nothing; a loop with a checked entry point ends in ``_loop``.
Code outside this folder calls the plain functions and classes beside them, which check every
shape, type and memory layout first, and raise `TypeError` or `ValueError`. Numba does not, and
would read and write beyond arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, cast

import numba

from kspike_ref.kernels import cache

Arguments = ParamSpec("Arguments")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a loop on its first call, or load it from disk (see `kernels.cache`).

    Parameters
    ----------
    function : callable
        Plain loops over arrays.

    Returns
    -------
    callable
        Numba's dispatcher; ``py_func`` is the function itself.
    """
    # Of all "fastmath" options, allow only contraction: a product is fused with the sum that uses
    # it, and rounded once instead of twice. Nothing is reordered, so a unit's bits do not depend on
    # its position in the array, as long as every sum has one product to fuse and vice versa.
    compiled = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return cache.attach(compiled)


def compiled(function: Any, *arguments: Any) -> Callable[..., Any]:
    """Return a loop's machine code for the types of ``arguments``; it does not check them.

    Numba's dispatcher takes up to 0.3 µs per call to find the types of the arguments. The way
    around it is undocumented: ``Dispatcher.get_overload`` and ``Dispatcher.compile`` both return
    the machine code for some types (tried with Numba 0.62 to 0.68). If one is missing or fails,
    the dispatcher is returned, with the same results.

    Parameters
    ----------
    function : callable
        From `kernel`; any other function is returned unchanged.
    *arguments
        Arguments with the types of all later calls.
    """
    if not hasattr(function, "get_overload"):
        return cast("Callable[..., Any]", function)
    found: Any = None
    with suppress(Exception):  # a loop that cannot be compiled raises its error when called
        types = tuple(map(numba.typeof, arguments))
        try:
            found = function.get_overload(types)
        except KeyError:
            found = function.compile(types)
    return cast("Callable[..., Any]", found if callable(found) else function)


def entry(call: Callable[Arguments, tuple[Any, ...]]) -> Callable[Arguments, Any]:
    """Make the plain function beside a loop: it checks the arguments and runs the loop.

    Parameters
    ----------
    call : callable
        Checks the arguments, and returns the loop and its arguments: a plan calls it once and the
        loop often. It has the docstring of the plain function, and its name with ``_call``.
    """

    @functools.wraps(call)
    def run(*given: Arguments.args, **named: Arguments.kwargs) -> Any:
        loop, *arguments = call(*given, **named)
        return loop(*arguments)

    run.__name__ = call.__name__.removesuffix("_call")
    return run


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function only as part of the loops that call it."""
    return numba.njit(inline="always", error_model="numpy", fastmath={"contract"})(function)
