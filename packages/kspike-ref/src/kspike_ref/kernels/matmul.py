"""Matrix products whose bits do not depend on how many rows are multiplied at once.

A streaming step multiplies one row where a batch multiplies thousands, and BLAS picks another
order of additions for each. Here every element is ``bias + x₀·w₀ + x₁·w₁ + …``, in that order, each
term added by one fused multiply-add, whatever the shape of the batch, the blocking, the number of
threads or the width of the machine's vectors. Terms with ``x = 0`` change nothing, so leaving them
out, as the event-driven product does, gives the same bits as well.

References
----------
.. [1] K. Goto, R. A. van de Geijn, "Anatomy of high-performance matrix multiplication",
   ACM Trans. Math. Softw. 34(3), 2008: panels, blocks and register tiles.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-not-found]
import numpy as np
from llvmlite import ir  # type: ignore[import-not-found]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kspike_ref.kernels import checks, kernel
from kspike_ref.kernels.bits import list_nonzero
from kspike_ref.kernels.memory import aligned

Array = Any

_WIDE = "avx512f" in llvm.get_host_cpu_features() and llvm.get_host_cpu_features()["avx512f"]
_BYTES = 64 if _WIDE else 32  # of a vector register
_TALL = 6 if _WIDE else 4  # rows of a register tile: its sums take 24 of 32, or 16 of 16 registers
_DEPTH = 512  # terms of a block: 24 kB of rows in the L1 cache, a panel of 64 kB in L2
_ROWS = 240  # rows of a block, whose 480 kB stay in the L2 cache while panels pass


def _tile(rows: int, vectors: int, gathered: bool = False) -> Any:
    """Make a function that adds a product to ``rows`` × ``vectors`` registers of results.

    It takes the rows' array, where to start and how far rows are apart; a packed panel and where to
    start; the results, likewise; the number of terms; and for gathered terms, the panel's rows that
    they meet, which start where the terms do.
    """

    def tile(
        _: Any, a: Any, at: Any, step: Any, b: Any, bt: Any, c: Any, ct: Any, far: Any, depth: Any,
        index: Any,
    ) -> Any:  # fmt: skip
        i = types.intp
        signature = types.void(a, i, i, b, i, c, i, i, i, index)

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            emit = _Emitter(context, builder, sig, args, rows, vectors)
            emit.product(gathered)
            return context.get_dummy_value()

        return signature, codegen

    tile.__name__ = f"tile_{rows}_{vectors}_{gathered}"
    return intrinsic(tile)


class _Emitter:
    """Writes the loop of a register tile in LLVM's language."""

    def __init__(
        self, context: Any, builder: Any, sig: Any, args: Any, rows: int, vectors: int
    ) -> None:
        def data(i: int) -> Any:
            return context.make_array(sig.args[i])(context, builder, args[i]).data

        self.builder = builder
        self.rows, self.vectors = rows, vectors
        self.element = context.get_value_type(sig.args[0].dtype)
        self.size = context.get_abi_sizeof(self.element)
        self.width = _BYTES // self.size
        self.vector = ir.VectorType(self.element, self.width)
        self.word = ir.IntType(64)
        _, at, step, _, bt, _, ct, far, self.depth, _ = args
        self.a = [
            builder.gep(data(0), [builder.add(at, builder.mul(step, self.word(r)))])
            for r in range(rows)
        ]
        self.b = builder.gep(data(3), [bt])
        self.c = [
            [
                builder.gep(
                    data(5), [builder.add(ct, builder.add(builder.mul(far, self.word(r)), at_v))]
                )
                for at_v in (self.word(v * self.width) for v in range(vectors))
            ]
            for r in range(rows)
        ]
        self.index = builder.gep(data(9), [at])
        name = f"llvm.fma.v{self.width}f{8 * self.size}"
        self.fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(self.vector, [self.vector] * 3), name
        )

    def product(self, gathered: bool) -> None:
        """Load the results, add every term, store them."""
        builder = self.builder
        results = [[self._load(p, self.size) for p in row] for row in self.c]
        before = builder.block
        loop = builder.append_basic_block("terms")
        after = builder.append_basic_block("stored")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(self.word)
        k.add_incoming(self.word(0), before)
        sums = [[builder.phi(self.vector) for _ in row] for row in results]
        row_of_b = builder.load(builder.gep(self.index, [k])) if gathered else k
        at = builder.mul(row_of_b, self.word(self.vectors * self.width))
        weights = [
            self._load(builder.gep(self.b, [builder.add(at, self.word(v * self.width))]), self.size)
            for v in range(self.vectors)
        ]
        new = []
        for a_row, row in zip(self.a, sums, strict=True):
            x = self._splat(builder.load(builder.gep(a_row, [k])))
            new.append(
                [builder.call(self.fma, [x, w, s]) for w, s in zip(weights, row, strict=True)]
            )
        following = builder.add(k, self.word(1))
        k.add_incoming(following, loop)
        for row, old, updated in zip(sums, results, new, strict=True):
            for phi, first, last in zip(row, old, updated, strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(last, loop)
        builder.cbranch(builder.icmp_signed("<", following, self.depth), loop, after)
        builder.position_at_end(after)
        for row, places in zip(new, self.c, strict=True):
            for value, place in zip(row, places, strict=True):
                store = builder.store(value, builder.bitcast(place, self.vector.as_pointer()))
                store.align = self.size

    def _load(self, place: Any, align: int) -> Any:
        load = self.builder.load(self.builder.bitcast(place, self.vector.as_pointer()))
        load.align = align
        return load

    def _splat(self, value: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.IntType(32)(0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
        return self.builder.shuffle_vector(first, undefined, lanes)


_tall_2, _tall_1 = _tile(_TALL, 2), _tile(_TALL, 1)
_four_2, _four_1 = _tile(4, 2), _tile(4, 1)
_one_2, _one_1 = _tile(1, 2), _tile(1, 1)
# One row of events with a panel of two vectors, and of one.
events_2, events_1 = _tile(1, 2, gathered=True), _tile(1, 1, gathered=True)


@kernel
def _panel(
    a: Array, at: int, step: int, rows: int, b: Array, bt: int, c: Array, ct: int, far: int,
    depth: int, wide: bool,
) -> None:  # fmt: skip
    """Multiply rows with one panel; results are as far apart as ``far``."""
    row = 0
    while row < rows:
        left = rows - row
        start, to = at + row * step, ct + row * far
        if left >= _TALL:
            if wide:
                _tall_2(a, start, step, b, bt, c, to, far, depth, b)
            else:
                _tall_1(a, start, step, b, bt, c, to, far, depth, b)
            row += _TALL
        elif left >= 4:
            if wide:
                _four_2(a, start, step, b, bt, c, to, far, depth, b)
            else:
                _four_1(a, start, step, b, bt, c, to, far, depth, b)
            row += 4
        else:
            if wide:
                _one_2(a, start, step, b, bt, c, to, far, depth, b)
            else:
                _one_1(a, start, step, b, bt, c, to, far, depth, b)
            row += 1


@kernel
def _copy(source: Array, target: Array, rows: int, columns: int) -> None:
    """Copy a corner of a matrix: a loop, because Numba's own assignment needs its runtime."""
    for i in range(rows):
        for j in range(columns):
            target[i, j] = source[i, j]


@kernel
def multiply_loop(a: Array, packed: Array, width: int, out: Array) -> None:
    """Add ``a @ b`` to ``out``; ``packed`` is `pack` of b, ``width`` a panel's columns."""
    rows, depth = a.shape
    columns = out.shape[1]
    step = a.strides[0] // a.itemsize
    far = out.strides[0] // out.itemsize
    half = width // 2
    scratch = np.empty((min(rows, _ROWS), width), out.dtype)
    for top in range(0, rows, _ROWS):
        count = min(_ROWS, rows - top)
        for k in range(0, depth, _DEPTH):
            terms = min(_DEPTH, depth - k)
            for first in range(0, columns, width):
                left = columns - first
                wide = left > half
                taken = width if wide else half
                bt = first * depth + k * taken
                at = top * step + k
                if left >= taken:
                    _panel(a, at, step, count, packed, bt, out, top * far + first, far, terms, wide)
                    continue
                part = out[top : top + count, first:columns]
                scratch[:, left:] = 0
                _copy(part, scratch, count, left)
                _panel(a, at, step, count, packed, bt, scratch, 0, width, terms, wide)
                _copy(scratch, part, count, left)


@kernel
def multiply_events_loop(
    a: Array, packed: Array, width: int, depth: int, out: Array, index: Array, values: Array
) -> int:
    """Add ``a @ b`` to ``out`` without the terms where a is 0; return how many were not.

    ``index`` and ``values`` are room for the terms of a row.
    """
    flat, columns = a.reshape(-1), out.shape[1]
    far = out.strides[0] // out.itemsize
    half = width // 2
    scratch = np.empty((1, width), out.dtype)
    total = 0
    for row in range(a.shape[0]):
        count = list_nonzero(flat, row * depth, depth, 0, index, values, 0)
        total += count
        if count == 0:
            continue
        for first in range(0, columns, width):
            left = columns - first
            wide = left > half
            taken = width if wide else half
            bt = first * depth
            if left >= taken:
                to = row * far + first
                if wide:
                    events_2(values, 0, 0, packed, bt, out, to, far, count, index)
                else:
                    events_1(values, 0, 0, packed, bt, out, to, far, count, index)
                continue
            part = out[row : row + 1, first:columns]
            scratch[:, left:] = 0
            _copy(part, scratch, 1, left)
            if wide:
                events_2(values, 0, 0, packed, bt, scratch, 0, width, count, index)
            else:
                events_1(values, 0, 0, packed, bt, scratch, 0, width, count, index)
            _copy(scratch, part, 1, left)
    return total


def multiply(a: Array, packed: Array, out: Array) -> None:
    """Add ``a @ b`` to ``out``.

    Parameters
    ----------
    a : (rows, depth) ndarray
        Float32 or float64.
    packed : ndarray
        `pack` of b, ``(depth, columns)``.
    out : (rows, columns) ndarray
        Added to.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another type, shape or memory layout.
    """
    loop, *arguments = multiply_call(a, packed, out)
    loop(*arguments)


def multiply_call(a: Array, packed: Array, out: Array) -> tuple[Any, ...]:
    """Return the loop of `multiply` and its arguments, checked."""
    return multiply_loop, a, packed, _check(a, packed, out), out


def multiply_events(a: Array, packed: Array, out: Array) -> int:
    """Add ``a @ b`` to ``out`` without the terms where a is 0; arguments as in `multiply`.

    Returns
    -------
    int
        How many values of ``a`` are not 0.
    """
    loop, *arguments = multiply_events_call(a, packed, out)
    return int(loop(*arguments))


def multiply_events_call(a: Array, packed: Array, out: Array) -> tuple[Any, ...]:
    """Return the loop of `multiply_events` and its arguments, checked."""
    width, depth = _check(a, packed, out), a.shape[1]
    index, values = np.empty(depth, np.intp), np.empty(depth, a.dtype)
    return multiply_events_loop, a, packed, width, depth, out, index, values


def _check(a: Array, packed: Array, out: Array) -> int:
    """Check the arguments of both products; return the width of a panel."""
    dtype = checks.floats("a", a, 2)
    rows, depth = a.shape
    checks.read("a", a, dtype, (rows, depth))
    checks.floats("out", out, 2)
    columns = out.shape[1]
    checks.write("out", out, dtype, (rows, columns))
    checks.read("packed", packed, dtype, (packed_size(depth, columns, dtype),))
    return _WIDTHS[dtype]


def panel_width(dtype: Any) -> int:
    """Return the columns of a full panel: two vector registers."""
    return 2 * _BYTES // int(np.dtype(dtype).itemsize)


_WIDTHS = {dtype: panel_width(dtype) for dtype in (checks.FLOAT32, checks.FLOAT64)}


def packed_size(depth: int, columns: int, dtype: Any) -> int:
    """Return the size of `pack` of a matrix ``(depth, columns)``."""
    width = _WIDTHS[dtype]
    half = width // 2
    full, left = divmod(columns, width)
    return depth * (full * width + (0 if not left else half if left <= half else width))


def pack(b: Array) -> Array:
    """Bring a matrix into the order in which `multiply` reads it.

    Parameters
    ----------
    b : (depth, columns) ndarray
        The right factor.

    Returns
    -------
    ndarray
        Its columns in panels, each panel row after row, the last one filled up with zeros; aligned
        to a cache line.
    """
    depth, columns = b.shape
    width = panel_width(b.dtype)
    panels = []
    for first in range(0, columns, width):
        taken = width if columns - first > width // 2 else width // 2
        panel = np.zeros((depth, taken), b.dtype)
        panel[:, : columns - first] = b[:, first : first + taken]
        panels.append(panel.reshape(-1))
    flat = np.concatenate(panels) if panels else np.zeros(0, b.dtype)
    return aligned(flat)
