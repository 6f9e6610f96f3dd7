"""One compiled loop for a chain of dense, spiking and filter layers: no array is made in between.

A block of examples goes through all layers while its activations are in a core's caches. A program
is a table with one row for each layer; weights and states are pieces of flat arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kspike_ref.kernels import checks, inlined, kernel
from kspike_ref.kernels.events import count_loop
from kspike_ref.kernels.matmul import (
    multiply_events_loop,
    multiply_loop,
    packed_size,
    panel_width,
)
from kspike_ref.kernels.memory import aligned, frozen
from kspike_ref.kernels.time import alpha_loop, lowpass_loop, spike_loop

Array = Any

DENSE, RECTIFY, SPIKE, LOWPASS, ALPHA, MEAN, LAST = range(7)
KIND, INPUTS, UNITS, WEIGHTS, BIAS, RELU, STATE, KEPT, CONSTANTS, EVENTS, SHARE, FIELDS = range(12)
OPERATIONS, NONZERO, SYNOPS, COUNTS = range(4)  # what `counts` holds for each layer
_TEMPORAL = (SPIKE, LOWPASS, ALPHA, MEAN)
_CACHE = 1 << 18  # bytes of a block's activations: with the weights they stay in the L2 cache
_FEWEST = 6  # rows of a block: a register tile takes so many
WHOLE = 1 << 20  # `SHARE` of so many inputs are events, below which a product goes by events


@kernel
def rectify(x: Array) -> None:
    """Set what is negative to zero."""
    for i in range(x.size):
        x[i] = max(x[i], np.float32(0))


@inlined
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
        nonzero = count_loop(x.reshape(-1))
        counts[NONZERO] += nonzero
        counts[SYNOPS] += nonzero * units
        if nonzero * WHOLE < op[SHARE] * x.size:
            index, values = np.empty(depth, np.intp), np.empty(depth, x.dtype)
            multiply_events_loop(x, packed, width, depth, out, index, values)
            counts[OPERATIONS] += nonzero * units
        else:
            multiply_loop(x, packed, width, out)
            counts[OPERATIONS] += everything
    else:
        multiply_loop(x, packed, width, out)
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


@inlined
def spread(op: Array, x: Array, constants: Array, state: Array, out: Array) -> None:
    """Run a spiking or filter layer over time; ``state`` is a flat piece, for these rows."""
    size, units = out.shape[0], op[UNITS]
    region = (0, size, 0, units)
    at = op[CONSTANTS]
    if op[KIND] == ALPHA:
        middle = at + units
        ramp = constants[middle : middle + units]
        alpha_loop(x, constants[at:middle], ramp, region, state.reshape((size, 2, units)), out)
        return
    level = state.reshape((size, units))
    if op[KIND] == LOWPASS:
        lowpass_loop(x, constants[at : at + units], region, level, out)
    else:
        height: Any = np.float32(constants[at + 1])
        spike_loop(x, constants[at], height, region, level, out)


@inlined
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
def chain_loop(
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


class Program:
    """A chain of layers, checked once and ready to run.

    Parameters
    ----------
    table : list of list of int
        A row of ``FIELDS`` numbers for each layer.
    weights : (size,) ndarray
        Float32: packed matrices and biases, where the table says.
    constants : (size,) ndarray
        Float64: what spiking and filter layers multiply with, where the table says.

    Attributes
    ----------
    inputs, units : int
        The numbers of one example's inputs and outputs.
    kept : int
        How many numbers of state an example has.
    widest : int
        The largest number of inputs or units of a layer.
    reduces : bool
        Whether time is gone at the end.

    Raises
    ------
    TypeError, ValueError
        If a row asks for a piece that is not in the arrays, does not fit to the one before, or is
        of no known kind.
    """

    def __init__(self, table: Any, weights: Array, constants: Array) -> None:
        rows = np.array(table, np.intp)
        checks.read("table", rows, checks.INDEX, (len(rows), FIELDS))
        checks.read("weights", weights, checks.FLOAT32, (np.size(weights),))
        checks.read("constants", constants, checks.FLOAT64, (np.size(constants),))
        if not len(rows):
            raise ValueError("table must have a row")
        self.kept, units, moves = 0, int(rows[0, INPUTS]), False
        for row in rows.tolist():
            if row[INPUTS] != units or row[INPUTS] < 0 or row[UNITS] < 0:
                raise ValueError(f"a layer must have {units} inputs. Received: {row}")
            self.kept += _check_row(row, weights.size, constants.size, self.kept)
            units, moves = row[UNITS], moves or row[KIND] in _TEMPORAL
        if not moves:
            raise ValueError("table must have a layer over time")
        kinds = rows[:, KIND]
        self.reduces = bool(np.isin(kinds, (MEAN, LAST)).any())
        self._fewest_steps = int((kinds == LAST).any())
        self.inputs, self.units = int(rows[0, INPUTS]), units
        self.widest = int(rows[:, [INPUTS, UNITS]].max())
        self.table: Array = frozen(rows)
        self._weights, self._constants = frozen(aligned(weights)), frozen(constants.copy())
        self._width = panel_width(np.float32)
        self._room = (0, 0), self.scratch(0, 0)  # for the rows and steps that came last

    def scratch(self, rows: int, steps: int) -> tuple[int, int]:
        """Return how many rows go through all layers at once, and how many numbers they take."""
        row = max(1, self.widest * steps)
        block = max(_FEWEST, min(rows, _CACHE // (8 * row)))
        return block, min(block, max(1, rows)) * row

    def run(self, x: Array, steps: int, state: Array, out: Array) -> Array:
        """Run over steps.

        Parameters
        ----------
        x : (rows, steps, inputs) or (rows, 1, inputs) ndarray
            Float32; a single step is presented at all steps. It must be writable, so that there is
            one compiled loop and not two, and is not written.
        steps : int
            How many.
        state : (rows·kept,) ndarray
            Float64: for each layer in turn, what it keeps of all rows; updated.
        out : (rows, units) or (rows, steps·units) ndarray
            Float32, filled: with all steps unless the program `reduces`.

        Returns
        -------
        (layers, COUNTS) ndarray
            For each row of the table: operations, events, synaptic operations.

        Raises
        ------
        TypeError, ValueError
            If an argument is of another type, shape or memory layout.
        """
        checks.integer("steps", steps, self._fewest_steps)
        shape = getattr(x, "shape", ())
        rows = shape[0] if shape else 0
        given = 1 if shape[1:2] == (1,) else steps
        checks.write("x", x, checks.FLOAT32, (rows, given, self.inputs))
        checks.write("state", state, checks.FLOAT64, (rows * self.kept,))
        made = 1 if self.reduces else steps
        checks.write("out", out, checks.FLOAT32, (rows, made * self.units))
        known, room = self._room
        if known != (rows, steps):
            room = self.scratch(rows, steps)
            self._room = (rows, steps), room
        block, size = room
        scratch = np.empty((2, size), checks.FLOAT32)
        counts = np.zeros((len(self.table), COUNTS), checks.COUNT)
        chain_loop(
            x, steps, self.table, self._weights, self._width, self._constants, state,
            block, scratch, counts, out,
        )  # fmt: skip
        return counts


def _check_row(row: list[int], weights: int, constants: int, kept: int) -> int:
    """Check that what a layer needs is there; return how many numbers of state it keeps."""
    kind, inputs, units = row[KIND], row[INPUTS], row[UNITS]
    states = {SPIKE: units, LOWPASS: units, ALPHA: 2 * units, MEAN: units + 1}
    values = {SPIKE: 2, LOWPASS: units, ALPHA: 2 * units}
    if kind == DENSE:
        size = packed_size(inputs, units, checks.FLOAT32)
        fits = 0 <= row[WEIGHTS] <= weights - size and row[BIAS] <= weights - units
        fits = fits and 0 <= row[SHARE] <= WHOLE
    else:
        fits = kind in (RECTIFY, LAST, *states) and units == inputs
    if kind in states:
        fits = fits and row[KEPT] == states[kind] and row[STATE] == kept
    else:
        fits = fits and row[KEPT] == 0
    if kind in values:
        fits = fits and 0 <= row[CONSTANTS] <= constants - values[kind]
    if not fits:
        raise ValueError(f"a layer must have its weights, constants and state. Received: {row}")
    return states.get(kind, 0)
