"""Loops around a kernel's formulas, over examples, steps and units.

Numba compiles them for each kernel and dtype of sequences. They get the address of a `driver.RUN`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from kspike_tf.scan.cpu.driver import ARGS, BLOCK, DOUBLE, INT, OUTPUTS, RUN, inside
from kspike_tf.scan.cpu.intrinsics import elements, prefetch, record
from kspike_tf.scan.cpu.kernels import Kernel

# Backward steps of fewer units than PREFETCHED prefetch the previous step, one cache line (LINE
# elements) at a time: otherwise, they take two to three times as long. Hardware prefetchers only
# follow ascending addresses, as in wider steps.
PREFETCHED, LINE = 1024, 16


def over_items(kernel: Kernel, kind: np.dtype, weights: int) -> Callable[[int, int, int], int]:
    """Return a function that runs a kernel on a range of items, for sequences of one dtype.

    LLVM vectorises over units if the arrays do not overlap, which it checks at run time. By default
    it checks once for all steps, and that check fails for arrays that are read from their end. So
    a backward step starts at ``min(t * units, run.size)``. The value is always ``t * units``, but
    LLVM cannot tell where the next step starts, so it checks within each step.
    """
    step, backwards, shared, rows = kernel.step, kernel.backwards, kernel.shared, kernel.rows
    gradient = kernel.arguments - 2 if backwards else 0
    load, load_weights, store = loading(rows), loading(weights), storing(rows)

    def work(run_at: int, first: int, last: int) -> int:
        run, args = record(run_at, RUN), elements(run_at + ARGS, 0, INT)
        units, factors = run.units, elements(run.weights, 0, DOUBLE)
        for item in range(first, last):
            row, left = item // run.blocks, item % run.blocks * BLOCK
            right = min(left + BLOCK, units)
            where = row * run.steps * units
            x, d_y = elements(args[0], where, kind), elements(args[gradient], where, kind)
            out = elements(elements(run_at + OUTPUTS, 0, INT)[0], where, kind)
            state = elements(run.states, row * rows * units, DOUBLE)
            for t in range(run.steps):
                start = t * units
                if backwards:
                    start = min((run.steps - 1 - t) * units, run.size)
                    if right - left < PREFETCHED:
                        for k in range(start - units + left, start - units + right, LINE):
                            prefetch(x, d_y, out, k)
                for i in range(left, right):
                    factor = load_weights(factors, 1 if shared else units, 0 if shared else i)
                    k = start + i
                    after, out[k] = step(load(state, units, i), x[k], d_y[k], factor)
                    store(state, units, i, after)
        return 0

    return work


@cache
def over_units(kernel: Kernel) -> Callable[[int, int, int], int]:
    """Return a function that fills in the weights of a run."""
    formula, shared, load = kernel.weights, kernel.shared, loading_each(kernel.given)

    def weigh(run_at: int, _first: int, _last: int) -> int:
        run, args = record(run_at, RUN), elements(run_at + ARGS, 2, INT)
        units, weights = 1 if shared else run.units, elements(run.weights, 0, DOUBLE)
        for i in range(units):
            found = formula(*load(args, i))
            for n in range(len(found)):
                weights[n * units + i] = found[n]
        return 0

    return weigh


@cache
def loading(count: int) -> Any:
    """Return a function that reads a column of a matrix as a tuple."""
    if count == 1:
        return inside(lambda matrix, width, i: (matrix[i],))
    others, last = loading(count - 1), count - 1
    return inside(lambda matrix, width, i: (*others(matrix, width, i), matrix[last * width + i]))


@cache
def loading_each(count: int) -> Any:
    """Return a function that reads an element of each of some arrays, by their addresses."""
    if count == 1:
        return inside(lambda arrays, i: (elements(arrays[0], i, DOUBLE)[0],))
    others, last = loading_each(count - 1), count - 1
    return inside(lambda arrays, i: (*others(arrays, i), elements(arrays[last], i, DOUBLE)[0]))


@cache
def storing(count: int) -> Any:
    """Return a function that writes a tuple to a column of a matrix.

    Not in a loop over the tuple: LLVM would unroll it too late to vectorise over units.
    """
    if count == 0:
        return inside(lambda matrix, width, i, values: None)
    others, last = storing(count - 1), count - 1

    @inside
    def store(matrix: Any, width: int, i: int, values: Any) -> None:
        others(matrix, width, i, values)
        matrix[last * width + i] = values[last]

    return store
