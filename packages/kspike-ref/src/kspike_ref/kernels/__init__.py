"""Compiled loops, and the checks that stand in front of them.

Loops are compiled by Numba, end in ``_loop`` where they have an entry of their own, and check
nothing. Code outside this folder calls the plain functions and classes beside them, which check
every shape, type and memory layout first: Numba does not, and would read and write beyond arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import numba

from kspike_ref.kernels import cache


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a loop when it is first called, or load it from the disk (see `kernels.cache`).

    Parameters
    ----------
    function : callable
        Plain loops over arrays.

    Returns
    -------
    callable
        Numba's dispatcher; ``py_func`` is the function itself.
    """
    # Of all that "fastmath" allows, only the fusion of a product into the sum that takes it, which
    # rounds once instead of twice. Nothing is reordered, so the bits of a unit do not depend on
    # the place it has in an array, provided that each product has one sum to go into.
    compiled = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return cache.attach(compiled)


def compiled(function: Any, *arguments: Any) -> Callable[..., Any]:
    """Return a loop's machine code for arguments of some types, which it does not check.

    Numba's dispatcher takes up to 0.3 µs to find the types of the arguments of a call. What passes
    it by is undocumented: ``Dispatcher.get_overload``, and the result of ``Dispatcher.compile``,
    which both are the machine code for some types (tried with Numba 0.62 to 0.68). Where one is
    missing or fails, the dispatcher is returned, with the same results.

    Parameters
    ----------
    function : callable
        From `kernel`; any other function is returned as it is.
    *arguments
        Arguments of the types that all calls will have.
    """
    if not hasattr(function, "get_overload"):
        return cast("Callable[..., Any]", function)
    found: Any = None
    with suppress(Exception):  # a loop that cannot be compiled says so when it is called
        types = tuple(map(numba.typeof, arguments))
        try:
            found = function.get_overload(types)
        except KeyError:
            found = function.compile(types)
    return cast("Callable[..., Any]", found if callable(found) else function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of a loop within the loop that calls it, and nowhere else."""
    return numba.njit(inline="always", error_model="numpy", fastmath={"contract"})(function)
