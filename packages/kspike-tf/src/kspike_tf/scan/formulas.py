"""Formulas for a time step: what they are made of, as numbers and as code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from llvmlite import ir

from kspike_tf.scan import code
from kspike_tf.scan.code import DOUBLE, FLOAT


class Recurrence(NamedTuple):
    """A formula for a time step of a unit, and how many numbers it takes and gives.

    Parameters
    ----------
    name : str
        What it is called where TensorFlow and XLA call it.
    formula : callable
        Takes lists of states, inputs and coefficients; returns lists of states and of one output.
    coefficients : callable
        Takes what the caller gives, dt or its ratio to τ; returns a list of coefficients.
    states : int
        Numbers that go from step to step, float64.
    inputs : int
        Sequences that are read. They and the one that is written are all float32 or all float64.
    given : int
        Arguments of `coefficients`, float64.
    weights : int
        Coefficients, float64.
    shared : bool
        Whether all units have the same: what is given are numbers, otherwise arrays ``(units,)``.
    backwards : bool
        Whether it takes gradients back through another recurrence: the last step is the first. Of
        the states, the first are the gradients of that recurrence's, then come as many derivatives
        of these for what is given first, and a sum over time for the gradient of this.
    """

    name: str
    formula: Callable[..., Any]
    coefficients: Callable[..., Any]
    states: int = 1
    inputs: int = 1
    given: int = 1
    weights: int = 1
    shared: bool = False
    backwards: bool = False

    @property
    def visible(self) -> int:
        """Number of states that callers give and get: of the recurrence that goes forwards."""
        return (self.states - 1) // 2 if self.backwards else self.states

    @property
    def arguments(self) -> int:
        """Number of arguments: a sequence, states, what is given, gradients of both results."""
        return 2 + self.given + 2 * self.backwards

    @property
    def results(self) -> int:
        """Number of results, of the types and shapes of as many arguments, in their order."""
        return 2 + self.backwards

    def is_sequence(self, argument: int) -> bool:
        """Whether an argument, or the result of the same number, is a sequence."""
        return argument == 0 or (self.backwards and argument == self.arguments - 2)


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

    def __neg__(self) -> Value:
        return self._made(self.builder.fneg, self.value)

    def __rsub__(self, other: Any) -> Value:
        return self._constant(other) - self

    def __rtruediv__(self, other: Any) -> Value:
        return self._constant(other)._with("fdiv", self)

    def _with(self, operation: str, other: Any) -> Value:
        if not isinstance(other, Value):
            other = self._constant(other)
        kind = DOUBLE if DOUBLE in (self.value.type, other.value.type) else FLOAT
        return self._made(getattr(self.builder, operation), self.of(kind), other.of(kind))

    def _constant(self, number: float) -> Value:
        return Value(self.builder, ir.Constant(self.value.type, number))

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

    def library_call(self, name: str) -> Value:
        """Apply a function of C's mathematical library, on float64."""
        function = code.library(self.builder.module, name, DOUBLE, [DOUBLE])
        return self._made(self.builder.call, function, [self.of(DOUBLE)])

    def rectified(self) -> Value:
        """Return zero for what is below."""
        zero = ir.Constant(self.value.type, 0)
        below = self.builder.fcmp_ordered("<", self.value, zero)  # false for NaN
        return self._made(self.builder.select, below, zero, self.value)

    def _made(self, operation: Callable[..., Any], *args: Any) -> Value:
        return Value(self.builder, operation(*args))


# What formulas may use besides sums, differences, products and quotients


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


def exp(x: Any) -> Any:
    """Return the exponential; of a tensor, too."""
    if isinstance(x, Value):
        return x.library_call("exp")
    return tf.exp(x) if tf.is_tensor(x) else np.exp(x)


def expm1(x: Any) -> Any:
    """Return the exponential less one, without loss of digits near zero; of a tensor, too."""
    if isinstance(x, Value):
        return x.library_call("expm1")
    return tf.math.expm1(x) if tf.is_tensor(x) else np.expm1(x)
