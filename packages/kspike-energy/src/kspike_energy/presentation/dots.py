"""Positions of dots on a logarithmic axis, in percent of its width."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from kspike_energy.presentation.units import si

__all__ = ["Scale", "Tick"]

_MOST_TICKS = 5  # more would overlap on a phone


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis.

    Parameters
    ----------
    place : float
        Percent of the width.
    label : str
        Text.
    anchor : {"start", "middle", "end"}
        The part of the text at that position.
    """

    place: float
    label: str
    anchor: str


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis over whole decades.

    Parameters
    ----------
    first, last : int
        Powers of ten at its ends.
    """

    first: int
    last: int

    @classmethod
    def over(cls, values: Iterable[float]) -> "Scale":
        """Return an axis that covers all values above zero."""
        logarithms = [math.log10(value) for value in values if value > 0]
        if not logarithms:
            return cls(-1, 0)
        first = math.floor(min(logarithms))
        return cls(first, max(math.ceil(max(logarithms)), first + 1))

    def place(self, value: float) -> float | None:
        """Return the position of a value; None for zero."""
        if value <= 0:
            return None
        return round(100 * (math.log10(value) - self.first) / (self.last - self.first), 2)

    @property
    def ticks(self) -> list[Tick]:
        """Labels at whole decades, at most five of them."""
        step = math.ceil((self.last - self.first) / (_MOST_TICKS - 1))
        ticks = []
        for power in range(self.first, self.last + 1, step):
            place = round(100 * (power - self.first) / (self.last - self.first), 2)
            anchor = "start" if place == 0 else "end" if place == 100 else "middle"
            ticks.append(Tick(place, si(10.0**power), anchor))
        return ticks
