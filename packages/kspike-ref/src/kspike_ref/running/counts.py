"""What the layers of a run really did: events that came, and operations performed."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class LayerRun:
    """What one application of a layer did in a run.

    Attributes
    ----------
    operations : int
        Multiply-adds performed: on a dense path all of them, event by event only those of events.
    events : int or None
        Inputs that were not zero; None where the inputs are not spikes, and nobody counted.
    synops : int or None
        Synaptic operations: for each event, the weights that it meets. Event by event that is
        ``operations``; on a dense path it is what these stand for.
    """

    operations: int
    events: int | None
    synops: int | None

    def __add__(self, other: LayerRun) -> LayerRun:
        return LayerRun(
            self.operations + other.operations,
            _sum(self.events, other.events),
            _sum(self.synops, other.synops),
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


class Tally(threading.local):
    """Where layers write down what they do, in each thread on its own.

    Attributes
    ----------
    spikes : bool
        Whether the inputs of the layer that runs now are spikes, mostly zero.
    """

    def __init__(self) -> None:
        self.spikes = False
        self._run: LayerRun | None = None

    def add(self, operations: int, events: int | None = None, synops: int | None = None) -> None:
        """Write down what a product did."""
        run = LayerRun(operations, events, synops)
        self._run = run if self._run is None else self._run + run

    def take(self) -> LayerRun | None:
        """Return what was written down since the last time."""
        run, self._run = self._run, None
        return run


tally = Tally()
