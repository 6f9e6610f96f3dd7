"""Softmax over short rows: the reductions, and the passes that need them.

NumPy starts a loop for every row of a reduction along a short axis. For ten classes, that takes
most of the time of a softmax.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.kernels import checks, compiled, entry, kernel

Array = Any

LONGEST = 128  # elements of a row; NumPy adds longer ones up in halves


@kernel
def shift_loop(x: Array, out: Array) -> None:
    """Subtract every row's maximum; the result is NaN if a row holds NaN."""
    for i in range(x.shape[0]):
        largest = x[i, 0]
        for j in range(1, x.shape[1]):
            value = x[i, j]
            if not (value <= largest or largest != largest):
                largest = value
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - largest


@kernel
def divide_loop(values: Array) -> None:
    """Divide every row by its sum, which is added up in NumPy's order: in eight parts."""
    length = values.shape[1]
    whole = length - length % 8
    for i in range(values.shape[0]):
        row = values[i]
        total = row[0]
        if length < 8:
            for j in range(1, length):
                total += row[j]
        else:
            a, b, c, d = row[0], row[1], row[2], row[3]
            e, f, g, h = row[4], row[5], row[6], row[7]
            for j in range(8, whole, 8):
                a += row[j]
                b += row[j + 1]
                c += row[j + 2]
                d += row[j + 3]
                e += row[j + 4]
                f += row[j + 5]
                g += row[j + 6]
                h += row[j + 7]
            total = ((a + b) + (c + d)) + ((e + f) + (g + h))
            for j in range(whole, length):
                total += row[j]
        for j in range(length):
            row[j] /= total


def softmax_call(x: Array, out: Array) -> tuple[Any, ...]:
    """Compute the softmax of every row, with the bits of NumPy's ``max``, ``exp`` and ``sum``.

    Parameters
    ----------
    x : (rows, columns) ndarray
        Float32 or float64, with 1 to `LONGEST` columns.
    out : (rows, columns) ndarray
        Of the type of ``x``; filled. It may be ``x`` itself.
    """
    dtype = checks.floats("out", out, 2, checks.WRITE)
    checks.read("x", x, dtype, out.shape)
    if not 0 < out.shape[1] <= LONGEST:
        raise ValueError(f"out must have 1 to {LONGEST} columns. Received: {out.shape}")
    shift, divide = compiled(shift_loop, x, out), compiled(divide_loop, out)

    def run(x: Array, out: Array) -> None:
        shift(x, out)
        np.exp(out, out)
        divide(out)

    return run, x, out


softmax = entry(softmax_call)
