"""The driver shared by all scans: checks, memory, initial states, threads, gradients.

TensorFlow and XLA describe their arrays in a `RUN` and pass it to `scan`, which follows a `PLAN`.
`scan` returns zero or the row of an error in `ERRORS`, because exceptions cannot leave machine
code.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

import numba
import numpy as np
from numba import types

from kspike_tf.scan.cpu.intrinsics import call, elements, fetch_and_add, record

MOST_ARGUMENTS = 8  # that fit into a RUN
AXES = 3
BLOCK = 2048  # units per item of work; at 256, a step is read in too many pieces
SHARES = 4  # parts of the work per thread at most, to balance the load
INT, DOUBLE = np.dtype(np.int64), np.dtype(np.float64)
WORD = 8  # bytes of an int64, a float64 and an address
MOST_BYTES = 2.0**60  # of an array

# In huge pages, a first write takes less than half the time: 30 ms instead of 80 for 164 MB (a
# second write takes 20 ms).
HUGE = 2**21
WORTH_HUGE = 2 * HUGE  # as in NumPy
MADV_HUGEPAGE = 14
IS_LINUX = sys.platform == "linux"
HAS_THREADS = os.name == "posix"


def structure(*fields: Any) -> np.dtype:
    """Return a C structure; fields without a dtype are 8-byte integers."""
    return np.dtype([(each, INT) if isinstance(each, str) else each for each in fields], align=True)


def offset(kind: Any, name: str) -> int:
    """Return the offset of a field in a structure, in bytes."""
    return int(kind.fields[name][1])


# A kernel compiled for one dtype: addresses of `loops.over_items`, `loops.over_units` and
# `help_with`; the fields of `Kernel`; rows of weights; bytes per element of a sequence; elements
# worth another thread; and the maximum number of threads.
PLAN = structure(
    *("work", "weigh", "helper", "arguments", "results", "states", "rows", "shared", "backwards"),
    *("weights", "bytes", "part", "threads"),
)
# The arrays of one call, as their owner describes them: numbers of arguments, of results, and of
# axes of the first argument; its shape; addresses and sizes in bytes of arguments and results.
# Then what the driver adds: addresses of the work, the states and the weights; blocks of units per
# example; the number of items (one block of one example each); the number of parts that they are
# divided into; and the next part to take.
RUN = structure(
    *("arguments", "results", "axes", "batch", "steps", "units"),
    *((name, INT, MOST_ARGUMENTS) for name in ("args", "sizes", "outputs", "rooms")),
    *("size", "work", "states", "weights", "blocks", "items", "parts", "next"),
)
ARGS, SIZES, OUTPUTS, ROOMS, NEXT = (
    offset(RUN, name) for name in ("args", "sizes", "outputs", "rooms", "next")
)


def keep(*objects: Any) -> None:
    """Keep objects alive until the process ends: threads of other libraries may still use them.

    Python frees a module's variables earlier.
    """
    for each in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))


def text(string: str) -> int:
    """Return the address of a C string that is never freed."""
    made = ctypes.create_string_buffer(string.encode())
    keep(made)
    return ctypes.addressof(made)


# Rows of a code, which TensorFlow and XLA share, and a message.
CANCELLED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 1, 3, 8
ERRORS = np.array(
    [
        (0, 0),
        (INVALID_ARGUMENT, text("a scan's arguments have wrong numbers, types, axes or sizes")),
        (
            INVALID_ARGUMENT,
            text(
                "the states are for another batch size than the sequence: initial_state must match "
                "the inputs, and a stateful layer must keep its batch size"
            ),
        ),
        (RESOURCE_EXHAUSTED, text("out of memory in a scan")),
        (CANCELLED, text("compilation of a scan was interrupted or failed; see the error above")),
        (
            INVALID_ARGUMENT,
            text(
                "a program calls a scan that is not defined here: import the module that defines "
                "its kernel"
            ),
        ),
    ]
)
keep(ERRORS)
ERRORS_AT = ERRORS.ctypes.data
MISFIT, OTHER_BATCH, NO_MEMORY, NOT_COMPILED, NOT_DEFINED = 1, 2, 3, 4, 5

run_scan = types.ExternalFunction("kspike_tf_scan", types.intp(types.intp, types.intp))  # `scan`
calloc = types.ExternalFunction("calloc", types.intp(types.intp, types.intp))
free = types.ExternalFunction("free", types.void(types.intp))
madvise = types.ExternalFunction("madvise", types.int32(types.intp, types.intp, types.int32))
pthread_create = types.ExternalFunction("pthread_create", types.int32(*[types.intp] * 4))
pthread_join = types.ExternalFunction("pthread_join", types.int32(types.intp, types.intp))

inside = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def scan(plan_at: int, run_at: int) -> int:
    """Run the scan of some arrays; return zero or the row of an error."""
    plan, run = record(plan_at, PLAN), record(run_at, RUN)
    failed = refuse(plan, run, run_at)
    if failed:
        return failed
    memory = allocate(plan, run, run_at)
    if memory == 0:
        return NO_MEMORY
    call(plan.weigh, run_at, 0, 0)
    first_states(plan, run, run_at)
    run_in_threads(plan, run, run_at, memory)
    if plan.backwards:
        last_gradients(plan, run, run_at)
    free(memory)
    return 0


@inside
def refuse(plan: Any, run: Any, run_at: int) -> int:
    """Check the sizes of all arrays against the plan; return zero or the row of an error.

    Do not trust callers: graphs and programs may come from files.
    """
    if plan.work == 0 or run.axes != AXES:
        return MISFIT
    if run.arguments != plan.arguments or run.results != plan.results:
        return MISFIT
    # In floating point, which does not wrap around; so integers below do not either.
    longest = np.float64(max(run.batch, 1)) * max(run.steps, 1) * max(run.units, 1)
    if longest * (WORD * max(plan.rows, plan.weights)) > MOST_BYTES:
        return MISFIT
    given = WORD * (1 if plan.shared else run.units)
    sequence = run.batch * run.steps * run.units * plan.bytes
    states = run.batch * plan.states * run.units * WORD
    sizes, rooms = elements(run_at + SIZES, 0, INT), elements(run_at + ROOMS, 0, INT)
    last = plan.arguments - 1 if plan.backwards else MOST_ARGUMENTS + 1
    for n in range(plan.arguments):
        wanted = given
        if n == 0 or n == last - 1:
            wanted = sequence
        elif n == 1 or n == last:
            wanted = states
        if sizes[n] != wanted or (n < plan.results and rooms[n] != wanted):
            return OTHER_BATCH if n == 1 else MISFIT
    return 0


@inside
def allocate(plan: Any, run: Any, run_at: int) -> int:
    """Allocate zeros for threads, weights and hidden states; return their address, or zero."""
    threads = WORD * plan.threads
    weights = WORD * plan.weights * (1 if plan.shared else run.units)
    hidden = WORD * run.batch * plan.rows * run.units if plan.backwards else 0
    memory = calloc(threads + weights + hidden, 1)
    out = elements(run_at + OUTPUTS, 0, INT)
    run.weights = memory + threads
    run.states = run.weights + weights if plan.backwards else out[1]
    run.blocks = (run.units + (BLOCK - 1)) // BLOCK
    run.items, run.work = run.batch * run.blocks, plan.work
    run.size = run.batch * run.steps * run.units
    size = run.size * plan.bytes
    if IS_LINUX and size >= WORTH_HUGE:
        start = (out[0] + (HUGE - 1)) // HUGE * HUGE
        madvise(start, (out[0] + size) // HUGE * HUGE - start, MADV_HUGEPAGE)
    return memory


@inside
def first_states(plan: Any, run: Any, run_at: int) -> None:
    """Set the initial states, or their gradients, from the argument; other rows are zero."""
    given_at = elements(run_at + ARGS, plan.arguments - 1 if plan.backwards else 1, INT)[0]
    given, states = elements(given_at, 0, DOUBLE), elements(run.states, 0, DOUBLE)
    seen, whole = plan.states * run.units, plan.rows * run.units
    for row in range(run.batch if seen else 0):  # do not loop over rows without units
        for i in range(seen):
            states[row * whole + i] = given[row * seen + i]


@inside
def last_gradients(plan: Any, run: Any, run_at: int) -> None:
    """Compute the gradients with respect to the initial states and to the ratio.

    The loss depends on the initial states as on an input. So the product of the states and the
    derivatives of their gradients is added to the ratio's sum over time.
    """
    units, count = run.units, plan.states
    before_at = elements(run_at + ARGS, 1, INT)[0]
    outputs = elements(run_at + OUTPUTS, 0, INT)
    d_given = elements(outputs[2], 0, DOUBLE)
    for i in range(units):
        d_given[i] = 0.0
    for row in range(run.batch if units else 0):
        states = elements(run.states, row * plan.rows * units, DOUBLE)
        before = elements(before_at, row * count * units, DOUBLE)
        d_before = elements(outputs[1], row * count * units, DOUBLE)
        for i in range(units):
            total = states[2 * count * units + i]
            for n in range(i, count * units, units):
                d_before[n] = states[n]
                total += before[n] * states[count * units + n]
            d_given[i] += total


@inside
def run_in_threads(plan: Any, run: Any, run_at: int, handles: int) -> None:
    """Run a kernel on all items, in several threads if there is enough work."""
    parts = run.size // plan.part
    run.parts, run.next = max(1, min(parts, min(run.items, plan.threads * SHARES))), 0
    made = 0
    for _ in range(min(run.parts, plan.threads) - 1 if HAS_THREADS else 0):
        # If the system refuses a thread, the others do its work.
        made += pthread_create(handles + WORD * made, 0, plan.helper, run_at) == 0
    help_with(run_at)
    for n in range(made):
        pthread_join(elements(handles, n, INT)[0], 0)


@inside
def help_with(run_at: int) -> int:
    """Take parts of a run until none is left; called in every thread.

    Threads take parts as they become free, because TensorFlow's own threads compete with them.
    """
    run = record(run_at, RUN)
    part = fetch_and_add(run_at + NEXT, 1)
    while part < run.parts:
        first, last = run.items * part // run.parts, run.items * (part + 1) // run.parts
        call(run.work, run_at, first, last)
        part = fetch_and_add(run_at + NEXT, 1)
    return 0
