"""The driver shared by all scans: checks, memory, weights, initial states, threads, gradients.

TensorFlow, XLA and Python fill in a `CALL` and pass it to `scan`, which follows a `PLAN` and runs
the plan's kernel on a `RUN`. `scan` returns zero or an error code of TensorFlow and XLA, because
exceptions cannot leave machine code.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

import numba
import numpy as np
from numba import types

from kspike_tf.scan.cpu.intrinsics import (
    call_kernel,
    elements,
    fetch_and_add,
    prefetch,
    print_to,
    record,
)
from kspike_tf.scan.cpu.kernels import TICKS, Kernel

INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 3, 8
MOST_ARGUMENTS = 8  # that fit into a CALL
AXES = 3
WEIGHTS = 4  # rows of weights that a run has memory for
BLOCK = 2048  # units per item of work; at 256, a step is read in too many pieces
# Backward steps of fewer units than PREFETCHED prefetch the previous step, one cache line (LINE
# elements) at a time. Hardware prefetchers only follow ascending addresses, as in wider steps.
PREFETCHED, LINE = 1024, 16
SHARES = 4  # parts of the work per thread at most, to balance the load
INT, DOUBLE = np.dtype(np.int64), np.dtype(np.float64)
WORD = 8  # bytes of an int64, a float64 and an address
MOST = 2**63 - 1

# In huge pages, a first write takes less than half the time: 30 ms instead of 80 for 164 MB (a
# second write takes 20 ms).
HUGE = 2**21
WORTH_HUGE = 2 * HUGE  # as in NumPy
MADV_HUGEPAGE = 14
IS_LINUX = sys.platform == "linux"
HAS_THREADS = os.name == "posix"


def _structure(*fields: Any) -> Any:
    return np.dtype([(each, np.int64) if isinstance(each, str) else each for each in fields])


def offset(kind: Any, name: str) -> int:
    """Return the offset of a field in a structure, in bytes."""
    return int(kind.fields[name][1])


# A kernel compiled for one dtype: addresses of the kernel, of `help_with`, of the XLA handler and
# of the name; the fields of `Kernel`; bytes per element of a sequence; elements worth another
# thread; and the maximum number of threads.
PLAN = _structure(
    *("kernel", "helper", "handle", "name", "arguments", "results", "states", "rows", "given"),
    *("shared", "backwards", "bytes", "part", "threads"),
)
# A call: numbers of arguments, of results, and of axes of the first argument; its shape; addresses
# and sizes in bytes of arguments and results; room for an error message.
CALL = _structure(
    *("arguments", "results", "axes", "batch", "steps", "units"),
    *((name, np.int64, MOST_ARGUMENTS) for name in ("args", "sizes", "outputs", "rooms")),
    ("message", np.uint8, 256),
)
ARGS, SIZES, OUTPUTS, ROOMS, MESSAGE = (
    offset(CALL, name) for name in ("args", "sizes", "outputs", "rooms", "message")
)
MESSAGE_BYTES = CALL.itemsize - MESSAGE
# The arrays of a kernel; blocks of units per example; the kernel; the number of items (one block of
# one example each); the number of parts that they are divided into; and the next part to take.
RUN = _structure(
    *("batch", "steps", "units", "size", "x", "d_y", "out", "states", "rows", "weights"),
    *("blocks", "kernel", "items", "parts", "next"),
)
RUN_BYTES, NEXT = RUN.itemsize, offset(RUN, "next")
_texts: list[Any] = []


def text(string: str) -> int:
    """Return the address of a C string that is never freed."""
    _texts.append(ctypes.create_string_buffer(string.encode()))
    return ctypes.addressof(_texts[-1])


WRONG_NUMBER = text("%s must have %lld arguments, %lld results and 3 axes, got %lld, %lld and %lld")
TOO_LONG = text("%s got axes that are too long")
OTHER_BATCH = text(
    "the states have batch size %lld, but the sequence has %lld: initial_state must match the "
    "inputs, and a stateful layer must keep its batch size"
)
WRONG_ARGUMENT = text("argument %lld of %s has %lld bytes instead of %lld")
WRONG_RESULT = text("result %lld of %s has %lld bytes instead of %lld")
NO_MEMORY = text("out of memory in a scan")

run_scan = types.ExternalFunction("kspike_tf_scan", types.intp(types.intp, types.intp))  # `scan`
malloc = types.ExternalFunction("malloc", types.intp(types.intp))
calloc = types.ExternalFunction("calloc", types.intp(types.intp, types.intp))
free = types.ExternalFunction("free", types.void(types.intp))
exp = types.ExternalFunction("exp", types.float64(types.float64))
expm1 = types.ExternalFunction("expm1", types.float64(types.float64))
madvise = types.ExternalFunction("madvise", types.int32(types.intp, types.intp, types.int32))
pthread_create = types.ExternalFunction("pthread_create", types.int32(*[types.intp] * 4))
pthread_join = types.ExternalFunction("pthread_join", types.int32(types.intp, types.intp))

inside = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def scan(plan_at: int, call_at: int) -> int:
    """Run the scan that a call describes; return zero or an error code."""
    plan, call = record(plan_at, PLAN), record(call_at, CALL)
    failed = refuse(plan, call, call_at)
    if failed:
        return failed
    run_at = make_run(plan, call, call_at)
    if run_at == 0:
        print_to(call_at + MESSAGE, MESSAGE_BYTES, NO_MEMORY, (0,))
        return RESOURCE_EXHAUSTED
    run = record(run_at, RUN)
    args, outputs = elements(call_at + ARGS, 0, INT), elements(call_at + OUTPUTS, 0, INT)
    fill_weights(plan, args[2], args[3], run)
    first_states(args[plan.arguments - 1] if plan.backwards else args[1], plan.states, run)
    run_in_threads(plan, run, run_at)
    if plan.backwards:
        last_gradients(args[1], outputs[1], outputs[2], plan.states, run)
    free(run_at)
    return 0


@inside
def refuse(plan: Any, call: Any, call_at: int) -> int:
    """Check the sizes of all arrays against the plan; return zero, or a code and a message.

    Do not trust callers: graphs and programs may come from files.
    """
    message = call_at + MESSAGE
    if call.arguments != plan.arguments or call.results != plan.results or call.axes != AXES:
        found = call.arguments, call.results, call.axes
        numbers = plan.name, plan.arguments, plan.results, *found
        print_to(message, MESSAGE_BYTES, WRONG_NUMBER, numbers)
        return INVALID_ARGUMENT
    several = 1 if plan.shared else call.units
    sequence = product(call.units, call.batch, call.steps, plan.bytes)
    states = product(call.units, call.batch, plan.states, WORD)
    hidden = product(call.units, call.batch, plan.rows, WORD)
    if sequence < 0 or states < 0 or hidden < 0 or product(several, WEIGHTS, WORD, 1) < 0:
        print_to(message, MESSAGE_BYTES, TOO_LONG, (plan.name,))
        return INVALID_ARGUMENT
    sizes, rooms = elements(call_at + SIZES, 0, INT), elements(call_at + ROOMS, 0, INT)
    last = plan.arguments - 1 if plan.backwards else MOST_ARGUMENTS
    for n in range(plan.arguments):
        wanted = several * WORD
        if n == 0 or n == last - 1:
            wanted = sequence
        elif n == 1 or n == last:
            wanted = states
        if sizes[n] != wanted and n == 1:
            examples = sizes[n] // max(call.units * plan.states * WORD, 1)
            print_to(message, MESSAGE_BYTES, OTHER_BATCH, (examples, call.batch))
            return INVALID_ARGUMENT
        if sizes[n] != wanted:
            print_to(message, MESSAGE_BYTES, WRONG_ARGUMENT, (n, plan.name, sizes[n], wanted))
            return INVALID_ARGUMENT
        if n < plan.results and rooms[n] != wanted:
            print_to(message, MESSAGE_BYTES, WRONG_RESULT, (n, plan.name, rooms[n], wanted))
            return INVALID_ARGUMENT
    return 0


@inside
def product(first: int, second: int, third: int, fourth: int) -> int:
    """Return the product of non-negative integers, or −1 if it overflows."""
    total = first
    for factor in (second, third, fourth):
        if factor != 0 and total > MOST // factor:
            return -1
        total *= factor
    return total


@inside
def make_run(plan: Any, call: Any, call_at: int) -> int:
    """Allocate a run, followed by memory for threads, weights and hidden states."""
    weights = RUN_BYTES + WORD * plan.threads
    states = weights + WORD * WEIGHTS * (1 if plan.shared else call.units)
    hidden = WORD * call.batch * plan.rows * call.units if plan.backwards else 0
    size = states + hidden
    address = malloc(size) if size > 0 else 0
    if address != 0:
        args, outputs = elements(call_at + ARGS, 0, INT), elements(call_at + OUTPUTS, 0, INT)
        run = record(address, RUN)
        run.batch, run.steps, run.units = call.batch, call.steps, call.units
        run.x, run.out, run.d_y = args[0], outputs[0], args[plan.arguments - 2]
        run.weights, run.rows = address + weights, plan.rows
        run.states = address + states if plan.backwards else outputs[1]
        run.blocks = (call.units + (BLOCK - 1)) // BLOCK
        run.items, run.kernel = call.batch * run.blocks, plan.kernel
        run.size = call.batch * call.steps * call.units
        size = run.size * plan.bytes
        if IS_LINUX and size >= WORTH_HUGE:
            start = (run.out + (HUGE - 1)) // HUGE * HUGE
            madvise(start, (run.out + size) // HUGE * HUGE - start, MADV_HUGEPAGE)
    return address


@inside
def fill_weights(plan: Any, given_at: int, gain_at: int, run: Any) -> None:
    """Compute the weights: dt·TICKS and 1/dt, or rows of e = exp(−r), the gain, e·r and e·(1 − r).

    The gain is the second argument of the weights if there is one, otherwise 1 − e.
    """
    given, gain = elements(given_at, 0, DOUBLE), elements(gain_at, 0, DOUBLE)
    weights, units = elements(run.weights, 0, DOUBLE), run.units
    if plan.shared:
        weights[0], weights[1] = given[0] * TICKS, 1 / given[0]
        return
    for i in range(units):
        r = given[i]
        e = exp(-r)
        weights[i], weights[2 * units + i], weights[3 * units + i] = e, e * r, e * (1 - r)
        weights[units + i] = gain[i] if plan.given > 1 else -expm1(-r)


@inside
def first_states(given_at: int, count: int, run: Any) -> None:
    """Set the initial states, or their gradients, from the argument; set the other rows to zero."""
    given, states = elements(given_at, 0, DOUBLE), elements(run.states, 0, DOUBLE)
    seen, whole = count * run.units, run.rows * run.units
    for row in range(run.batch if whole else 0):  # do not loop over rows without units
        for i in range(seen):
            states[row * whole + i] = given[row * seen + i]
        for i in range(seen, whole):
            states[row * whole + i] = 0.0


@inside
def last_gradients(before_at: int, states_at: int, given_at: int, count: int, run: Any) -> None:
    """Compute the gradients with respect to the initial states and to the ratio.

    The loss depends on the initial states as on an input. So the product of the states and the
    derivatives of their gradients is added to the ratio's sum over time.
    """
    units = run.units
    d_given = elements(given_at, 0, DOUBLE)
    for i in range(units):
        d_given[i] = 0.0
    for row in range(run.batch if units else 0):
        states = elements(run.states, row * run.rows * units, DOUBLE)
        before = elements(before_at, row * count * units, DOUBLE)
        d_before = elements(states_at, row * count * units, DOUBLE)
        for i in range(units):
            total = states[2 * count * units + i]
            for n in range(i, count * units, units):
                d_before[n] = states[n]
                total += before[n] * states[count * units + n]
            d_given[i] += total


@inside
def run_in_threads(plan: Any, run: Any, run_at: int) -> None:
    """Run a kernel on all items, in several threads if there is enough work."""
    parts = run.size // plan.part
    run.parts, run.next = min(parts, min(run.items, plan.threads * SHARES)), 0
    helpers = min(run.parts, plan.threads) - 1
    if helpers < 1 or not HAS_THREADS:
        call_kernel(run.kernel, run_at, 0, run.items)
        return
    handles, made = run_at + RUN_BYTES, 0
    for _ in range(helpers):
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
        call_kernel(run.kernel, run_at, first, last)
        part = fetch_and_add(run_at + NEXT, 1)
    return 0


def over_items(kernel: Kernel, kind: np.dtype) -> Any:
    """Return a function that runs a kernel on a range of items, for sequences of one dtype.

    LLVM vectorises over units if the arrays do not overlap, which it checks at run time. By default
    it checks once for all steps, and that check fails for arrays that are read from their end. So
    a backward step starts at ``min(t * units, run.size)``. The value is always ``t * units``, but
    LLVM cannot tell where the next step starts, so it checks within each step.
    """
    step, backwards = numba.njit(inline="always")(kernel.step), kernel.backwards

    def work(run_at: int, first: int, last: int) -> None:
        run = record(run_at, RUN)
        units, weights = run.units, elements(run.weights, 0, DOUBLE)
        for item in range(first, last):
            row, left = item // run.blocks, item % run.blocks * BLOCK
            right = min(left + BLOCK, units)
            where = row * run.steps * units
            x, d_y = elements(run.x, where, kind), elements(run.d_y, where, kind)
            out = elements(run.out, where, kind)
            state = elements(run.states, row * run.rows * units, DOUBLE)
            for t in range(run.steps):
                start = t * units
                if backwards:
                    start = min((run.steps - 1 - t) * units, run.size)
                    if right - left < PREFETCHED:
                        for k in range(start - units + left, start - units + right, LINE):
                            prefetch(x, d_y, out, k)
                for i in range(left, right):
                    step(x, d_y, out, state, weights, units, start + i, i)

    return work
