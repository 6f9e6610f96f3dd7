"""Outgoing connections of one signal, and their synaptic operations."""

from dataclasses import dataclass

__all__ = ["Synapses"]


@dataclass(frozen=True, eq=False)
class Synapses:
    """Outgoing connections of one signal, and the signal's activity.

    Parameters
    ----------
    connections : int
        Number of connections.
    rate : float or None, optional
        Mean absolute value of the signal in Hz; None if it was not measured.
    active : float or None, optional
        Mean number of events per element and time step. Every nonzero value is an event.
    coding : {"rate", "events", "dense", "signal"}, optional
        How a spiking device receives the signal: an ``input_coding``, or "signal" inside a network.
    dt : float or None, optional
        Time step in seconds of the layer that emits the signal, if it has its own.
    weighted_rate : float or None, optional
        Sum over the elements of fan-out × mean absolute value.
    operations : int or float or None, optional
        Synaptic operations counted over the whole data: events × fan-out.
    samples : int, optional
        Time steps × examples that ``operations`` covers.
    """

    connections: int
    rate: float | None = None
    active: float | None = None
    coding: str = "rate"
    dt: float | None = None
    weighted_rate: float | None = None
    operations: int | float | None = None
    samples: int = 0

    def rate_at(self, dt: float) -> float | None:
        """Return the rate in Hz that the mean count uses on a device with time step ``dt``."""
        if self.coding == "dense":
            return 1 / dt
        if self.coding == "events":
            return None if self.active is None else self.active / dt
        return self.rate

    def synops(self, dt: float, events: str) -> float | None:
        """Return synaptic operations per time step; None if the data to count them is missing.

        Parameters
        ----------
        dt : float
            Time step of the device, in seconds.
        events : {"mean", "exact"}
            The mean count is connections × rate × dt. The exact count is the number of counted
            operations; a signal coded as a rate emits |value| × dt events on average. A signal
            inside a layer cannot be measured: it counts as an event at every element and step.
        """
        if self.connections == 0:
            return 0.0
        if events == "mean" or (self.operations is None and self.coding == "dense"):
            rate = self.rate_at(dt)
            return None if rate is None else self.connections * rate * dt
        if self.rate is None:
            return None
        if self.operations is None:
            return float(self.connections)
        if self.coding == "rate":
            return None if self.weighted_rate is None else self.weighted_rate * dt
        return self.operations / max(self.samples, 1)
