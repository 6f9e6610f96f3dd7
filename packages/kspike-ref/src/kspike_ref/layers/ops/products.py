# ruff: noqa: D102 (methods are documented in base.Layer)
"""Matrix products, and sums of products over named axes.

The product of a row and a constant matrix does not depend on the number of rows, so an example has
the same bits in any batch.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from kspike_ref import dtypes
from kspike_ref.layers.errors import Array, Shape, UnsupportedUseError
from kspike_ref.layers.merge import broadcast
from kspike_ref.layers.ops.base import Operation, same_steps, shape_of
from kspike_ref.layers.product import Product
from kspike_ref.layers.registry import known
from kspike_ref.running.counts import Tally
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.saved.limits import MAX_ELEMENTS

_MAX_PRODUCTS = 2**40  # multiplications for one example: model files are untrusted


def rows_times(x: Array, matrix: Array, tally: Tally) -> Array:
    """Return ``x @ matrix`` for one matrix; rows do not affect each other."""
    if matrix.dtype.kind == "f":
        product = Product(np.ascontiguousarray(matrix))
        return product.over_last_axis(np.ascontiguousarray(x), tally=tally)
    y: Array = np.matmul(x, matrix)
    return y


def factors(*values: Any) -> list[Array]:
    """Return the factors of a matrix product in the type in which Keras multiplies.

    That is int32 for int8; bools stay bools.
    """
    promoted = dtypes.promoted(*values)
    if all(np.asarray(value).dtype == np.int8 for value in values):
        promoted = [factor.astype(np.int32) for factor in promoted]
    return promoted


@known("ops:Matmul")
class Matmul(Operation):
    """The product of matrices; leading axes broadcast."""

    argument_names = ("x1", "x2")
    takes_tally = True

    def output_shape(self, *shapes: Any) -> Shape:
        if len(shapes) != 2 or not any(isinstance(shape, tuple) for shape in shapes):
            raise ArchiveError(f"layer {self.name!r} must be called with two tensors")
        one, other = map(shape_of, shapes)
        if not one or not other:
            raise ArchiveError(
                f"layer {self.name!r} needs operands with one axis or more. Received: {shapes}"
            )
        self._check_batch(shapes, one, other)
        depth = other[-2] if len(other) > 1 else other[0]
        if None not in (one[-1], depth) and one[-1] != depth:
            raise ArchiveError(f"layer {self.name!r}: incompatible shapes: {one}, {other}")
        lead = broadcast([one[:-2], other[:-2]])
        return (*lead, *one[-2:-1], *(other[-1:] if len(other) > 1 else ()))

    def _check_batch(self, shapes: Any, one: Shape, other: Shape) -> None:
        """Refuse products in which the batch is not a leading axis of every tensor."""
        is_tensor = [isinstance(shape, tuple) for shape in shapes]
        if all(is_tensor):
            if not len(one) == len(other) > 2:
                raise self.mixes(f"tensors of shapes {one} and {other}")
            return
        tensor, constant = (one, other) if is_tensor[0] else (other, one)
        first = constant[0] if len(constant) == len(tensor) > 2 else 1
        small = len(constant) <= (max(2, len(tensor)) if is_tensor[0] else len(tensor))
        if first != 1 or not small or (is_tensor[1] and len(tensor) < 3):
            raise self.mixes(f"a tensor of shape {tensor} and a constant of shape {constant}")

    def pointwise(self, *shapes: Any) -> bool:
        one, other = shapes
        if not isinstance(one, tuple):
            return len(other) > 3 and np.ndim(one) < 3
        if not isinstance(other, tuple):
            return len(one) > 2 and np.ndim(other) < 3
        return len(one) > 3 and same_steps(shapes)

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        return math.prod(made[0]) * max(given[0][-2:])

    def call(self, x: Any, y: Any, *, tally: Tally) -> Array:
        x, y = factors(x, y)
        if y.ndim < 3:  # a constant
            z = rows_times(x, y.reshape(len(y), -1), tally)
            return z if y.ndim == 2 else z[..., 0]
        tally.add(x.size * (y.shape[-1] if y.ndim > 1 else 1))
        product: Array = np.matmul(x, y)
        return product


@known("ops:Einsum")
class Einsum(Operation):
    """Sums of products over the axes that an equation names."""

    options = ("subscripts",)
    takes_tally = True
    weighs_constants = True

    def setup(self) -> None:
        equation = str(self.config["subscripts"]).replace(" ", "")
        term = r"[a-zA-Z]*(?:\.\.\.)?[a-zA-Z]*"
        if re.fullmatch(rf"{term}(?:,{term})*(?:->{term})?", equation) is None:
            raise ArchiveError(f"subscripts must be an equation. Received: {equation:.80}")
        left, arrow, right = equation.partition("->")
        self.equation, self.terms = equation, left.split(",")
        self.made = right if arrow else None

    def _labels(self, ranks: list[int]) -> tuple[list[str], str]:
        """Return the axis labels of the operands and the output, with the dots written out."""
        if len(ranks) != len(self.terms):
            raise ArchiveError(f"{self.equation} needs {len(self.terms)} operands")
        used = set(self.equation)
        free = [chr(code) for code in range(0x3B1, 0x3B1 + 24) if chr(code) not in used]
        terms, longest = [], ""
        for term, rank in zip(self.terms, ranks, strict=True):
            extra = rank - len(term.replace("...", ""))
            if extra < 0 or (extra and "..." not in term) or extra > len(free):
                raise ArchiveError(f"{self.equation} does not fit operands of {ranks} axes")
            dots = "".join(free[len(free) - extra :]) if extra else ""
            longest = max(longest, dots, key=len)
            terms.append(term.replace("...", dots))
        if self.made is not None:
            return terms, self.made.replace("...", longest)
        counted = "".join(terms)
        return terms, longest + "".join(sorted(c for c in set(counted) - set(longest)
                                               if counted.count(c) == 1))  # fmt: skip

    def output_shape(self, *shapes: Any) -> Shape:
        known_shapes = [shape_of(value) for value in shapes]
        terms, made = self._labels([len(shape) for shape in known_shapes])
        if any(len(set(term)) < len(term) for term in [*terms, made]):
            raise UnsupportedUseError(f"keras.ops.einsum with {self.equation}: an axis named twice")
        lengths = self._lengths(terms, known_shapes)
        if not set(made) <= set(lengths) or not made:
            raise self.mixes(f"subscripts={self.equation!r}")
        for term, shape in zip(terms, shapes, strict=True):
            if (term[:1] == made[0]) != isinstance(shape, tuple) or made[0] in term[1:]:
                raise self.mixes(f"subscripts={self.equation!r}")
        products, between = self._for_one(known_shapes)
        if products > _MAX_PRODUCTS or between > MAX_ELEMENTS:
            raise ArchiveError(f"{self.equation} of {known_shapes} needs too many operations")
        return tuple(lengths[label] for label in made)

    def _lengths(self, terms: list[str], shapes: list[Shape]) -> dict[str, Any]:
        """Return the length of each label's axis, None if it is unknown."""
        lengths: dict[str, Any] = {}
        for term, shape in zip(terms, shapes, strict=True):
            for label, length in zip(term, shape, strict=True):
                if lengths.get(label) is None:
                    lengths[label] = length
                elif length is not None and length != lengths[label]:
                    raise ArchiveError(f"{self.equation} does not fit shapes {shapes}")
        return lengths

    def _for_one(self, shapes: list[Shape]) -> tuple[int, int]:
        """Return the multiplications and the elements of intermediate products for one example."""
        terms, made = self._labels([len(shape) for shape in shapes])
        known = self._lengths(terms, shapes).items()
        lengths = {label: 1 if n is None else n for label, n in known}
        lengths[made[0]] = 1  # the batch
        between = _between(_constant_last(terms, terms, made)[0], made, lengths)
        return math.prod(lengths.values()), between

    def pointwise(self, *shapes: Any) -> bool:
        terms, made = self._labels([len(shape_of(value)) for value in shapes])
        time = made[1:2]
        tensors = [t for t, s in zip(terms, shapes, strict=True) if isinstance(s, tuple)]
        others = [t for t, s in zip(terms, shapes, strict=True) if not isinstance(s, tuple)]
        timed = all(t[1:2] == time and len(t) > 1 for t in tensors)
        return bool(time) and timed and not any(time in t for t in others)

    def multiply_adds(self, given: list[Any], made: list[Any]) -> int:
        return int(made[0][0]) * self._for_one(given)[0]

    def temporaries(self, given: list[Any], made: list[Any]) -> int:
        between = int(made[0][0]) * self._for_one(given)[1]
        return 2 * sum(map(math.prod, [*given, *made])) + between

    def call(self, *inputs: Any, tally: Tally) -> Array:
        terms, made = self._labels([np.ndim(x) for x in inputs])
        if all(np.asarray(x).dtype.kind == "b" for x in inputs):
            self.refuse(np.dtype(bool), "numbers, or bools with numbers")
        terms, values = _constant_last(terms, factors(*inputs), made)
        labels, y = terms[0], values[0]
        for i in range(1, len(values)):
            kept = set(made).union(*terms[i + 1 :])
            labels, y = _contract(labels, y, terms[i], values[i], kept, tally)
        y = y.sum(axis=tuple(i for i, c in enumerate(labels) if c not in made), dtype=y.dtype)
        labels = "".join(c for c in labels if c in made)
        return np.ascontiguousarray(y.transpose([labels.index(c) for c in made]))


def _constant_last(terms: list[str], values: Any, made: str) -> tuple[list[str], Any]:
    """Return the operands, reversed if the first is a constant: products commute."""
    if made[0] not in terms[0]:
        return terms[::-1], values[::-1]
    return terms, values


def _between(terms: list[str], made: str, lengths: dict[str, int]) -> int:
    """Return the elements of copied factors and their product for one example."""
    most, labels = 0, set(terms[0])
    for i, term in enumerate(terms[1:], 1):
        kept = set(made).union(*terms[i + 1 :])
        product = (labels | set(term)) & kept
        factors = labels & (kept | set(term)), set(term) & (kept | labels)
        sizes = [math.prod(lengths[c] for c in one) for one in (*factors, product)]
        most, labels = max(most, 2 * sum(sizes)), product
    return most


def _contract(
    one: str, x: Array, other: str, y: Array, kept: set[str], tally: Tally
) -> tuple[str, Array]:
    """Multiply two operands and sum over the labels that no other operand needs.

    Returns the labels of the product and the product itself.
    """
    one, x = _summed(one, x, kept | set(other))
    other, y = _summed(other, y, kept | set(one))
    shared = [c for c in one if c in other]
    batch = [c for c in shared if c in kept]
    summed = [c for c in shared if c not in kept]
    left = [c for c in one if c not in other]
    right = [c for c in other if c not in one]
    x = x.transpose([one.index(c) for c in batch + left + summed])
    y = y.transpose([other.index(c) for c in batch + summed + right])
    lengths = x.shape[: len(batch)]
    depth = math.prod(x.shape[len(batch) + len(left) :])
    free = (x.shape[len(batch) : len(batch) + len(left)], y.shape[len(batch) + len(summed) :])
    x = np.ascontiguousarray(x).reshape(*lengths, math.prod(free[0]), depth)
    y = np.ascontiguousarray(y).reshape(*lengths, depth, math.prod(free[1]))
    if batch or x.dtype.kind != "f":
        tally.add(x.size * y.shape[-1])
        product = np.matmul(x, y)
    else:
        product = rows_times(x, y, tally)
    return "".join(batch + left + right), product.reshape(*lengths, *free[0], *free[1])


def _summed(labels: str, x: Array, kept: set[str]) -> tuple[str, Array]:
    """Sum over the labels that are not needed."""
    axes = tuple(i for i, c in enumerate(labels) if c not in kept)
    if not axes:
        return labels, x
    return "".join(c for c in labels if c in kept), x.sum(axis=axes, dtype=x.dtype)
