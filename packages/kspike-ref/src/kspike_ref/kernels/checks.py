"""Checks of the arguments of compiled loops, each well under a microsecond.

They raise `TypeError` for arguments of another type, and `ValueError` for other unfit arguments.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
INDEX = np.dtype(np.intp)

_READ = 0x101  # NumPy's array flags for C-contiguous and aligned
WRITE = 0x501  # and writable
_FAR = 1 << 31  # limit of sizes, strides and padding: products of two do not overflow


def read(name: str, values: Any, dtype: Any, shape: tuple[int, ...], flags: int = _READ) -> None:
    """Refuse an array that a loop cannot read.

    Parameters
    ----------
    name : str
        The name of the argument, for messages.
    values : ndarray
        The array.
    dtype : dtype
        The type that it must have.
    shape : tuple of int
        The shape that it must have.
    flags : int
        The NumPy flags that must be set; by default, C-contiguous and aligned.
    """
    if (
        type(values) is np.ndarray
        and values.dtype is dtype
        and values.shape == shape
        and values.flags.num & flags == flags
    ):
        return  # the usual case; the rest finds the cause of an error
    if not isinstance(values, np.ndarray):
        raise TypeError(f"{name} must be an array. Received: {type(values).__name__}")
    if values.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}. Received: {name}.dtype={values.dtype}")
    if values.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}. Received: {values.shape}")
    if values.flags.num & flags != flags:
        wanted = "C-contiguous, aligned and writable" if flags == WRITE else "C-contiguous, aligned"
        raise ValueError(f"{name} must be {wanted}. Received:\n{values.flags}")


def write(name: str, values: Any, dtype: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array that a loop cannot write: as in `read`, or if it is read-only."""
    read(name, values, dtype, shape, WRITE)


def floats(name: str, values: Any, axes: int, flags: int = _READ) -> Any:
    """Return the type of a float32 or float64 array with ``axes`` axes; ``flags`` as in `read`."""
    if type(values) is np.ndarray and values.ndim == axes and values.flags.num & flags == flags:
        dtype = values.dtype
        if dtype is FLOAT32 or dtype is FLOAT64:
            return dtype  # the usual case, as in `read`
    if not isinstance(values, np.ndarray):
        raise TypeError(f"{name} must be an array. Received: {type(values).__name__}")
    if values.dtype != FLOAT32 and values.dtype != FLOAT64:
        raise TypeError(f"{name} must be float32 or float64. Received: {values.dtype}")
    if values.ndim != axes:
        raise ValueError(f"{name} must have {axes} axes. Received: {name}.shape={values.shape}")
    read(name, values, values.dtype, values.shape, flags)
    return values.dtype


def between(name: str, first: Any, last: Any, end: int) -> None:
    """Refuse a range that does not lie within ``0`` and ``end``, or runs backwards."""
    if type(first) is not int or type(last) is not int:
        raise TypeError(f"{name} must be of int. Received: {first!r}, {last!r}")
    if not 0 <= first <= last <= end:
        raise ValueError(f"{name} must be within 0 and {end}. Received: {first}, {last}")


def integer(name: str, value: Any, least: int = 0) -> int:
    """Return ``value`` if it is an ``int`` of at least ``least``."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int. Received: {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more. Received: {value}")
    return value


def geometry(values: Any) -> list[list[int]]:
    """Return the geometry of a window along three axes as lists, checked.

    Parameters
    ----------
    values : (5, 3) ndarray
        Kernel size, stride, dilation, padding before, and output size.

    Returns
    -------
    list of list of int
        The same five rows: sizes, strides and dilations are positive, output sizes not negative,
        and no number is too large.
    """
    read("geometry", values, INDEX, (5, 3))
    rows: list[list[int]] = values.tolist()
    smallest = (1, 1, 1, -_FAR, 0)
    for row, least in zip(rows, smallest, strict=True):
        if min(row) < least or max(row) > _FAR:
            raise ValueError(f"geometry must hold possible sizes. Received: {rows}")
    return rows
