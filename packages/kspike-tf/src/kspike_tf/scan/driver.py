"""What surrounds the steps of a scan, in machine code: checks, memory, states, threads.

It is the same for all recurrences, and follows a `Plan`. So it is compiled once, when the package
is imported. Python, TensorFlow and XLA call it: see `kspike_tf.scan.program`,
`kspike_tf.scan.operations` and `kspike_tf.scan.foreign`.
"""

from __future__ import annotations

import sys
from ctypes import Structure, c_char_p, c_int64
from typing import Any

from llvmlite import ir

from kspike_tf.scan import code, machine, threads
from kspike_tf.scan.code import DOUBLE, NOTHING, NUMBER, POINTER, WORD

# What it returns: zero, or an error as TensorFlow and XLA number them.
CANCELLED, INVALID_ARGUMENT, RESOURCE_EXHAUSTED = 1, 3, 8
MESSAGE = 256  # bytes of an error's message

# It takes a plan; the numbers of arguments, of results, and of the first argument's axes; batch,
# steps and units; pointers to arguments, and how many bytes each has; the same of results; and room
# for a message. What callers say is checked: the graphs that call may be anybody's.
KIND = [POINTER] * 8
AXES = 3
MOST_ARGUMENTS = 8  # that callers have room for

# Memory that is new costs less than half in huge pages: 30 and not 80 ms to write 164 MB, where to
# write it again takes 20.
HUGE = 2**21
MADV_HUGEPAGE = 14
WORTH_HUGE = 2 * HUGE  # as NumPy does


class Plan(Structure):
    """A recurrence, as machine code reads it: see `kspike_tf.scan.formulas.Recurrence`."""

    _fields_ = (
        ("steps", c_int64),  # addresses; zero until there is machine code
        ("coefficients", c_int64),
        ("gradients", c_int64),
        ("arguments", c_int64),
        ("results", c_int64),
        ("visible", c_int64),
        ("states", c_int64),
        ("weights", c_int64),
        ("shared", c_int64),
        ("backwards", c_int64),
        ("bytes", c_int64),  # of a sequence's number
        ("part", c_int64),  # so many numbers of a sequence are worth another thread
        ("threads", c_int64),  # that may work at a time
        ("name", c_char_p),
    )


class _Scan:
    """What is known of a scan while it is written."""

    def __init__(self, b: Any, args: Any) -> None:
        self.b = b
        self.plan, counts, shape, self.args, self.sizes, *args = args
        self.results, self.rooms, self.message = args
        self.name = b.inttoptr(self.field("name"), POINTER)
        self._check(counts)
        lengths = (code.load(b, shape, WORD(n), WORD) for n in range(AXES))
        self.batch, self.steps, self.units = lengths
        self.backwards = b.icmp_signed("!=", self.field("backwards"), WORD(0))
        self.shared = b.icmp_signed("!=", self.field("shared"), WORD(0))
        self.last = b.sub(self.field("arguments"), WORD(1))
        self.seen = b.mul(self.field("visible"), self.units)  # of an example
        self.all = b.mul(self.field("states"), self.units)
        self._measure()

    def _measure(self) -> None:
        """Write how many bytes arrays have; empty ones may be of any length."""
        b, overflows = self.b, []

        def product(*factors: Any) -> Any:
            total = factors[0]
            for each in factors[1:]:
                pair = b.umul_with_overflow(total, each)
                total = b.extract_value(pair, 0)
                overflows.append(b.extract_value(pair, 1))
            return total

        number, several = WORD(8), b.select(self.shared, WORD(1), self.units)
        self.size = product(self.units, self.batch, self.steps)
        self.sequence = product(self.size, self.field("bytes"))
        self.given = product(several, number)
        self.weights = product(several, number, self.field("weights"))
        self.states = product(self.units, number, self.batch, self.field("visible"))
        self.all_states = product(self.units, number, self.batch, self.field("states"))
        for each in overflows:
            with b.if_then(each, likely=False):
                self.fail(INVALID_ARGUMENT, "%s got axes that are too long", self.name)
        # Rows without units would take time.
        self.rows = b.select(b.icmp_signed("==", self.units, WORD(0)), WORD(0), self.batch)

    def _check(self, counts: Any) -> None:
        """Write that there is as much as the plan has."""
        b = self.b
        expected = self.field("arguments"), self.field("results"), WORD(AXES)
        said = "arguments", "results", "axes"
        for n, (number, each) in enumerate(zip(expected, said, strict=True)):
            found = code.load(b, counts, WORD(n), WORD)
            with b.if_then(b.icmp_signed("!=", found, number), likely=False):
                text = f"%s must have %lld {each}, got %lld"
                self.fail(INVALID_ARGUMENT, text, self.name, number, found)

    def field(self, name: str) -> Any:
        return code.field(self.b, self.plan, getattr(Plan, name), WORD)

    def argument(self, n: Any) -> Any:
        return code.load(self.b, self.args, n, POINTER)

    def result(self, n: int) -> Any:
        return code.load(self.b, self.results, WORD(n), POINTER)

    def fail(self, number: int, said: str, *values: Any) -> None:
        """Write the end of the function, with an error."""
        b, kinds = self.b, [POINTER, WORD, POINTER]
        say = code.library(b.module, "snprintf", NUMBER, kinds, more=True)
        b.call(say, [self.message, WORD(MESSAGE), code.text(b.module, said), *values])
        b.ret(WORD(number))


def write(module: Any, make: int) -> None:
    """Write the function ``scan``.

    It compares sizes with the first argument's, computes the coefficients, begins with the states
    that are given, takes all items through time, and sums gradients up.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Where it is written.
    make : int
        Address of a function that has the machine code of a plan made: it takes its address.
    """
    function = ir.Function(module, ir.FunctionType(WORD, KIND), "scan")
    b = ir.IRBuilder(function.append_basic_block())
    scan = _Scan(b, function.args)
    _write_making(scan, make)
    _write_checks(scan)
    _write_advice(scan)
    coefficients, states = _write_workspace(scan)
    compute = code.function_at(b, scan.field("coefficients"), NOTHING, machine.COEFFICIENTS)
    b.call(compute, [scan.units, code.at(b, scan.args, WORD(2), POINTER), coefficients])
    _write_first_states(scan, states)
    sequences = code.room(b, POINTER, 3)
    second = b.select(scan.backwards, scan.argument(b.sub(scan.last, WORD(1))), scan.result(0))
    for n, each in enumerate((scan.argument(WORD(0)), second, scan.result(0))):
        b.store(each, code.at(b, sequences, WORD(n), POINTER))
    blocks = machine.number_of_blocks(b, scan.units)
    items, parts = b.mul(scan.batch, blocks), b.udiv(scan.size, scan.field("part"))
    args = [blocks, scan.steps, scan.units, states, coefficients, sequences]
    most = scan.field("threads")
    threads.write_call(b, scan.field("steps"), items, parts, most, args)
    with b.if_then(scan.backwards):
        gradients = code.function_at(b, scan.field("gradients"), NOTHING, machine.GRADIENTS)
        results = scan.result(1), scan.result(2)
        b.call(gradients, [scan.rows, scan.units, states, scan.argument(WORD(1)), *results])
    b.call(code.library(module, "free", NOTHING, [POINTER]), [coefficients])
    b.ret(WORD(0))


def write_publish(module: Any) -> None:
    """Write a function that sets a plan's address of steps, when all else in it is set."""
    function = ir.Function(module, ir.FunctionType(NOTHING, [POINTER, WORD]), "publish")
    b = ir.IRBuilder(function.append_basic_block())
    plan, steps = function.args
    place = code.at(b, plan, WORD(Plan.steps.offset), code.BYTE)
    b.atomic_rmw("xchg", place, steps, "release")
    b.ret_void()


def _write_making(scan: _Scan, make: int) -> None:
    """Write that there is machine code from here on."""
    b = scan.b
    place = code.at(b, scan.plan, WORD(Plan.steps.offset), code.BYTE)

    def is_missing() -> Any:
        return b.icmp_signed("==", b.load_atomic(place, "acquire", 8, typ=WORD), WORD(0))

    with b.if_then(is_missing(), likely=False):
        function = code.function_at(b, make, NOTHING, [WORD])
        b.call(function, [b.ptrtoint(scan.plan, WORD)])
        with b.if_then(is_missing()):
            # In the main thread Python runs handlers of signals wherever it is, before our first
            # line too; and it prints what they raise.
            scan.fail(CANCELLED, "interrupted, or failed, as printed before")


def _write_checks(scan: _Scan) -> None:
    """Write that sizes are as the plan has them, by the first argument's shape."""
    b = scan.b
    with code.each(b, WORD(0), scan.field("arguments")) as n:
        size, expected = code.load(b, scan.sizes, n, WORD), _write_expected_size(scan, n)
        with b.if_then(b.icmp_signed("!=", size, expected), likely=False):
            with b.if_then(b.icmp_signed("==", n, WORD(1))):
                example = b.mul(scan.seen, WORD(8))
                example = b.select(b.icmp_signed("==", example, WORD(0)), WORD(1), example)
                said = (
                    "states are of %lld examples, and the sequence of %lld: a stateful layer takes "
                    "batches of the size that it began with"
                )
                scan.fail(INVALID_ARGUMENT, said, b.sdiv(size, example), scan.batch)
            said = "argument %lld of %s has %lld bytes instead of %lld"
            scan.fail(INVALID_ARGUMENT, said, n, scan.name, size, expected)
    with code.each(b, WORD(0), scan.field("results")) as n:
        room, expected = (code.load(b, each, n, WORD) for each in (scan.rooms, scan.sizes))
        with b.if_then(b.icmp_signed("!=", room, expected), likely=False):
            said = "result %lld of %s has %lld bytes instead of %lld"
            scan.fail(INVALID_ARGUMENT, said, n, scan.name, room, expected)


def _write_expected_size(scan: _Scan, n: Any) -> Any:
    """Write how many bytes an argument has."""
    b = scan.b
    from_end = b.sub(scan.last, n)

    def among(first: int, from_last: int) -> Any:
        is_late = b.and_(scan.backwards, b.icmp_signed("==", from_end, WORD(from_last)))
        return b.or_(b.icmp_signed("==", n, WORD(first)), is_late)

    others = b.select(among(1, 0), scan.states, scan.given)
    return b.select(among(0, 1), scan.sequence, others)


def _write_advice(scan: _Scan) -> None:
    """Write that large memory is asked for in huge pages, as far as it is not touched yet."""
    if sys.platform != "linux":
        return
    b = scan.b
    size = scan.sequence
    with b.if_then(b.icmp_signed(">=", size, WORD(WORTH_HUGE)), likely=False):
        first = b.ptrtoint(scan.result(0), WORD)
        start = b.and_(b.add(first, WORD(HUGE - 1)), WORD(-HUGE))
        length = b.sub(b.and_(b.add(first, size), WORD(-HUGE)), start)
        advise = code.library(b.module, "madvise", NUMBER, [POINTER, WORD, NUMBER])
        b.call(advise, [b.inttoptr(start, POINTER), length, NUMBER(MADV_HUGEPAGE)])


def _write_workspace(scan: _Scan) -> tuple[Any, Any]:
    """Write that memory is taken for coefficients, and for states that callers do not see.

    Returns both; forwards, the states are the result's.
    """
    b = scan.b
    states = b.select(scan.backwards, scan.all_states, WORD(0))
    size = b.add(b.add(scan.weights, states), WORD(8))  # none might be NULL
    memory = b.call(code.library(b.module, "malloc", POINTER, [WORD]), [size])
    with b.if_then(b.not_(code.is_given(b, memory)), likely=False):
        scan.fail(RESOURCE_EXHAUSTED, "no memory for a scan")
    hidden = code.at(b, memory, scan.weights, code.BYTE)
    return memory, b.select(scan.backwards, hidden, scan.result(1))


def _write_first_states(scan: _Scan, states: Any) -> None:
    """Write that states begin as those given, or as their gradients, with zero for the others."""
    b = scan.b
    source = scan.argument(b.select(scan.backwards, scan.last, WORD(1)))
    copy = code.library(b.module, "memcpy", POINTER, [POINTER, POINTER, WORD])
    fill = code.library(b.module, "memset", POINTER, [POINTER, NUMBER, WORD])
    seen, others = (b.mul(n, WORD(8)) for n in (scan.seen, b.sub(scan.all, scan.seen)))
    with code.each(b, WORD(0), scan.rows) as row:
        to = code.at(b, states, b.mul(row, scan.all), DOUBLE)
        b.call(copy, [to, code.at(b, source, b.mul(row, scan.seen), DOUBLE), seen])
        b.call(fill, [code.at(b, to, scan.seen, DOUBLE), NUMBER(0), others])
