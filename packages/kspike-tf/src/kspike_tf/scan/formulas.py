"""Formulas for a time step: what they are made of, as numbers and as code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

DOUBLE, FLOAT = ir.DoubleType(), ir.FloatType()


class Recurrence(NamedTuple):
    """A formula for a time step of a unit, and how many numbers it takes and gives.

    Parameters
    ----------
    formula : callable
        Takes lists of states, inputs and coefficients; returns lists of states and outputs.
    states : int
        Numbers that go from step to step, float64.
    inputs, outputs : int
        Sequences that are read and written, all float32 or all float64.
    weights : int
        Coefficients of a unit, float64.
    constants : int
        Coefficients of all units, float64, which follow the weights.
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
        kind = DOUBLE if DOUBLE in (self.value.type, other.value.type) else FLOAT
        return self._made(getattr(self.builder, operation), self.of(kind), other.of(kind))

    def of(self, kind: Any) -> Any:
        """Return the number in a type."""
        if self.value.type == kind:
            return self.value
        change = self.builder.fpext if kind == DOUBLE else self.builder.fptrunc
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
