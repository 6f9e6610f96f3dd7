"""Loops over time on arrays, compiled by Numba, and nothing else: no validation, outputs last.

Sequences are ``(batch, time, units)`` in C order, states and coefficients float64. An item of work
is one row of the batch and up to `BLOCK` units, with all of its steps; each kernel does the items
from ``first`` to ``last``, so that several threads can share the items. What an item writes, no
other item touches; its state stays in the processor's caches.

The products are rounded before they are added: Numba leaves it so without ``fastmath``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

# Units of an item. With 256, of 1,024, a step's memory is read in pieces: training steps of the
# layers took a tenth to a quarter longer.
BLOCK = 2048
LINE = 16  # elements of float32 in a cache line
TICKS = 2.0**32  # steps of the voltage grid in one spike

compiled = numba.njit(cache=True, nogil=True)


def _prefetching(write: int) -> Any:
    def prefetch(_: Any, array: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, args[0]).data
            pointer, number = cgutils.voidptr_t, ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
            place = builder.bitcast(builder.gep(data, [args[1]]), pointer)
            # Into the nearest level of the data cache.
            builder.call(function, [place, number(write), number(3), number(1)])
            return context.get_dummy_value()

        return types.void(array, index), generate

    return intrinsic(prefetch)


# Processors foresee passes that go up in memory; those back in time have to ask for their data.
_will_read = _prefetching(0)
_will_write = _prefetching(1)


@compiled
def items(sequence: Any) -> Any:
    """Return the number of items."""
    return sequence.shape[0] * ((sequence.shape[2] + BLOCK - 1) // BLOCK)


@compiled
def _place(item: Any, units: Any) -> Any:
    """Return the row of an item, its first unit and the one after its last."""
    columns = (units + BLOCK - 1) // BLOCK
    left = item % columns * BLOCK
    return item // columns, left, min(left + BLOCK, units)


@compiled
def spikes(rates: Any, start: Any, dt: Any, out: Any, end: Any, first: Any, last: Any) -> None:
    """Integrate and fire: v ← v + rate·dt on the grid, n = floor(v), v ← v − n."""
    scale = dt * TICKS
    voltage = np.empty(BLOCK)
    for item in range(first, last):
        row, left, right = _place(item, rates.shape[2])
        v = voltage[: right - left]
        v[:] = start[row, left:right]
        for t in range(rates.shape[1]):
            r, y = rates[row, t, left:right], out[row, t, left:right]
            height = y.dtype.type(1.0 / dt)
            for i in range(right - left):
                a = v[i] + np.rint(np.float64(r[i]) * scale) * (1 / TICKS)
                count = np.floor(a)
                v[i] = a - count
                y[i] = y.dtype.type(count) * height
        end[row, left:right] = v


@compiled
def lowpass(x: Any, start: Any, decay: Any, out: Any, end: Any, first: Any, last: Any) -> None:
    """Filter: y ← x + e·(y − x)."""
    level = np.empty(BLOCK)
    for item in range(first, last):
        row, left, right = _place(item, x.shape[2])
        s, e = level[: right - left], decay[left:right]
        s[:] = start[row, 0, left:right]
        for t in range(x.shape[1]):
            u, y = x[row, t, left:right], out[row, t, left:right]
            for i in range(right - left):
                now = u[i] + e[i] * (s[i] - u[i])
                s[i] = now
                y[i] = now
        end[row, 0, left:right] = s


@compiled
def lowpass_back(
    x: Any,
    start: Any,
    decay: Any,
    gain: Any,
    d_out: Any,
    d_end: Any,
    d_x: Any,
    d_start: Any,
    change: Any,
    first: Any,
    last: Any,
) -> None:
    """Take gradients back through `lowpass`: to its input, its state, and r = −log e.

    With g the gradient of the output, and c that of the state after a step: a = g + c,
    ∂x = (1 − e)·a, c ← e·a. As the loss of such outputs is the sum of ∂x·x and of c·state, its
    derivative for r, at fixed g, is that of ∂x and c; so m = dc/dr goes along, with de/dr = −e.
    """
    scratch = np.empty((3, BLOCK))
    for item in range(first, last):
        row, left, right = _place(item, x.shape[2])
        n = right - left
        c, m, total = scratch[0, :n], scratch[1, :n], scratch[2, :n]
        c[:] = d_end[row, 0, left:right]
        m[:] = 0
        total[:] = 0
        e, f = decay[left:right], gain[left:right]
        for t in range(x.shape[1] - 1, -1, -1):
            u, g, d = x[row, t, left:right], d_out[row, t, left:right], d_x[row, t, left:right]
            if t > 0:
                _expect(x, d_out, d_x, row, t - 1, left, right)
            for i in range(n):
                a = g[i] + c[i]
                moved = m[i]
                d[i] = f[i] * a
                total[i] += u[i] * (e[i] * a + f[i] * moved)
                c[i] = e[i] * a
                m[i] = e[i] * (moved - a)
        d_start[row, 0, left:right] = c
        for i in range(n):
            change[row, left + i] = total[i] + start[row, 0, left + i] * m[i]


@compiled
def alpha(
    x: Any, start: Any, decay: Any, slope: Any, out: Any, end: Any, first: Any, last: Any
) -> None:
    """Filter: w = y − x, k = e·r·(p + w), p ← e·p − k, y ← x + e·w + k; ``slope`` is e·r."""
    scratch = np.empty((2, BLOCK))
    for item in range(first, last):
        row, left, right = _place(item, x.shape[2])
        n = right - left
        s, p = scratch[0, :n], scratch[1, :n]
        s[:] = start[row, 0, left:right]
        p[:] = start[row, 1, left:right]
        e, q = decay[left:right], slope[left:right]
        for t in range(x.shape[1]):
            u, y = x[row, t, left:right], out[row, t, left:right]
            for i in range(n):
                w = s[i] - u[i]
                k = q[i] * (p[i] + w)
                p[i] = e[i] * p[i] - k
                now = u[i] + e[i] * w + k
                s[i] = now
                y[i] = now
        end[row, 0, left:right] = s
        end[row, 1, left:right] = p


@compiled
def alpha_back(
    x: Any,
    start: Any,
    decay: Any,
    slope: Any,
    gain: Any,
    bend: Any,
    d_out: Any,
    d_end: Any,
    d_x: Any,
    d_start: Any,
    change: Any,
    first: Any,
    last: Any,
) -> None:
    """Take gradients back through `alpha`, as `lowpass_back` does.

    With a = g + c₁ and b = c₂ the gradients of y and p after a step, and k = e·r·(a − b):
    ∂x = (1 − e·(1 + r))·a + e·r·b, c₁ ← e·a + k, c₂ ← e·b + k. The derivatives for r of e, e·r and
    the gain 1 − e·(1 + r) are −e, ``bend`` = e·(1 − r) and ``slope`` = e·r.
    """
    scratch = np.empty((5, BLOCK))
    for item in range(first, last):
        row, left, right = _place(item, x.shape[2])
        n = right - left
        c1, c2, m1 = scratch[0, :n], scratch[1, :n], scratch[2, :n]
        m2, total = scratch[3, :n], scratch[4, :n]
        c1[:] = d_end[row, 0, left:right]
        c2[:] = d_end[row, 1, left:right]
        m1[:] = 0
        m2[:] = 0
        total[:] = 0
        e, q, f, h = decay[left:right], slope[left:right], gain[left:right], bend[left:right]
        for t in range(x.shape[1] - 1, -1, -1):
            u, g, d = x[row, t, left:right], d_out[row, t, left:right], d_x[row, t, left:right]
            if t > 0:
                _expect(x, d_out, d_x, row, t - 1, left, right)
            for i in range(n):
                a, b = g[i] + c1[i], c2[i]
                moved1, moved2 = m1[i], m2[i]
                d[i] = f[i] * a + q[i] * b
                total[i] += u[i] * (q[i] * (a + moved2) + f[i] * moved1 + h[i] * b)
                k = q[i] * (a - b)
                moved = h[i] * (a - b) + q[i] * (moved1 - moved2)
                c1[i] = e[i] * a + k
                c2[i] = e[i] * b + k
                m1[i] = e[i] * (moved1 - a) + moved
                m2[i] = e[i] * (moved2 - b) + moved
        d_start[row, 0, left:right] = c1
        d_start[row, 1, left:right] = c2
        for i in range(n):
            begin = start[row, 0, left + i] * m1[i] + start[row, 1, left + i] * m2[i]
            change[row, left + i] = total[i] + begin


@compiled
def _expect(x: Any, d_out: Any, d_x: Any, row: Any, t: Any, left: Any, right: Any) -> None:
    """Prefetch what a step back in time reads and writes."""
    u, g, d = x[row, t, left:right], d_out[row, t, left:right], d_x[row, t, left:right]
    for i in range(0, right - left, LINE):
        _will_read(u, i)
        _will_read(g, i)
        _will_write(d, i)
