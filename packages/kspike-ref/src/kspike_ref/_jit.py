"""How the kernels are compiled: without the GIL, and cached on disk where there is room for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# Of all that "fastmath" allows, only the fusion of a product into the sum that takes it, which
# rounds once instead of twice. Nothing is reordered, so the bits of a unit do not depend on the
# place it has in an array, provided that each product has one sum to go into.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "fastmath": {"contract"},
}


def kernel(function: Kernel) -> Kernel:
    """Compile a loop at its first call, or load it from the disk cache.

    The cache is beside the source, or in the user's cache folder where that is read-only. Where
    neither can be written (a container without a home), the kernel is compiled in every process.

    Parameters
    ----------
    function : callable
        Plain loops over arrays, which write into their last argument.

    Returns
    -------
    callable
        The compiled function.
    """
    try:
        compiled: Kernel = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # numba: "no locator available", neither folder can be written
        compiled = numba.njit(**_OPTIONS)(function)
    return compiled
