"""Loops over time: spikes from rates, the two filters, and means.

Every loop takes ``x``, ``(rows, steps, units)`` and C-contiguous, keeps its state in float64, and
writes ``out`` of the same shape (`mean` without the steps). A row is an example. If time is the
first axis, there is one row, whose units are those of all examples. ``x`` may hold a single step,
which is then repeated at every step of ``out``. ``region`` is the part to work on, ``(first_row,
last_row, first_unit, last_unit)``: kernels run on one thread, and a caller gives each thread a
region.

The loop over time contains the loop over units: memory is accessed in order, units are vectorised,
and the state of one row stays in the L1 cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.kernels import checks, entry, kernel

Array = Any  # Numba specialises on the data type: float32 or float64
Region = tuple[int, int, int, int]
Call = tuple[Any, ...]  # a compiled loop, and its arguments

TICK = 2.0**-32  # the grid of the voltage
L1_UNITS = 512  # their state and coefficients in `alpha_loop` fill half of an L1 cache


@kernel
def spike_loop(
    x: Array, gain: float, height: float, rectifies: bool, region: Region, voltage: Array,
    out: Array,
) -> None:  # fmt: skip
    """Integrate ``x`` on the voltage grid; ``gain`` is dt·2³², ``height`` is 1/dt.

    If it ``rectifies``, negative rates count as 0.
    """
    first_row, last_row, first, last = region
    stride = min(1, x.shape[1] - 1)  # 0 if one step stands for all
    for row in range(first_row, last_row):
        v = voltage[row, first:last]
        for t in range(out.shape[1]):
            rates = x[row, t * stride, first:last]
            spikes = out[row, t, first:last]
            for i in range(v.size):
                rate = max(rates[i], rates.dtype.type(0)) if rectifies else rates[i]
                a = v[i] + np.rint(np.float64(rate) * gain) * TICK  # an exact product
                n = np.floor(a)
                v[i] = a - n
                spikes[i] = n  # round to the output's type first: the product is rounded in it
                spikes[i] *= height


@kernel
def lowpass_loop(x: Array, decay: Array, region: Region, level: Array, out: Array) -> None:
    """Relax ``level`` towards ``x``; ``decay`` is exp(−dt/τ) of each unit."""
    first_row, last_row, first, last = region
    stride = min(1, x.shape[1] - 1)  # 0 if one step stands for all
    d = decay[first:last]
    for row in range(first_row, last_row):
        y = level[row, first:last]
        for t in range(out.shape[1]):
            target = x[row, t * stride, first:last]
            filtered = out[row, t, first:last]
            for i in range(d.size):
                u = np.float64(target[i])
                relaxed = u + d[i] * (y[i] - u)
                filtered[i] = relaxed
                y[i] = relaxed


@kernel
def alpha_loop(
    x: Array, decay: Array, ramp: Array, region: Region, state: Array, out: Array
) -> None:
    """Apply an alpha filter; ``decay`` is e = exp(−s), ``ramp`` is e·s, with s = dt/τ of each unit.

    ``state`` is ``(rows, 2, units)``: the output y, then p = τ·dy/dt. With w = y − x and z = p + w,
    y ← x + e·w + e·s·z and p ← e·p − e·s·z, which is x + e·z − y with the new y. In this form each
    sum has one product to fuse, so the bits do not depend on the compiler's choice.
    """
    first_row, last_row, first, last = region
    stride = min(1, x.shape[1] - 1)  # 0 if one step stands for all
    e = decay[first:last]
    es = ramp[first:last]
    steps = out.shape[1]
    # State and coefficients take 32 bytes per unit. If they leave no room in the L1 cache, compute
    # two steps each time they are read.
    pairs = steps // 2 if e.size > L1_UNITS else 0
    for row in range(first_row, last_row):
        y = state[row, 0, first:last]
        p = state[row, 1, first:last]
        for t in range(0, 2 * pairs, 2):
            alpha_pair(
                x[row, t * stride, first:last],
                x[row, (t + 1) * stride, first:last],
                e,
                es,
                y,
                p,
                out[row, t, first:last],
                out[row, t + 1, first:last],
            )
        for t in range(2 * pairs, steps):
            target = x[row, t * stride, first:last]
            filtered = out[row, t, first:last]
            for i in range(e.size):
                v = np.float64(target[i])
                w = y[i] - v
                z = p[i] + w
                level = v + e[i] * w + es[i] * z
                p[i] = v + e[i] * z - level
                filtered[i] = level
                y[i] = level


@kernel
def mean_loop(x: Array, steps: int, total: Array, count: Array, out: Array) -> None:
    """Fill ``out`` with the means so far; steps are added in order."""
    stride = min(1, x.shape[1] - 1)  # 0 if one step stands for all
    for row in range(x.shape[0]):
        sums = total[row]
        for t in range(steps):
            for i in range(sums.size):
                sums[i] += x[row, t * stride, i]
        count[row] += steps
        for i in range(sums.size):
            out[row, i] = sums[i] / count[row]


@kernel
def alpha_pair(
    x0: Array, x1: Array, e: Array, es: Array, y: Array, p: Array, out0: Array, out1: Array
) -> None:
    """Compute two steps of `alpha_loop`, with the state between them in registers."""
    for i in range(e.size):
        v = np.float64(x0[i])
        w = y[i] - v
        z = p[i] + w
        level = v + e[i] * w + es[i] * z
        slope = v + e[i] * z - level
        out0[i] = level
        v = np.float64(x1[i])
        w = level - v
        z = slope + w
        level = v + e[i] * w + es[i] * z
        p[i] = v + e[i] * z - level
        out1[i] = level
        y[i] = level


def spike(x: Array, gain: float, height: float, region: Region, voltage: Array, out: Array) -> None:
    """Turn rates into spikes.

    Parameters
    ----------
    x : (rows, steps, units) or (rows, 1, units) ndarray
        Rates in Hz, float32 or float64.
    gain, height : float
        dt·2³² and 1/dt.
    region : tuple of int
        The part to work on.
    voltage : (rows, units) ndarray
        Float64, on the grid; updated.
    out : (rows, steps, units) ndarray
        Of the type of ``x``; filled.
    """
    loop, *arguments = spike_call(x, gain, height, False, region, voltage, out)
    loop(*arguments)


def spike_call(
    x: Array, gain: float, height: float, rectifies: bool, region: Region, voltage: Array,
    out: Array,
) -> Call:  # fmt: skip
    """Return the loop of `spike` and its arguments, checked; ``rectifies`` is for `spike_loop`."""
    rows, units = _check(x, region, out)
    checks.write("voltage", voltage, checks.FLOAT64, (rows, units))
    scale = out.dtype.type(height)
    return spike_loop, x, float(gain), scale, bool(rectifies), region, voltage, out


def lowpass_call(x: Array, decay: Array, region: Region, level: Array, out: Array) -> Call:
    """Filter with an exponential synapse.

    Parameters
    ----------
    x : (rows, steps, units) or (rows, 1, units) ndarray
        Float32 or float64.
    decay : (units,) ndarray
        exp(−dt/τ), float64.
    region : tuple of int
        The part to work on.
    level : (rows, units) ndarray
        The output so far, float64; updated.
    out : (rows, steps, units) ndarray
        Of the type of ``x``; filled.
    """
    rows, units = _check(x, region, out)
    checks.read("decay", decay, checks.FLOAT64, (units,))
    checks.write("level", level, checks.FLOAT64, (rows, units))
    return lowpass_loop, x, decay, region, level, out


lowpass = entry(lowpass_call)


def mean_call(x: Array, steps: int, total: Array, count: Array, out: Array) -> Call:
    """Fill ``out`` with the means over the steps so far.

    Parameters
    ----------
    x : (rows, steps, units) or (rows, 1, units) ndarray
        Float32 or float64.
    steps : int
        The number of steps; a single step of ``x`` is repeated that many times.
    total : (rows, units) ndarray
        The sum so far, float64; updated.
    count : (rows,) ndarray
        The number of steps so far, float64; updated.
    out : (rows, units) ndarray
        Of the type of ``x``; filled.
    """
    dtype = checks.floats("out", out, 2, checks.WRITE)
    rows, units = out.shape
    given = checks.integer("steps", steps)
    checks.read("x", x, dtype, (rows, 1 if _is_one_step(x) else given, units))
    checks.write("total", total, checks.FLOAT64, (rows, units))
    checks.write("count", count, checks.FLOAT64, (rows,))
    return mean_loop, x, steps, total, count, out


mean = entry(mean_call)


def alpha_call(
    x: Array, decay: Array, ramp: Array, region: Region, state: Array, out: Array
) -> Call:
    """Filter with an alpha synapse.

    Parameters
    ----------
    x : (rows, steps, units) or (rows, 1, units) ndarray
        Float32 or float64.
    decay, ramp : (units,) ndarray
        exp(−s) and s·exp(−s), with s = dt/τ; float64.
    region : tuple of int
        The part to work on.
    state : (rows, 2, units) ndarray
        The output so far, and τ times its derivative; float64, updated.
    out : (rows, steps, units) ndarray
        Of the type of ``x``; filled.
    """
    rows, units = _check(x, region, out)
    checks.read("decay", decay, checks.FLOAT64, (units,))
    checks.read("ramp", ramp, checks.FLOAT64, (units,))
    checks.write("state", state, checks.FLOAT64, (rows, 2, units))
    return alpha_loop, x, decay, ramp, region, state, out


alpha = entry(alpha_call)


def _check(x: Array, region: Region, out: Array) -> tuple[int, int]:
    """Check the arguments of all but `mean`; return the numbers of rows and units."""
    dtype = checks.floats("out", out, 3, checks.WRITE)
    rows, _, units = out.shape
    checks.read("x", x, dtype, (rows, 1, units) if _is_one_step(x) else out.shape)
    if type(region) is not tuple or len(region) != 4:
        raise TypeError(f"region must be four numbers. Received: {region!r}")
    checks.between("rows of region", region[0], region[1], rows)
    checks.between("units of region", region[2], region[3], units)
    return rows, units


def _is_one_step(x: Array) -> bool:
    return getattr(x, "shape", ())[1:2] == (1,)
