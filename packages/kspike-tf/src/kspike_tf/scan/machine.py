"""From a formula for a time step to machine code for all steps, by LLVM.

A formula is a Python function of numbers. It is called once, with `Value` objects that write down
what is done to them; around that come the loops over rows, time and units, the last of which LLVM
turns into operations on several units at once. That takes some hundredths of a second for a
formula, so that nothing has to be kept on the disk.

Products are rounded before they are added: LLVM fuses the two only where it is told to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

# Units that are taken through time together. With 256, of 1,024, a step's memory is read in pieces:
# training steps of the layers took a tenth to a quarter longer.
BLOCK = 2048
LINE = 16  # elements of float32 in a cache line

_WORD, _DOUBLE, _FLOAT = ir.IntType(64), ir.DoubleType(), ir.FloatType()
_POINTERS = {"f": _FLOAT.as_pointer(), "d": _DOUBLE.as_pointer()}
_lock = Lock()
_engines: list[Any] = []  # machine code lives as long as its engine


class Recurrence(NamedTuple):
    """A formula for a time step of a unit, and how many numbers it takes and gives.

    Parameters
    ----------
    formula : callable
        Takes lists of states, inputs and weights; returns lists of states and outputs.
    states : int
        Numbers that go from step to step, float64.
    inputs, outputs : int
        Sequences that are read and written, all float32 or all float64.
    weights : int
        Coefficients of a unit, float64.
    constants : int
        Coefficients of all units, float64; the formula gets them after the weights.
    backwards : bool
        Whether the last step is the first.
    """

    formula: Callable[..., Any]
    states: int = 1
    inputs: int = 1
    outputs: int = 1
    weights: int = 0
    constants: int = 0
    backwards: bool = False


class Value:
    """A number of a formula, which is known when the machine code runs."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def __add__(self, other: Any) -> Value:
        return self._with("fadd", other)

    def __sub__(self, other: Any) -> Value:
        return self._with("fsub", other)

    def __mul__(self, other: Any) -> Value:
        return self._with("fmul", other)

    def _with(self, operation: str, other: Any) -> Value:
        if not isinstance(other, Value):
            other = Value(self.builder, ir.Constant(self.value.type, other))
        kind = _DOUBLE if _DOUBLE in (self.value.type, other.value.type) else _FLOAT
        return self._made(getattr(self.builder, operation), self.of(kind), other.of(kind))

    def of(self, kind: Any) -> Any:
        """Return the number in a type."""
        if self.value.type == kind:
            return self.value
        change = self.builder.fpext if kind == _DOUBLE else self.builder.fptrunc
        return change(self.value, kind)

    def call(self, name: str) -> Value:
        """Apply a function that LLVM knows."""
        function = self.builder.module.declare_intrinsic(f"llvm.{name}", [self.value.type])
        return self._made(self.builder.call, function, [self.value])

    def rectified(self) -> Value:
        """Return zero for what is below."""
        zero = ir.Constant(self.value.type, 0)
        below = self.builder.fcmp_ordered("<", self.value, zero)  # false for NaN
        return self._made(self.builder.select, below, zero, self.value)

    def _made(self, operation: Callable[..., Any], *args: Any) -> Value:
        return Value(self.builder, operation(*args))


# What formulas may use besides sums, differences and products


def rint(x: Any) -> Any:
    """Round to the nearest whole number, halves to the even one."""
    return x.call("rint") if isinstance(x, Value) else np.rint(x)


def floor(x: Any) -> Any:
    """Round down."""
    return x.call("floor") if isinstance(x, Value) else np.floor(x)


def rectified(x: Any) -> Any:
    """Return x where it is positive, or zero."""
    return x.rectified() if isinstance(x, Value) else np.where(x < 0, x.dtype.type(0), x)


def cast(x: Any, like: Any) -> Any:
    """Round to the type of another number."""
    if isinstance(x, Value):
        return Value(x.builder, x.of(like.value.type))
    return np.asarray(x, like.dtype)


# Machine code


class Arrays(NamedTuple):
    """The arrays that a recurrence works on, all in C order.

    Parameters
    ----------
    states : (batch, states, units) ndarray
        Those before the first step, float64; overwritten by those after the last.
    inputs, outputs : sequence of (batch, time, units) ndarray
        Of one type.
    weights : sequence of (units,) ndarray
        Float64.
    constants : sequence of float
        As in `Recurrence`.
    """

    states: np.ndarray
    inputs: Sequence[np.ndarray]
    outputs: Sequence[np.ndarray]
    weights: Sequence[np.ndarray] = ()
    constants: Sequence[float] = ()

    @property
    def items(self) -> int:
        """In how many parts the work can be cut: rows, and blocks of units."""
        return self.states.shape[0] * -(-self.states.shape[2] // BLOCK)


def prepare(recurrence: Recurrence, arrays: Arrays) -> Callable[[int, int], None]:
    """Return a function that does some items of the work, without Python's lock.

    Parameters
    ----------
    recurrence : Recurrence
        What is done.
    arrays : Arrays
        With what; the function reads and writes them whenever it is called.

    Returns
    -------
    callable
        Takes the first item and the one after the last. Items are independent of each other.
    """
    run = _machine_code(recurrence, arrays.inputs[0].dtype.char)
    steps, units = arrays.inputs[0].shape[1:]
    states = [arrays.states.ctypes.data + 8 * units * n for n in range(recurrence.states)]
    others = [each.ctypes.data for each in (*arrays.weights, *arrays.inputs, *arrays.outputs)]

    def work(first: int, last: int) -> None:
        # To name the arrays here keeps them, and what is at their addresses, as long as this.
        run(first, last, steps, units, *states, *others, *arrays.constants)

    return work


def _machine_code(recurrence: Recurrence, letter: str) -> Any:
    with _lock:  # one at a time
        return _compiled(recurrence, letter)


@cache
def _compiled(recurrence: Recurrence, letter: str) -> Any:
    written = ir.Module("kspike_tf")
    _write(written, recurrence, letter)
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(llvm.get_host_cpu_name(), features, opt=3, jit=True)
    written.triple, written.data_layout = machine.triple, str(machine.target_data)
    module = llvm.parse_assembly(str(written))
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _engines.append(engine)
    pointers = len(written.get_global("run").args) - 4 - recurrence.constants
    words = [ctypes.c_int64] * 4 + [ctypes.c_void_p] * pointers
    kinds = *words, *[ctypes.c_double] * recurrence.constants
    return ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address("run"))


def _write(module: Any, recurrence: Recurrence, letter: str) -> None:
    """Write the loops around a formula."""
    doubles = [_POINTERS["d"]] * (recurrence.states + recurrence.weights)
    sequences = [_POINTERS[letter]] * (recurrence.inputs + recurrence.outputs)
    kinds = [*[_WORD] * 4, *doubles, *sequences, *[_DOUBLE] * recurrence.constants]
    run = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "run")
    for each in run.args:
        if each.type != _WORD and each.type != _DOUBLE:
            each.add_attribute("noalias")
    first, last, steps, units, *rest = run.args
    b = ir.IRBuilder(run.append_basic_block())
    width = _WORD(BLOCK)
    columns = b.udiv(b.add(units, b.sub(width, _WORD(1))), width)
    with _each(b, first, last) as item:
        row = b.udiv(item, columns)
        left = b.mul(b.urem(item, columns), width)
        right = b.add(left, width)
        right = b.select(b.icmp_unsigned("<", right, units), right, units)
        with _each(b, _WORD(0), steps) as step:
            t = b.sub(b.sub(steps, step), _WORD(1)) if recurrence.backwards else step
            at = b.mul(b.add(b.mul(row, steps), t), units)
            state = b.mul(b.mul(row, _WORD(recurrence.states)), units)
            if recurrence.backwards:
                _prefetch(b, recurrence, rest, b.sub(at, units), left, right)
            with _each(b, left, right) as unit:
                _write_step(b, recurrence, rest, unit, b.add(at, unit), b.add(state, unit))
    b.ret_void()


def _write_step(
    b: Any, recurrence: Recurrence, args: Sequence[Any], unit: Any, place: Any, state: Any
) -> None:
    """Write a step of a unit: at which place of the sequences, and of the states."""
    states, weights, inputs, outputs, constants = _sorted(recurrence, args)

    def read(pointers: Sequence[Any], index: Any) -> list[Value]:
        return [Value(b, b.load(b.gep(each, [index]))) for each in pointers]

    def write(values: Sequence[Any], pointers: Sequence[Any], index: Any) -> None:
        for value, each in zip(values, pointers, strict=True):
            b.store(value.of(each.type.pointee), b.gep(each, [index]))

    coefficients = read(weights, unit) + [Value(b, each) for each in constants]
    after, given = recurrence.formula(read(states, state), read(inputs, place), coefficients)
    write(after, states, state)
    write(given, outputs, place)


def _prefetch(
    b: Any, recurrence: Recurrence, args: Sequence[Any], at: Any, left: Any, right: Any
) -> None:
    """Ask for the memory of a step: processors foresee only what goes up in memory."""
    _, _, inputs, outputs, _ = _sorted(recurrence, args)
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    function = b.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    with _each(b, left, right, LINE) as unit:
        for each, writing in [(i, 0) for i in inputs] + [(o, 1) for o in outputs]:
            place = b.bitcast(b.gep(each, [b.add(at, unit)]), pointer)
            # Into the nearest level of the data cache. An address that is not ours is no error.
            b.call(function, [place, number(writing), number(3), number(1)])


def _sorted(recurrence: Recurrence, args: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the arguments in groups: states, weights, inputs, outputs, constants."""
    rest = list(args)
    groups: list[Sequence[Any]] = []
    for name in ("states", "weights", "inputs", "outputs", "constants"):
        count = getattr(recurrence, name)
        groups.append(rest[:count])
        del rest[:count]
    return groups


@contextmanager
def _each(b: Any, start: Any, stop: Any, by: int = 1) -> Iterator[Any]:
    """Write a loop around what is written within: it is given the index."""
    before = b.block
    body, after = b.append_basic_block(), b.append_basic_block()
    b.cbranch(b.icmp_signed("<", start, stop), body, after)
    b.position_at_end(body)
    index = b.phi(_WORD)
    index.add_incoming(start, before)
    yield index
    following = b.add(index, _WORD(by), flags=["nsw"])
    index.add_incoming(following, b.block)
    b.cbranch(b.icmp_signed("<", following, stop), body, after)
    b.position_at_end(after)
