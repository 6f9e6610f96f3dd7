"""Accuracy and scope of fitted energies: prediction errors, and workloads that they cover."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Fit", "Workload", "quantile"]

_QUANTILE = 0.9


@dataclass(frozen=True)
class Workload:
    """The quantities of one call that overheads depend on.

    Parameters
    ----------
    operations : int
        Multiply-adds per inference.
    kernels : int
        Layers that a runtime launches; 0 in a measurement that does not state them. A dense layer
        and its activation count as one.
    batch_size : int
        Inferences per call.
    kinds : frozenset of str
        Types of the layers with connections, if known.
    """

    operations: int
    kernels: int
    batch_size: int = 1
    kinds: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Fit:
    """Accuracy and scope of energies that were fitted to measurements.

    Parameters
    ----------
    family : str
        The measured networks, such as "dense networks".
    factors : tuple of float
        Leave-one-out errors: for every measurement, the factor between it and its prediction from
        all the others; at least 1.
    operations, kernels, batch_sizes : tuple of (int, int)
        Smallest and largest value of the measured workloads; None for kernels if they are unknown.
    kinds : tuple of str, optional
        Types of layers in the measured networks; empty unless known of all.
    """

    family: str
    factors: tuple[float, ...]
    operations: tuple[int, int]
    kernels: tuple[int, int] | None
    batch_sizes: tuple[int, int]
    kinds: tuple[str, ...] = ()

    @property
    def points(self) -> int:
        """Number of measurements."""
        return len(self.factors)

    @property
    def median(self) -> float:
        """Median factor between prediction and measurement."""
        return quantile(self.factors, 0.5)

    @property
    def within(self) -> float:
        """Factor within which 90% of the predictions lie."""
        return quantile(self.factors, _QUANTILE)

    @property
    def worst(self) -> float:
        """Largest factor between prediction and measurement."""
        return max(self.factors)

    def outside(self, workload: Workload) -> list[str]:
        """Return how a workload lies outside the measured ones; an empty list if it does not."""
        found = []
        for value, limits, name in (
            (workload.operations, self.operations, "operations"),
            (workload.kernels, self.kernels, "layers"),
            (workload.batch_size, self.batch_sizes, "examples per batch"),
        ):
            if limits is None:
                continue
            low, high = limits
            if value > high:
                found.append(f"{value / high:.3g} times more {name} than any measured network")
            elif value < low:
                found.append(
                    f"{low / value:.3g} times fewer {name} than any measured network"
                    if value
                    else f"no {name}, unlike every measured network"
                )
        strange = sorted(workload.kinds - set(self.kinds)) if self.kinds else []
        if strange:
            found.append(f"layers of other types ({', '.join(strange)})")
        return found

    def statement(self, workload: Workload) -> str:
        """Return whether a prediction interpolates or extrapolates, as text."""
        outside = self.outside(workload)
        if outside:
            return f"extrapolated: {'; '.join(outside)}"
        return f"interpolated from {self.points} measurements of {self.family}"

    def interval(self, workload: Workload) -> float:
        """Return the factor of a prediction interval.

        Inside the measured family, 90% of the left-out measurements lie within this factor.
        Outside, it is the worst factor times the ratio to the nearest measured number of
        operations.
        """
        if not self.outside(workload):
            return self.within
        low, high = self.operations
        nearest = min(max(workload.operations, low), high)
        ratio = max(workload.operations, 1) / max(nearest, 1)
        return self.worst * max(ratio, 1 / ratio)


def quantile(values: Iterable[float], fraction: float) -> float:
    """Return a quantile, interpolated between the two nearest values."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * fraction
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
