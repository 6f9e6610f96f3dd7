"""Operation and event counts per layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# The fields of a row: the counts, how many products were counted, and how many of them with events.
# Rows of several runs are added up.
OPERATIONS, EVENTS, SYNOPS, PRODUCTS, SPIKING, FIELDS = range(6)


@dataclass(frozen=True)
class LayerRun:
    """Operations and events of one application of a layer in a run.

    Attributes
    ----------
    operations : int
        Multiply-adds performed: on a dense path all of them, event by event only those of events.
    events : int or None
        Inputs that were not zero; None where the inputs are not spikes.
    synops : int or None
        Synaptic operations: for each event, the weights that it meets. Event by event that is
        ``operations``; on a dense path it is what these stand for.
    """

    operations: int
    events: int | None
    synops: int | None


class Tally:
    """Counts of one layer in one run, which the layer adds to.

    Parameters
    ----------
    spikes : bool
        Whether the inputs of the layer are spikes, mostly zero.
    counts : (FIELDS,) ndarray of int64, optional
        The row to add to; a new one without.
    """

    def __init__(self, spikes: bool = False, counts: Counts | None = None) -> None:
        self.spikes = spikes
        self.counts = np.zeros(FIELDS, np.int64) if counts is None else counts

    def add(self, operations: int, events: int | None = None, synops: int = 0) -> None:
        """Add the counts of a product, with its events where these were counted."""
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
    """Return the counts of layers that counted something, by the number of the row.

    Parameters
    ----------
    counts : (nodes, FIELDS) ndarray of int64
        A row for each layer.
    """
    runs = {}
    for index, (operations, events, synops, products, spiking) in enumerate(counts.tolist()):
        if spiking:
            runs[index] = LayerRun(operations, events, synops)
        elif products:
            runs[index] = LayerRun(operations, None, None)
    return runs
