"""One compiled loop for a chain of dense, spiking and filter layers: no array is made in between.

A block of examples goes through all layers while its activations are in a core's caches. A program
is a table with one row for each layer; weights and states are pieces of flat arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref._event_kernels import count
from kspike_ref._jit import kernel
from kspike_ref._kernels import alpha, lowpass, spike
from kspike_ref._matmul import multiply, multiply_events

Array = Any

DENSE, RECTIFY, SPIKE, LOWPASS, ALPHA, MEAN, LAST = range(7)
KIND, INPUTS, UNITS, WEIGHTS, BIAS, RELU, STATE, KEPT, CONSTANTS, EVENTS, SHARE, FIELDS = range(12)
OPERATIONS, NONZERO, SYNOPS, COUNTS = range(4)  # what `counts` holds for each layer
WHOLE = 1 << 20  # `SHARE` of so many inputs are events, below which a product goes by events


@kernel
def rectify(x: Array) -> None:
    """Set what is negative to zero."""
    for i in range(x.size):
        x[i] = max(x[i], np.float32(0))


@kernel
def dense(op: Array, x: Array, weights: Array, width: int, out: Array, counts: Array) -> None:
    """Multiply rows with a layer's packed matrix; ``x`` and ``out`` are two-dimensional."""
    depth, units = op[INPUTS], op[UNITS]
    if op[BIAS] >= 0:
        bias = weights[op[BIAS] : op[BIAS] + units]
        for row in range(out.shape[0]):
            for i in range(units):
                out[row, i] = bias[i]
    else:
        out[:, :] = 0
    packed = weights[op[WEIGHTS] :]
    everything = x.shape[0] * depth * units
    if op[EVENTS]:
        nonzero = count(x.reshape(-1))
        counts[NONZERO] += nonzero
        counts[SYNOPS] += nonzero * units
        if nonzero * WHOLE < op[SHARE] * x.size:
            index, values = np.empty(depth, np.intp), np.empty(depth, x.dtype)
            multiply_events(x, packed, width, depth, out, index, values)
            counts[OPERATIONS] += nonzero * units
        else:
            multiply(x, packed, width, out)
            counts[OPERATIONS] += everything
    else:
        multiply(x, packed, width, out)
        counts[OPERATIONS] += everything
    if op[RELU]:
        rectify(out.reshape(-1))


@kernel
def mean(x: Array, steps: int, state: Array, out: Array) -> None:
    """Fill ``out`` with the means so far; ``state`` is ``(rows, units + 1)``, sums and a count."""
    moving = min(1, x.shape[1] - 1)
    for row in range(x.shape[0]):
        total = state[row]
        units = total.size - 1
        for t in range(steps):
            for i in range(units):
                total[i] += x[row, t * moving, i]
        total[units] += steps
        for i in range(units):
            out[row, i] = total[i] / total[units]


@kernel
def spread(op: Array, x: Array, constants: Array, state: Array, out: Array) -> None:
    """Run a spiking or filter layer over time; ``state`` is a flat piece, for these rows."""
    size, units = out.shape[0], op[UNITS]
    region = (0, size, 0, units)
    at = op[CONSTANTS]
    if op[KIND] == ALPHA:
        middle = at + units
        ramp = constants[middle : middle + units]
        alpha(x, constants[at:middle], ramp, region, state.reshape((size, 2, units)), out)
        return
    level = state.reshape((size, units))
    if op[KIND] == LOWPASS:
        lowpass(x, constants[at : at + units], region, level, out)
    else:
        height: Any = np.float32(constants[at + 1])
        spike(x, constants[at], height, region, level, out)


@kernel
def run_layer(
    op: Array, x: Array, given: int, size: int, weights: Array, width: int, constants: Array,
    state: Array, counts: Array, out: Array,
) -> None:  # fmt: skip
    """Run one layer on a block of ``size`` rows; ``x`` and ``out`` are flat."""
    kind, inputs, units = op[KIND], op[INPUTS], op[UNITS]
    steps = out.size // (size * units)
    sequence = x.reshape((size, given, inputs))
    if kind == DENSE:
        flat = x.reshape((size * given, inputs))
        dense(op, flat, weights, width, out.reshape((size * given, units)), counts)
    elif kind == RECTIFY:
        for i in range(x.size):
            out[i] = max(x[i], np.float32(0))
    elif kind == LAST:
        for row in range(size):
            for i in range(units):
                out[row * units + i] = sequence[row, given - 1, i]
    else:
        spread(op, sequence, constants, state, out.reshape((size, steps, units)))


@kernel
def run_chain(
    x: Array, steps: int, program: Array, weights: Array, width: int, constants: Array,
    state: Array, block: int, scratch: Array, counts: Array, out: Array,
) -> None:  # fmt: skip
    """Run a chain on ``x``, ``(rows, steps or 1, inputs)``.

    ``state`` is flat: for each layer in turn, what it keeps of all rows. ``scratch`` is two flat
    buffers for a block of rows. ``out`` is ``(rows, outputs)``, all steps where time is left.
    """
    rows = x.shape[0]
    for first in range(0, rows, block):
        size = min(block, rows - first)
        values = x[first : first + size].reshape(-1)
        given = x.shape[1]  # steps that the values have: all, or one that holds for all
        left = steps  # steps that the outputs have
        for layer in range(program.shape[0]):
            op = program[layer]
            made = given if op[KIND] == DENSE or op[KIND] == RECTIFY else left
            if op[KIND] == MEAN or op[KIND] == LAST:
                made = 1
            if layer == program.shape[0] - 1:
                target = out[first : first + size].reshape(-1)
            else:
                target = scratch[layer % 2, : size * made * op[UNITS]]
            at = op[STATE] * rows + first * op[KEPT]
            kept = state[at : at + size * op[KEPT]]
            if op[KIND] == MEAN:
                sums = kept.reshape((size, op[KEPT]))
                shape = (size, given, op[INPUTS])
                mean(values.reshape(shape), left, sums, target.reshape((size, op[UNITS])))
            else:
                run_layer(
                    op, values, given, size, weights, width, constants, kept, counts[layer], target
                )
            if op[KIND] == MEAN or op[KIND] == LAST:
                left = 1
            values, given = target, made
