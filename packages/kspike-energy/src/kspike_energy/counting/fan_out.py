"""Pure functions from shapes to numbers of connections; no framework, no model.

Convention: one connection joins one element of a layer's input to one of its units. A synaptic
event at an input element costs one operation for each connection that leaves the element, so
what is kept is not only the number of connections but the *fan-out* of every input element.
Each fan-out here is a product of one factor an axis, which keeps it small: a convolution over
224 × 224 × 3 elements needs 224 + 224 + 1 numbers, and its connections are a product of sums.

Padding is not an input element, so windows that reach over the border have fewer connections
inside. ``padding="counted"`` counts them as if they were all inside, as published multiply-add
counts do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["FanOut", "Windows", "windows_fan_out"]

Number: TypeAlias = int | Fraction
Factor: TypeAlias = Number | NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FanOut:
    """Connections that leave each element of an input, as a product of one factor an axis.

    Parameters
    ----------
    shape : tuple of int
        Shape of the input, without batch and time.
    factors : tuple of int, Fraction or (length,) ndarray
        For each axis, the factor of every position, or one factor for all.
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
        """Return the fan-out that is the same for every element."""
        return cls(tuple(shape), (1,) * len(shape), each)

    @classmethod
    def spread(cls, shape: Sequence[int], connections: int) -> "FanOut":
        """Return the fan-out of a total of which only the mean over the elements is known."""
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
        """Return the sum of ``values`` times the fan-out of their elements.

        Parameters
        ----------
        values : ndarray
            One number for each element, such as the events that it emitted.

        Returns
        -------
        int or float
            An int where the values are integers and the fan-out is whole.
        """
        rest = np.asarray(values).reshape(self.shape)
        rest = rest.astype(np.int64 if rest.dtype.kind in "iub" else np.float64)
        scale = Fraction(self.each)
        for factor in reversed(self.factors):  # the last axis first, so that axes keep their place
            if isinstance(factor, np.ndarray):
                rest = rest @ factor
            else:
                rest = rest.sum(axis=-1)
                scale *= factor
        if rest.dtype.kind == "i":
            total = int(rest) * scale
            return int(total) if total.denominator == 1 else float(total)
        return float(rest) * float(scale)

    def to_array(self) -> NDArray[np.float64]:
        """Return the fan-out of every element as an array of the input's shape."""
        result = np.full(self.shape, float(self.each))
        for axis, factor in enumerate(self.factors):
            values = np.asarray(factor, dtype=np.float64)
            if values.ndim:
                values = values.reshape(-1, *(1,) * (len(self.shape) - axis - 1))
            result = result * values
        return result


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
        Whether each *input* element writes a window of outputs.

    References
    ----------
    .. [1] "Notes on padding combination schemes", tf.nn, TensorFlow API documentation.
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
        """Padding elements in front of the axis that the windows slide over."""
        reach = (self.kernel - 1) * self.dilation + 1
        if self.padding == "same":
            # A transposed convolution is the gradient of one from its outputs to its inputs.
            longer, steps = self.inputs, self.outputs
            if self.transposed:
                longer, steps = self.outputs, self.inputs
            return max((steps - 1) * self.stride + reach - longer, 0) // 2
        return reach - 1 if self.padding == "causal" else 0

    def fan_out(self) -> NDArray[np.int64]:
        """Return how many outputs each input position reaches."""
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
        """Return the mean fan-out with every element of every window counted."""
        starts = self.inputs if self.transposed else self.outputs
        return Fraction(starts * self.kernel, max(self.inputs, 1))


def windows_fan_out(
    windows: Sequence[Windows | None],
    shape: Sequence[int],
    each: Number,
    padding: str = "excluded",
) -> FanOut:
    """Return the fan-out of windows along several axes.

    Parameters
    ----------
    windows : sequence of Windows or None
        For each axis of ``shape``, its windows, or None where nothing slides along it.
    shape : sequence of int
        Shape of the input, without batch and time.
    each : int or Fraction
        Connections of one element of one window, such as the filters of a convolution.
    padding : {"excluded", "counted"}, optional
        Whether positions over the padding are connections.

    Returns
    -------
    FanOut
        Connections that leave each element.

    Examples
    --------
    >>> axis = Windows(inputs=12, outputs=6, kernel=3, stride=2, padding="same")
    >>> windows_fan_out(
    ...     [axis, axis, None], (12, 12, 3), 4, padding="counted"
    ... ).connections
    3888
    >>> windows_fan_out([axis, axis, None], (12, 12, 3), 4).connections
    3468
    """
    factors: list[Factor] = []
    for window in windows:
        if window is None:
            factors.append(1)
        else:
            factors.append(window.counted() if padding == "counted" else window.fan_out())
    return FanOut(tuple(shape), tuple(factors), each)
