"""Register tiles of matrix products, written in LLVM IR.

Only this module and `kernels.bits` generate code without Numba. A product is fast if its sums stay
in vector registers while terms are added, and has the same bits on every machine if each term is
added in order by one fused multiply-add. Numba guarantees neither for a Python loop: whether LLVM
keeps sums in registers, and of which width, depends on the processor and on LLVM's version.

A tile of r rows and v vectors is the loop

    for k in range(depth):
        for r in rows:
            for v in vectors:
                c[r, v] = fma(a[r, k], b[k, v], c[r, v])

with all of c in registers. It needs only public interfaces of Numba and llvmlite:
``numba.extending.intrinsic``, and llvmlite's ``IRBuilder``.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-not-found]
from llvmlite import ir  # type: ignore[import-not-found]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WIDE = "avx512f" in llvm.get_host_cpu_features() and llvm.get_host_cpu_features()["avx512f"]
BYTES = 64 if _WIDE else 32  # of a vector register
# Rows of a register tile: its sums take 12 of 32, or 8 of 16 registers. With AVX2, six rows took
# 0.94 of the time for sums of 500 terms, and 1.1 for sums of 27, on one machine.
TALL = 6 if _WIDE else 4


def _tile(rows: int, vectors: int, gathered: bool = False) -> Any:
    """Make a function that adds a product to ``rows`` × ``vectors`` registers of results.

    Its arguments are the array of rows, its start and stride; a packed panel and its start; the
    array of results, its start and stride; the number of terms; and for gathered terms, the panel
    row of each term, from the same start as the terms.
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
    """Writes the loop of a register tile in LLVM IR."""

    def __init__(
        self, context: Any, builder: Any, sig: Any, args: Any, rows: int, vectors: int
    ) -> None:
        def data(i: int) -> Any:
            return context.make_array(sig.args[i])(context, builder, args[i]).data

        self.builder = builder
        self.rows, self.vectors = rows, vectors
        self.element = context.get_value_type(sig.args[0].dtype)
        self.size = context.get_abi_sizeof(self.element)
        self.width = BYTES // self.size
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
        """Load the results, add every term, and store the results."""
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


tall_2, tall_1 = _tile(TALL, 2), _tile(TALL, 1)
four_2, four_1 = _tile(4, 2), _tile(4, 1)
one_2, one_1 = _tile(1, 2), _tile(1, 1)
# One row of events times a panel of two vectors, or of one.
events_2, events_1 = _tile(1, 2, gathered=True), _tile(1, 1, gathered=True)
