"""Activity of a signal on data, accumulated batch by batch.

For every element of the signal, it holds the sum of absolute values and the number of nonzero
values, over batch and time. Both counts need no more: the mean count takes the average, and the
exact count weights the elements by their fan-out.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Activity"]


@dataclass
class Activity:
    """Sums of one signal over batch and time.

    Parameters
    ----------
    absolute : ndarray
        Per element, the sum of its absolute values.
    active : ndarray
        Per element, the number of nonzero values.
    samples : int
        Number of values per element: batch × time.
    """

    absolute: NDArray[np.float64]
    active: NDArray[np.int64]
    samples: int

    @classmethod
    def measure(cls, values: Any, *, timed: bool, name: str) -> "Activity | None":
        """Return the activity of one batch.

        Parameters
        ----------
        values : (batch, time, ...) or (batch, ...) array_like
            The signal.
        timed : bool
            Whether axis 1 is time.
        name : str
            Name of the layer, for messages.

        Raises
        ------
        ValueError
            If a value is NaN or infinite, or the sum too large.

        Returns
        -------
        Activity or None
            None if the values are not numbers, such as text.
        """
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            return None
        axes = (0, 1) if timed else (0,)
        with np.errstate(over="ignore"):  # the check below reports a sum that is too large
            absolute = np.abs(array).sum(axis=axes, dtype=np.float64)
        if np.isnan(absolute).any():
            raise ValueError(f"the activity at the input of layer {name!r} contains NaN")
        _check_finite(absolute, name)
        samples = int(np.prod(array.shape[: len(axes)]))
        return cls(absolute, np.count_nonzero(array, axis=axes), samples)

    def plus(self, other: "Activity", name: str) -> "Activity":
        """Return the activity of both batches.

        Raises
        ------
        ValueError
            If its elements have another shape.
        """
        if np.shape(self.absolute) != np.shape(other.absolute):
            raise ValueError(
                f"example_data changes the shape of layer {name!r} from batch to batch: "
                f"{np.shape(self.absolute)}, then {np.shape(other.absolute)}"
            )
        with np.errstate(over="ignore"):
            absolute = self.absolute + other.absolute
        _check_finite(absolute, name)
        return Activity(absolute, self.active + other.active, self.samples + other.samples)

    @property
    def rate(self) -> float:
        """Mean absolute value: spikes per second, if values are rates or spikes of height 1/dt."""
        return float(np.sum(self.absolute)) / max(self.samples * np.size(self.absolute), 1)

    @property
    def active_fraction(self) -> float:
        """Fraction of nonzero values: events per element and time step."""
        return int(np.sum(self.active)) / max(self.samples * np.size(self.active), 1)


def _check_finite(absolute: NDArray[np.float64], name: str) -> None:
    with np.errstate(over="ignore"):
        if not np.isfinite(absolute.sum()):
            raise ValueError(
                f"the activity at the input of layer {name!r} is infinite, or too large to be "
                "added up: scale example_data to firing rates in Hz"
            )
