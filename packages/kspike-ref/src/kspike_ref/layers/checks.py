"""Checks of axes, which model files name, and of indices, which inputs hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.layers.errors import Array
from kspike_ref.saved.archive import ArchiveError


def positive_axes(given: Any, rank: int) -> tuple[int, ...]:
    """Return one axis or a list of axes from a file, as non-negative numbers.

    Raises
    ------
    ArchiveError
        If they are not integers, or not axes of a tensor of ``rank`` axes.
    """
    axes = given if isinstance(given, list) else [given]
    if not all(type(axis) is int and -rank <= axis < rank for axis in axes):
        raise ArchiveError(
            f"axis must be valid for an input with {rank} axes. Received: {given!r:.80}"
        )
    return tuple(axis % rank for axis in axes)


def indices(x: Array, count: int) -> Array:
    """Return integers from 0 to ``count - 1`` as int64; refuse others."""
    index = x.astype(np.int64)
    if index.size and not 0 <= int(index.min()) <= int(index.max()) < count:
        raise ValueError(
            f"x must hold integers from 0 to {count - 1}. "
            f"Received: {int(index.min())} to {int(index.max())}"
        )
    return index
