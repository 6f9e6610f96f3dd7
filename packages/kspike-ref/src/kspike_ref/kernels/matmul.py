"""Matrix products whose bits do not depend on the number of rows.

A streaming step multiplies one row, a batch thousands, and BLAS adds in a different order for each.
Here every element is ``bias + x₀·w₀ + x₁·w₁ + …``, in that order, each term added by one fused
multiply-add, whatever the shape of the batch, the blocking, the number of threads or the width of
the machine's vectors. Terms with ``x = 0`` change nothing, so the event-driven product, which
skips them, gives the same bits.

References
----------
.. [1] K. Goto, R. A. van de Geijn, "Anatomy of high-performance matrix multiplication",
   ACM Trans. Math. Softw. 34(3), 2008: panels, blocks and register tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.kernels import checks, entry, kernel
from kspike_ref.kernels.bits import list_nonzero
from kspike_ref.kernels.memory import aligned
from kspike_ref.kernels.tiles import (
    BYTES,
    TALL,
    events_1,
    events_2,
    four_1,
    four_2,
    one_1,
    one_2,
    tall_1,
    tall_2,
)

Array = Any

_DEPTH = 512  # terms of a block: 24 kB of rows in the L1 cache, a panel of 64 kB in L2
_ROWS = 240  # rows of a block: its 480 kB stay in the L2 cache while it meets all panels


@kernel
def _panel(
    a: Array, start: Any, rows: int, b: Array, bt: int, c: Array, target: Any, depth: int
) -> None:
    """Multiply rows by one panel.

    ``start`` is the position of the first row and the distance of rows; ``target`` is the same for
    the results, and whether the panel is two vectors wide.
    """
    at, step = start
    to, far, wide = target
    row = 0
    while row < rows:
        left = rows - row
        if left >= TALL:
            if wide:
                tall_2(a, at, step, b, bt, c, to, far, depth, b)
            else:
                tall_1(a, at, step, b, bt, c, to, far, depth, b)
            taken = TALL
        elif left >= 4:
            if wide:
                four_2(a, at, step, b, bt, c, to, far, depth, b)
            else:
                four_1(a, at, step, b, bt, c, to, far, depth, b)
            taken = 4
        else:
            if wide:
                one_2(a, at, step, b, bt, c, to, far, depth, b)
            else:
                one_1(a, at, step, b, bt, c, to, far, depth, b)
            taken = 1
        row += taken
        at += taken * step
        to += taken * far


@kernel
def _copy(source: Array, target: Array, rows: int, columns: int) -> None:
    """Copy a corner of a matrix. A slice assignment would need Numba's runtime."""
    for i in range(rows):
        for j in range(columns):
            target[i, j] = source[i, j]


@kernel
def multiply_loop(a: Array, packed: Array, width: int, out: Array) -> None:
    """Add ``a @ b`` to ``out``; ``packed`` is ``pack(b)``, ``width`` a panel's columns."""
    rows, depth = a.shape
    columns = out.shape[1]
    step = a.strides[0] // a.itemsize
    far = out.strides[0] // out.itemsize
    half = width // 2
    scratch = np.empty((min(rows, _ROWS), width), out.dtype)
    for top in range(0, rows, _ROWS):
        count = min(_ROWS, rows - top)
        for k in range(0, depth, _DEPTH):
            terms = min(_DEPTH, depth - k)
            for first in range(0, columns, width):
                left = columns - first
                wide = left > half
                taken = width if wide else half
                bt = first * depth + k * taken
                at = top * step + k
                if left >= taken:
                    target = (top * far + first, far, wide)
                    _panel(a, (at, step), count, packed, bt, out, target, terms)
                    continue
                part = out[top : top + count, first:columns]
                scratch[:, left:] = 0
                _copy(part, scratch, count, left)
                _panel(a, (at, step), count, packed, bt, scratch, (0, width, wide), terms)
                _copy(scratch, part, count, left)


@kernel
def multiply_events_loop(
    a: Array, packed: Array, width: int, depth: int, out: Array, index: Array, values: Array
) -> int:
    """Add ``a @ b`` to ``out``, skipping zeros of a; return the number of nonzero values of a.

    ``index`` and ``values`` are scratch memory for the terms of a row.
    """
    flat, columns = a.reshape(-1), out.shape[1]
    far = out.strides[0] // out.itemsize
    half = width // 2
    scratch = np.empty((1, width), out.dtype)
    total = 0
    for row in range(a.shape[0]):
        count = list_nonzero(flat, row * depth, depth, 0, index, values, 0)
        total += count
        if count == 0:
            continue
        for first in range(0, columns, width):
            left = columns - first
            wide = left > half
            taken = width if wide else half
            bt = first * depth
            if left >= taken:
                to = row * far + first
                if wide:
                    events_2(values, 0, 0, packed, bt, out, to, far, count, index)
                else:
                    events_1(values, 0, 0, packed, bt, out, to, far, count, index)
                continue
            part = out[row : row + 1, first:columns]
            scratch[:, left:] = 0
            _copy(part, scratch, 1, left)
            if wide:
                events_2(values, 0, 0, packed, bt, scratch, 0, width, count, index)
            else:
                events_1(values, 0, 0, packed, bt, scratch, 0, width, count, index)
            _copy(scratch, part, 1, left)
    return total


def multiply_call(a: Array, packed: Array, out: Array) -> tuple[Any, ...]:
    """Add ``a @ b`` to ``out``.

    Parameters
    ----------
    a : (rows, depth) ndarray
        Float32 or float64.
    packed : ndarray
        ``pack(b)`` of b, ``(depth, columns)``.
    out : (rows, columns) ndarray
        Added to.
    """
    return multiply_loop, a, packed, _check(a, packed, out), out


def multiply_events_call(a: Array, packed: Array, out: Array) -> tuple[Any, ...]:
    """Add ``a @ b`` to ``out``, skipping zeros of a, and return the number of other values.

    Arguments are as in `multiply_call`.
    """
    width, depth = _check(a, packed, out), a.shape[1]
    index, values = np.empty(depth, np.intp), np.empty(depth, a.dtype)
    return multiply_events_loop, a, packed, width, depth, out, index, values


multiply, multiply_events = entry(multiply_call), entry(multiply_events_call)


def _check(a: Array, packed: Array, out: Array) -> int:
    """Check the arguments of both products; return the width of a panel."""
    dtype = checks.floats("a", a, 2)
    checks.floats("out", out, 2)
    depth, columns = a.shape[1], out.shape[1]
    checks.write("out", out, dtype, (len(a), columns))
    checks.read("packed", packed, dtype, (packed_size(depth, columns, dtype),))
    return _WIDTHS[dtype]


def panel_width(dtype: Any) -> int:
    """Return the columns of a full panel: two vector registers."""
    return 2 * BYTES // int(np.dtype(dtype).itemsize)


_WIDTHS = {dtype: panel_width(dtype) for dtype in (checks.FLOAT32, checks.FLOAT64)}


def packed_size(depth: int, columns: int, dtype: Any) -> int:
    """Return the size of a packed ``(depth, columns)`` matrix."""
    width = _WIDTHS[dtype]
    half = width // 2
    full, left = divmod(columns, width)
    return depth * (full * width + (0 if not left else half if left <= half else width))


def pack(b: Array) -> Array:
    """Reorder a matrix into the panels that `multiply` reads.

    Parameters
    ----------
    b : (depth, columns) ndarray
        The right factor.

    Returns
    -------
    ndarray
        The columns in panels, each panel row by row, the last one padded with zeros; aligned to a
        cache line.
    """
    depth, columns = b.shape
    width = panel_width(b.dtype)
    panels = []
    for first in range(0, columns, width):
        taken = width if columns - first > width // 2 else width // 2
        panel = np.zeros((depth, taken), b.dtype)
        panel[:, : columns - first] = b[:, first : first + taken]
        panels.append(panel.reshape(-1))
    flat = np.concatenate(panels) if panels else np.zeros(0, b.dtype)
    return aligned(flat)
