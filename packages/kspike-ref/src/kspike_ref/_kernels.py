"""The time loops, compiled by Numba, and nothing else: no validation, no defaults.

Every kernel walks over ``x`` as ``(rows, steps, units)``, C-contiguous, carries its state in
float64, and writes ``out`` of the same shape. A row is an example, or the only one when time is the
first axis (examples and units are then one long axis). ``x`` may hold a single step, which is then
presented at every step of ``out``. ``region`` is the part to work on, ``(first_row, last_row,
first_unit, last_unit)``: kernels run on one thread, and a caller gives each thread a region.

The loop over time is outside and the loop over units inside: memory is read and written in its
own order, units are vectorised, and the state of one row stays in the L1 cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref._jit import kernel

Array = Any  # Numba specialises on the data type: float32 or float64
Region = tuple[int, int, int, int]

TICK = 2.0**-32  # the grid of the voltage


@kernel
def spike(x: Array, gain: float, height: float, region: Region, voltage: Array, out: Array) -> None:
    """Integrate ``x`` on the voltage grid; ``gain`` is dt·2³², ``height`` is 1/dt."""
    first_row, last_row, first, last = region
    moving = min(1, x.shape[1] - 1)
    for row in range(first_row, last_row):
        v = voltage[row, first:last]
        for t in range(out.shape[1]):
            rates = x[row, t * moving, first:last]
            spikes = out[row, t, first:last]
            for i in range(v.size):
                a = v[i] + np.rint(np.float64(rates[i]) * gain) * TICK
                n = np.floor(a)
                v[i] = a - n
                spikes[i] = n  # to the output's precision first: the product is rounded there
                spikes[i] *= height


@kernel
def lowpass(x: Array, decay: Array, region: Region, level: Array, out: Array) -> None:
    """Relax ``level`` towards ``x``; ``decay`` is exp(−dt/τ) of each unit."""
    first_row, last_row, first, last = region
    moving = min(1, x.shape[1] - 1)
    d = decay[first:last]
    for row in range(first_row, last_row):
        y = level[row, first:last]
        for t in range(out.shape[1]):
            target = x[row, t * moving, first:last]
            filtered = out[row, t, first:last]
            for i in range(d.size):
                u = np.float64(target[i])
                y[i] = u + d[i] * (y[i] - u)
                filtered[i] = y[i]


@kernel
def alpha(x: Array, decay: Array, ramp: Array, region: Region, state: Array, out: Array) -> None:
    """Filter twice; ``decay`` is e = exp(−s), ``ramp`` is e·s, with s = dt/τ of each unit.

    ``state`` is ``(rows, 2, units)``: the output y, then its scaled derivative p = τ·dy/dt.
    """
    first_row, last_row, first, last = region
    moving = min(1, x.shape[1] - 1)
    e = decay[first:last]
    es = ramp[first:last]
    for row in range(first_row, last_row):
        y = state[row, 0, first:last]
        p = state[row, 1, first:last]
        for t in range(out.shape[1]):
            target = x[row, t * moving, first:last]
            filtered = out[row, t, first:last]
            for i in range(e.size):
                u = np.float64(target[i])
                w = y[i] - u
                k = es[i] * (p[i] + w)
                p[i] = e[i] * p[i] - k
                y[i] = u + (e[i] * w + k)
                filtered[i] = y[i]
