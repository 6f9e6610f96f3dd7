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
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from kspike_tf.scan.formulas import DOUBLE, FLOAT, Recurrence, Value

# Units that are taken through time together. With 256, of 1,024, a step's memory is read in pieces:
# training steps of the layers took a tenth to a quarter longer.
BLOCK = 2048
LINE = 64  # bytes in a cache line

_WORD = ir.IntType(64)
_FLOAT64 = np.dtype(np.float64)
_engines: list[Any] = []  # machine code lives as long as its engine


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


def prepare(recurrence: Recurrence, arrays: Arrays) -> tuple[Callable[[int, int], None], int]:
    """Return a function that does some items of the work, without Python's lock.

    Parameters
    ----------
    recurrence : Recurrence
        What is done.
    arrays : Arrays
        With what; the function reads and writes them whenever it is called.

    Returns
    -------
    work : callable
        Takes the first item and the one after the last. Items are independent of each other.
    items : int
        How many there are.

    Raises
    ------
    ValueError
        If the arrays' shapes or types do not go together: machine code would go beyond them.
    """
    sequences = (*arrays.inputs, *arrays.outputs)
    kind = sequences[0].dtype
    batch, steps, units = shape = sequences[0].shape
    if len(arrays.states) != batch:  # which graphs of open batch size do not know before
        raise ValueError(
            f"states are of {len(arrays.states)} examples, and the sequence of {batch}: a stateful "
            "layer takes batches of the size that it began with"
        )
    _check("states", [arrays.states], 1, (batch, recurrence.states, units), _FLOAT64)
    _check("sequences", sequences, recurrence.inputs + recurrence.outputs, shape, kind)
    _check("weights", arrays.weights, recurrence.weights, (units,), _FLOAT64)
    run = _compiled(recurrence, kind.char)
    blocks = -(-units // BLOCK)
    start = _address(arrays.states)
    states = [start + 8 * units * n for n in range(recurrence.states)]
    others = [_address(each) for each in (*arrays.weights, *sequences)]

    def work(first: int, last: int) -> None:
        # To name the arrays here keeps them, and what is at their addresses, as long as this.
        run(first, last, blocks, steps, units, *states, *others, *arrays.constants)

    return work, batch * blocks


def _check(
    name: str, arrays: Sequence[np.ndarray], count: int, shape: tuple[int, ...], kind: Any
) -> None:
    good = len(arrays) == count
    for each in arrays:
        good &= each.shape == shape and each.dtype == kind and each.flags.c_contiguous
    if not good:
        have = ", ".join(f"{each.dtype} {each.shape}" for each in arrays)
        raise ValueError(
            f"{name} must be {count} of {kind} {shape} in C order, got {have or 'none'}"
        )


def _address(array: np.ndarray) -> int:
    """Return where an array's memory begins: ``array.ctypes`` takes three times as long."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    return array.ctypes.data


@cache
def _compiled(recurrence: Recurrence, letter: str) -> Any:
    written = ir.Module("kspike_tf")
    _write(written, recurrence, letter)
    pointers = len(written.get_global("run").args) - 5 - recurrence.constants
    words = [ctypes.c_int64] * 5 + [ctypes.c_void_p] * pointers
    kinds = *words, *[ctypes.c_double] * recurrence.constants
    return ctypes.CFUNCTYPE(None, *kinds)(compiled(written).get_function_address("run"))


def compiled(written: Any) -> Any:
    """Return the engine that holds a module's machine code, for as long as the process lives."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine = target.create_target_machine(llvm.get_host_cpu_name(), features, opt=3, jit=True)
    written.triple, written.data_layout = machine.triple, str(machine.target_data)
    module = llvm.parse_assembly(str(written))
    module.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _engines.append(engine)
    return engine


def _write(module: Any, recurrence: Recurrence, letter: str) -> None:
    """Write the loops around a formula."""
    element = {"f": FLOAT, "d": DOUBLE}[letter]
    doubles = [DOUBLE.as_pointer()] * (recurrence.states + recurrence.weights)
    sequences = [element.as_pointer()] * (recurrence.inputs + recurrence.outputs)
    kinds = [*[_WORD] * 5, *doubles, *sequences, *[DOUBLE] * recurrence.constants]
    run = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), "run")
    for each in run.args:
        if each.type != _WORD and each.type != DOUBLE:
            each.add_attribute("noalias")
    first, last, blocks, steps, units, *rest = run.args
    b = ir.IRBuilder(run.append_basic_block())
    with _each(b, first, last) as item:
        row = b.udiv(item, blocks)
        left = b.mul(b.urem(item, blocks), _WORD(BLOCK))
        right = b.add(left, _WORD(BLOCK))
        right = b.select(b.icmp_unsigned("<", right, units), right, units)
        with _each(b, _WORD(0), steps) as step:
            t = b.sub(b.sub(steps, step), _WORD(1)) if recurrence.backwards else step
            at = b.mul(b.add(b.mul(row, steps), t), units)
            state = b.mul(b.mul(row, _WORD(recurrence.states)), units)
            if recurrence.backwards:
                _prefetch(b, recurrence, rest, b.sub(at, units), left, right, element)
            with _each(b, left, right) as unit:
                places = unit, b.add(at, unit), b.add(state, unit)
                _write_step(b, recurrence, rest, places, element)
    b.ret_void()


def _write_step(
    b: Any, recurrence: Recurrence, args: Sequence[Any], places: Sequence[Any], element: Any
) -> None:
    """Write a step of a unit, whose places in weights, sequences and states are given."""
    unit, place, state = places
    states, weights, inputs, outputs, constants = _sorted(recurrence, args)

    def read(pointers: Sequence[Any], index: Any, kind: Any) -> list[Value]:
        places = [_at(b, each, index, kind) for each in pointers]
        return [Value(b, b.load(each, typ=kind)) for each in places]

    def write(values: Sequence[Any], pointers: Sequence[Any], index: Any, kind: Any) -> None:
        for value, each in zip(values, pointers, strict=True):
            b.store(value.of(kind), _at(b, each, index, kind))

    coefficients = read(weights, unit, DOUBLE) + [Value(b, each) for each in constants]
    before, given = read(states, state, DOUBLE), read(inputs, place, element)
    after, given = recurrence.formula(before, given, coefficients)
    write(after, states, state, DOUBLE)
    write(given, outputs, place, element)


def _at(b: Any, pointer: Any, index: Any, kind: Any) -> Any:
    return b.gep(pointer, [index], source_etype=kind)


def _prefetch(
    b: Any,
    recurrence: Recurrence,
    args: Sequence[Any],
    at: Any,
    left: Any,
    right: Any,
    element: Any,
) -> None:
    """Ask for the memory of a step: processors foresee only what goes up in memory."""
    _, _, inputs, outputs, _ = _sorted(recurrence, args)
    pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
    function = b.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
    size = 8 if element == DOUBLE else 4
    with _each(b, left, right, LINE // size) as unit:
        for each, writing in [(i, 0) for i in inputs] + [(o, 1) for o in outputs]:
            place = b.bitcast(_at(b, each, b.add(at, unit), element), pointer)
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
