"""The caller's arrays for the outputs of a run: their structure, memory and files."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kspike_ref.layers.errors import Array
from kspike_ref.running.graph import Ref


def listed(structure: Any, out: Any) -> list[Array]:
    """Flatten the arrays for outputs, in the order of the outputs.

    Parameters
    ----------
    structure : Ref, or list or dict of Ref
        The outputs of a model.
    out : ndarray, or list or dict of ndarray
        Arrays in the same structure.

    Raises
    ------
    TypeError
        If an item is not an array, or the structure differs.
    ValueError
        If an array is read-only.
    """
    if isinstance(structure, Ref):
        if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
            raise TypeError(f"out must be a NumPy array. Received: {type(out).__name__}")
        if not out.flags.writeable:
            raise ValueError("out must be writable. Received: a read-only array")
        return [out]
    if isinstance(structure, dict):
        if not isinstance(out, Mapping) or set(out) != set(structure):
            came = ", ".join(map(str, out)) if isinstance(out, Mapping) else type(out).__name__
            raise TypeError(f"out must be a dict of {', '.join(structure)}. Received: {came}")
        pairs = [(structure[key], out[key]) for key in structure]
    else:
        if not isinstance(out, list | tuple) or len(out) != len(structure):
            came = f"{len(out)}" if isinstance(out, list | tuple) else type(out).__name__
            raise TypeError(f"out must be a list of {len(structure)} arrays. Received: {came}")
        pairs = list(zip(structure, out, strict=True))
    return [array for inner, given in pairs for array in listed(inner, given)]


def check_memory(out: Sequence[Array], inputs: Iterable[Array]) -> None:
    """Refuse arrays that share memory with each other or with inputs.

    Raises
    ------
    ValueError
        If two arrays may share memory.
    """
    for i, array in enumerate(out):
        if any(np.may_share_memory(array, x) for x in inputs):
            raise ValueError("out must not share memory with x. Received: arrays that overlap")
        if any(np.may_share_memory(array, other) for other in out[:i]):
            raise ValueError("out must hold separate arrays. Received: arrays that overlap")


def check_fit(out: Sequence[Array], shapes: Sequence[tuple[int, ...]], made: Sequence[Any]) -> None:
    """Refuse arrays whose shapes or types differ from the outputs.

    Parameters
    ----------
    out : sequence of ndarray
        The caller's arrays.
    shapes : sequence of tuple of int
        The shapes of the outputs, with all examples.
    made : sequence of ndarray
        The outputs of some examples.

    Raises
    ------
    ValueError
        If a shape differs.
    TypeError
        If a type differs.
    """
    for array, shape, y in zip(out, shapes, made, strict=True):
        if array.shape != shape:
            raise ValueError(
                f"out must have the shape of the output, {shape}. Received: out.shape={array.shape}"
            )
        if array.dtype != y.dtype:
            raise TypeError(
                f"out must be {y.dtype}, the type of the output, in native byte order. "
                f"Received: out.dtype={array.dtype.str}"
            )


def reserve(out: Array) -> None:
    """Allocate disk space for the file of a memory map.

    A sparse file gets its space when it is written to. If the disk is full by then, the operating
    system kills the process.

    Parameters
    ----------
    out : ndarray
        Any array; only memory maps that write to a file are affected.

    Raises
    ------
    OSError
        If the disk is full.
    """
    if not isinstance(out, np.memmap) or out.mode not in ("r+", "w+") or not out.size:
        return
    if out.filename is None or not hasattr(os, "posix_fallocate"):
        return
    pages = np.frombuffer(out._mmap, np.uint8)  # type: ignore[attr-defined]
    low, high = np.lib.array_utils.byte_bounds(out)
    first = out.offset - out.offset % mmap.ALLOCATIONGRANULARITY + low - pages.ctypes.data
    with Path(out.filename).open("r+b") as file:
        os.posix_fallocate(file.fileno(), first, high - low)
