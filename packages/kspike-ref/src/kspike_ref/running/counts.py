"""Operation and event counts per layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# The fields of a row: the counts, the number of products counted, and the number of these whose
# events were counted. Rows of several runs are added up.
OPERATIONS, EVENTS, SYNOPS, PRODUCTS, SPIKING, FIELDS = range(6)


@dataclass(frozen=True)
class LayerRun:
    """Operations and events of one application of a layer in a run.

    Attributes
    ----------
    operations : int
        Multiply-adds performed: all of them on a dense path, only those of events on an
        event-driven path.
    events : int or None
        Nonzero inputs; None if the inputs are not spikes.
    synops : int or None
        Synaptic operations: the weights that every event meets. On an event-driven path they equal
        ``operations``; on a dense path, an event-driven one would perform this many.
    """

    operations: int
    events: int | None
    synops: int | None


class Tally:
    """Counts of one layer in one run.

    Parameters
    ----------
    spikes : bool
        Whether the inputs of the layer are spikes, and so mostly zero.
    counts : (FIELDS,) ndarray of int64, optional
        The row to add to; a new row by default.
    """

    def __init__(self, spikes: bool = False, counts: Counts | None = None) -> None:
        self.spikes = spikes
        self.counts = np.zeros(FIELDS, np.int64) if counts is None else counts

    def add(self, operations: int, events: int | None = None, synops: int = 0) -> None:
        """Add the counts of a product, with its events if these were counted."""
        counts = self.counts
        counts[OPERATIONS] += operations
        counts[PRODUCTS] += 1
        if events is not None:
            counts[EVENTS] += events
            counts[SYNOPS] += synops
            counts[SPIKING] += 1

    def without_spikes(self) -> Tally:
        """Return a tally that adds to the same counts, for inputs that are not spikes."""
        return Tally(False, self.counts)


def layer_runs(counts: Counts) -> dict[int, LayerRun]:
    """Return the counts of the layers that counted something, by row number.

    Parameters
    ----------
    counts : (nodes, FIELDS) ndarray of int64
        One row per layer.
    """
    runs = {}
    for index, (operations, events, synops, products, spiking) in enumerate(counts.tolist()):
        if spiking:
            runs[index] = LayerRun(operations, events, synops)
        elif products:
            runs[index] = LayerRun(operations, None, None)
    return runs
