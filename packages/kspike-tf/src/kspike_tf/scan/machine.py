"""The loops around a formula in machine code: over examples, time and units.

A formula is a Python function of numbers. It is called once, with `Value` objects that write down
what is done to them; around that come the loops, the innermost of which, over units, LLVM turns
into operations on several units at once.

Products are rounded before they are added: LLVM fuses the two only where it is told to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from kspike_tf.scan import code
from kspike_tf.scan.code import DOUBLE, ELEMENTS, NOTHING, NUMBER, POINTER, SIZES, WORD
from kspike_tf.scan.formulas import Recurrence, Value

# Units that are taken through time together. With 256, of 1,024, a step's memory is read in pieces:
# training steps of the layers took a tenth to a quarter longer.
BLOCK = 2048
LINE = 64  # bytes in a cache line

# What `steps` takes: the first item and the one after the last; the number of blocks, steps and
# units; pointers to states, to coefficients, and to pointers to sequences.
STEPS = [WORD] * 5 + [POINTER] * 3
# What `coefficients` takes: the number of units, a pointer to pointers to what is given, and one to
# the coefficients.
COEFFICIENTS = [WORD, POINTER, POINTER]
# What `gradients` takes: batch and units; pointers to states after all steps, and to those before
# the first step, forwards; pointers to the gradients of these, and of what is given.
GRADIENTS = [WORD] * 2 + [POINTER] * 4


def compiled(recurrence: Recurrence, letter: str) -> dict[str, int]:
    """Return the addresses of machine code for a recurrence, for as long as the process lives.

    Parameters
    ----------
    recurrence : Recurrence
        What is done in a step.
    letter : str
        "f" or "d": the type of the sequences.

    Returns
    -------
    dict
        Of functions, by name. ``steps`` takes some items of the work through time. An item is a
        block of units of an example: `number_of_blocks` of them make an example, and all are
        independent of each other. The arrays are in C order: states ``(batch, states, units)``,
        coefficients ``(weights, units)`` or, if units share them, ``(weights,)``. ``coefficients``
        computes the coefficients. ``gradients``, of what goes backwards, finds the gradients of
        states and of what is given.
    """
    module = ir.Module(f"kspike_tf_{recurrence.name}_{letter}")
    _write_steps(module, _write_loops(module, recurrence, letter), recurrence)
    _write_coefficients(module, recurrence)
    names = ["steps", "coefficients"]
    if recurrence.backwards:
        _write_gradients(module, recurrence)
        names.append("gradients")
    engine = code.compiled(module, 1)  # more takes longer, and gains nothing
    return {name: int(engine.get_function_address(name)) for name in names}


def _write_steps(module: Any, loops: Any, recurrence: Recurrence) -> None:
    """Write a function of the kind above, which calls the loops."""
    function = ir.Function(module, ir.FunctionType(NOTHING, STEPS), "steps")
    b = ir.IRBuilder(function.append_basic_block())
    *counts, states, coefficients, sequences = function.args
    units = counts[-1]
    pointers = [_row(b, states, n, units) for n in range(recurrence.states)]
    weights = range(recurrence.weights)
    if recurrence.shared:
        numbers = [code.load(b, coefficients, WORD(n), DOUBLE) for n in weights]
    else:
        numbers = [_row(b, coefficients, n, units) for n in weights]
    pointers += numbers
    pointers += [code.load(b, sequences, WORD(n), POINTER) for n in range(recurrence.inputs + 1)]
    b.call(loops, [*counts, *pointers])
    b.ret_void()


def _row(b: Any, array: Any, number: int, units: Any) -> Any:
    return code.at(b, array, b.mul(WORD(number), units), DOUBLE)


def _write_coefficients(module: Any, recurrence: Recurrence) -> None:
    function = ir.Function(module, ir.FunctionType(NOTHING, COEFFICIENTS), "coefficients")
    b = ir.IRBuilder(function.append_basic_block())
    units, given, found = function.args
    arrays = [code.load(b, given, WORD(n), POINTER) for n in range(recurrence.given)]
    count = WORD(1) if recurrence.shared else units
    with code.each(b, WORD(0), count) as unit:
        numbers = [Value(b, code.load(b, each, unit, DOUBLE)) for each in arrays]
        for n, each in enumerate(recurrence.coefficients(*numbers)):
            place = code.at(b, _row(b, found, n, count), unit, DOUBLE)
            b.store(each.of(DOUBLE), place)
    b.ret_void()


def _write_gradients(module: Any, recurrence: Recurrence) -> None:
    """Write how gradients of states before the first step, and of what is given, are found.

    The loss depends on those states as on an input; so their products with the derivatives of
    their gradients are added to the sums over time.
    """
    function = ir.Function(module, ir.FunctionType(NOTHING, GRADIENTS), "gradients")
    for each in function.args[2:]:
        each.add_attribute("noalias")
    b = ir.IRBuilder(function.append_basic_block())
    batch, units, states, first, d_states, d_given = function.args
    count = recurrence.visible
    with code.each(b, WORD(0), units) as unit:
        b.store(DOUBLE(0), code.at(b, d_given, unit, DOUBLE))
    with code.each(b, WORD(0), batch) as row:
        ends = _row(b, states, recurrence.states, b.mul(row, units))
        before, gradients = (_row(b, each, count, b.mul(row, units)) for each in (first, d_states))
        with code.each(b, WORD(0), units) as unit:

            def of(array: Any, n: int, unit: Any = unit) -> Any:
                return code.at(b, _row(b, array, n, units), unit, DOUBLE)

            place = code.at(b, d_given, unit, DOUBLE)
            total = b.load(of(ends, 2 * count), typ=DOUBLE)
            for n in range(count):
                b.store(b.load(of(ends, n), typ=DOUBLE), of(gradients, n))
                change = b.load(of(ends, count + n), typ=DOUBLE)
                total = b.fadd(total, b.fmul(b.load(of(before, n), typ=DOUBLE), change))
            b.store(b.fadd(b.load(place, typ=DOUBLE), total), place)
    b.ret_void()


def _write_loops(module: Any, recurrence: Recurrence, letter: str) -> Any:
    """Write the loops around a formula."""
    sequences = [POINTER] * (recurrence.inputs + 1)
    weights = [DOUBLE if recurrence.shared else POINTER] * recurrence.weights
    kinds = [*[WORD] * 5, *[POINTER] * recurrence.states, *weights, *sequences]
    run = code.local(module, NOTHING, kinds, "loops")
    for each in run.args:
        if each.type == POINTER:
            each.add_attribute("noalias")
    first, last, blocks, steps, units, *rest = run.args
    b = ir.IRBuilder(run.append_basic_block())
    with code.each(b, first, last) as item:
        row = b.udiv(item, blocks)
        left = b.mul(b.urem(item, blocks), WORD(BLOCK))
        right = code.smaller(b, b.add(left, WORD(BLOCK)), units)
        with code.each(b, WORD(0), steps) as step:
            t = b.sub(b.sub(steps, step), WORD(1)) if recurrence.backwards else step
            where = b.mul(b.add(b.mul(row, steps), t), units)
            state = b.mul(b.mul(row, WORD(recurrence.states)), units)
            if recurrence.backwards:
                _prefetch(b, recurrence, rest, b.sub(where, units), left, right, letter)
            with code.each(b, left, right) as unit:
                places = unit, b.add(where, unit), b.add(state, unit)
                _write_step(b, recurrence, rest, places, ELEMENTS[letter])
    b.ret_void()
    return run


def number_of_blocks(b: Any, units: Any) -> Any:
    """Write how many blocks the units of an example are."""
    return b.udiv(b.add(units, WORD(BLOCK - 1)), WORD(BLOCK))


def _write_step(
    b: Any, recurrence: Recurrence, args: Sequence[Any], places: Sequence[Any], element: Any
) -> None:
    """Write a step of a unit, whose places in weights, sequences and states are given."""
    unit, place, state = places
    states, weights, inputs, outputs = _sorted(recurrence, args)

    def read(pointers: Sequence[Any], index: Any, kind: Any) -> list[Value]:
        return [Value(b, code.load(b, each, index, kind)) for each in pointers]

    def write(values: Sequence[Any], pointers: Sequence[Any], index: Any, kind: Any) -> None:
        for value, each in zip(values, pointers, strict=True):
            b.store(value.of(kind), code.at(b, each, index, kind))

    shared = recurrence.shared
    coefficients = [Value(b, w) for w in weights] if shared else read(weights, unit, DOUBLE)
    before, given = read(states, state, DOUBLE), read(inputs, place, element)
    after, given = recurrence.formula(before, given, coefficients)
    write(after, states, state, DOUBLE)
    write(given, outputs, place, element)


def _prefetch(
    b: Any,
    recurrence: Recurrence,
    args: Sequence[Any],
    where: Any,
    left: Any,
    right: Any,
    letter: str,
) -> None:
    """Ask for the memory of a step: processors foresee only what goes up in memory."""
    _, _, inputs, outputs = _sorted(recurrence, args)
    kind = ir.FunctionType(NOTHING, [POINTER, NUMBER, NUMBER, NUMBER])
    function = b.module.declare_intrinsic("llvm.prefetch", [POINTER], kind)
    with code.each(b, left, right, LINE // SIZES[letter]) as unit:
        for each, writing in [(i, 0) for i in inputs] + [(o, 1) for o in outputs]:
            place = code.at(b, each, b.add(where, unit), ELEMENTS[letter])
            # Into the nearest level of the data cache. An address that is not ours is no error.
            b.call(function, [place, NUMBER(writing), NUMBER(3), NUMBER(1)])


def _sorted(recurrence: Recurrence, args: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the arguments of the loops in groups: states, weights, inputs, outputs."""
    rest = list(args)
    groups: list[Sequence[Any]] = []
    for count in (recurrence.states, recurrence.weights, recurrence.inputs, 1):
        groups.append(rest[:count])
        del rest[:count]
    return groups
