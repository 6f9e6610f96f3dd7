"""How the kernels are compiled: without the GIL, and cached on disk where there is room for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# No fastmath: a contracted or reordered sum would make the bits depend on the compiler,
# and on whether a unit falls into the vector loop or into its scalar remainder.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "boundscheck": False}


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
