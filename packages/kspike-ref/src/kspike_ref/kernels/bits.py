"""Bit masks of nonzero values, with one comparison for 32 values."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-not-found]
from numba import types
from numba.extending import intrinsic

from kspike_ref.kernels import kernel

Array = Any

RUN = 32  # values per comparison


@intrinsic
def nonzero_bits(_: Any, x: Any, at: Any) -> Any:
    """Return a mask of `RUN` values from ``x[at]`` on: bit i is set if ``x[at + i]`` is not 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        element = context.get_value_type(sig.args[0].dtype)
        vector = ir.VectorType(element, RUN)
        place = builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer())
        values = builder.load(place)
        values.align = context.get_abi_sizeof(element)
        # An unordered comparison is also true for NaN.
        flags = builder.fcmp_unordered("!=", values, ir.Constant(vector, None))
        return builder.zext(builder.bitcast(flags, ir.IntType(RUN)), ir.IntType(64))

    return types.uint64(x, types.intp), codegen


def _of_bits(instruction: str) -> Any:
    """Make a function of a mask: ``ctpop`` counts the set bits, ``cttz`` finds the lowest one."""

    def of_bits(_: Any, bits: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if instruction == "cttz":
                return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))  # at least one is set
            return builder.ctpop(args[0])

        return types.intp(types.uint64), codegen

    return intrinsic(of_bits)


lowest_bit, number_of_bits = _of_bits("cttz"), _of_bits("ctpop")


@kernel
def lowest_bits(count: int) -> Any:
    """Return a number whose lowest ``count`` bits are set; ``count`` is below 64."""
    return (np.uint64(1) << np.uint64(count)) - np.uint64(1)


@kernel
def list_nonzero(
    x: Array, at: int, size: int, base: int, index: Array, values: Array, found: int
) -> int:
    """Append nonzero values and their positions, counted from ``base``, to the ``found`` before.

    Returns the number found so far.
    """
    whole = size - size % RUN
    # Compare the rest together with the values that follow it, if there are enough.
    reach = size if at + whole + RUN <= x.size else whole
    for first in range(0, reach, RUN):
        bits = nonzero_bits(x, at + first)
        if first == whole:
            bits &= lowest_bits(size - whole)
        while bits != np.uint64(0):
            i = first + lowest_bit(bits)
            index[found] = base + i
            values[found] = x[at + i]
            found += 1
            bits &= bits - np.uint64(1)
    for i in range(reach, size):
        if x[at + i] != 0:
            index[found] = base + i
            values[found] = x[at + i]
            found += 1
    return found
