"""Fan-out: the number of connections that leave every input element, from shapes alone.

Convention: one connection joins one element of a layer's input to one of its units. A synaptic
event at an input element costs one operation per connection that leaves the element, so the total
number of connections is not enough. Every fan-out is a product of one factor per axis, which keeps
it small: a convolution over 224 × 224 × 3 elements needs 224 + 224 + 1 numbers, and its number of
connections is a product of sums.

Padding is not an input element, so windows that cross the border have fewer connections.
``padding="counted"`` counts full windows, as published multiply-add counts do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Factor", "FanOut", "Number", "Windows"]

Number: TypeAlias = int | Fraction
Factor: TypeAlias = Number | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FanOut:
    """Connections that leave every element of an input, as a product of one factor per axis.

    Parameters
    ----------
    shape : tuple of int
        Shape of the input, without batch and time.
    factors : tuple of int, Fraction or (length,) ndarray
        Per axis, one factor per position or one factor for all positions.
    each : int or Fraction, optional
        A factor common to all elements.

    Examples
    --------
    >>> FanOut.uniform((784,), 128).connections
    100352
    """

    shape: tuple[int, ...]
    factors: tuple[Factor, ...]
    each: Number = 1

    @classmethod
    def uniform(cls, shape: Sequence[int], each: Number) -> "FanOut":
        """Return a fan-out that is the same for all elements."""
        return cls(tuple(shape), (1,) * len(shape), each)

    @classmethod
    def spread(cls, shape: Sequence[int], connections: int) -> "FanOut":
        """Return a fan-out of which only the total is known, spread evenly."""
        return cls.uniform(shape, Fraction(connections, max(math.prod(shape), 1)))

    @property
    def connections(self) -> int:
        """Sum of the fan-out over all elements."""
        total: Number = self.each
        for length, factor in zip(self.shape, self.factors, strict=True):
            if isinstance(factor, np.ndarray):
                total *= int(factor.sum())
            else:
                total *= factor * length
        return round(total)

    def weigh(self, values: NDArray[np.generic]) -> int | float:
        """Return the sum over all elements of value times fan-out.

        Parameters
        ----------
        values : ndarray
            One number per element, such as its number of events.

        Returns
        -------
        int or float
            An int if the values are integers and the fan-out is whole.
        """
        rest = np.asarray(values).reshape(self.shape)
        rest = rest.astype(np.int64 if rest.dtype.kind in "iub" else np.float64)
        scale = Fraction(self.each)
        for factor in reversed(self.factors):  # last axis first, because ``@`` contracts that one
            if isinstance(factor, np.ndarray):
                rest = rest @ factor
            else:
                rest = rest.sum(axis=-1)
                scale *= factor
        if rest.dtype.kind == "i":
            total = int(rest) * scale
            return int(total) if total.denominator == 1 else float(total)
        return float(rest) * float(scale)


@dataclass(frozen=True)
class Windows:
    """Windows that slide along one axis.

    Parameters
    ----------
    inputs, outputs : int
        Length of the axis before and after.
    kernel, stride, dilation : int
        Size of the window, distance between windows, distance between a window's elements.
    padding : {"valid", "same", "causal"}
        Where the padding goes. ``"same"`` puts the odd element at the end, as TensorFlow does [1]_.
    transposed : bool, optional
        Whether an *input* element writes a window of outputs.

    References
    ----------
    .. [1] "Notes on padding combination schemes", tf.nn, TensorFlow API documentation.

    Examples
    --------
    >>> axis = Windows(inputs=4, outputs=2, kernel=3, stride=2, padding="same")
    >>> axis.fan_out(), axis.counted()
    (array([1, 1, 2, 1]), Fraction(3, 2))
    """

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    padding: str = "valid"
    transposed: bool = False

    @property
    def before(self) -> int:
        """Number of padding elements before the axis that the windows slide over."""
        reach = (self.kernel - 1) * self.dilation + 1
        if self.padding == "same":
            # A transposed convolution is the gradient of one from its outputs to its inputs.
            longer, steps = self.inputs, self.outputs
            if self.transposed:
                longer, steps = self.outputs, self.inputs
            return max((steps - 1) * self.stride + reach - longer, 0) // 2
        return reach - 1 if self.padding == "causal" else 0

    def fan_out(self) -> NDArray[np.int64]:
        """Return the number of outputs that every input position reaches."""
        starts = self.inputs if self.transposed else self.outputs
        positions = (
            np.arange(starts)[:, None] * self.stride
            + np.arange(self.kernel)[None, :] * self.dilation
            - self.before
        )
        end = self.outputs if self.transposed else self.inputs
        inside = (positions >= 0) & (positions < end)
        if self.transposed:
            written: NDArray[np.int64] = np.sum(inside, axis=1, dtype=np.int64)
            return written
        reached: NDArray[np.int64] = np.bincount(positions[inside], minlength=self.inputs)
        return reached

    def counted(self) -> Fraction:
        """Return the mean fan-out if all windows were full."""
        starts = self.inputs if self.transposed else self.outputs
        return Fraction(starts * self.kernel, max(self.inputs, 1))
