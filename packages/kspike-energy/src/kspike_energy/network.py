"""Networks as layers with connections, neurons and firing rates.

`ModelEnergy` builds a network from a framework's model. For other frameworks, write one by hand:

>>> network = Network(
...     [
...         Layer("hidden", connections=100_352, neurons=128, rate=20.0),
...         Layer("readout", connections=1_280, rate=12.5),
...     ]
... )
>>> network.connections
101632
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kspike_energy.checks import check_whole, finite, real
from kspike_energy.config import check_dt
from kspike_energy.counting.nodes import Shape
from kspike_energy.counting.statistics import add_stats
from kspike_energy.devices.overhead import Workload
from kspike_energy.storage import Storage
from kspike_energy.synapses import Synapses

__all__ = ["BY_HAND", "Layer", "Network"]

BY_HAND = "as described by hand"


def _whole(name: str, value: object, layer: str) -> int:
    return check_whole(f"{name} of layer {layer!r}", value)


class Layer:
    """A layer of a `Network`.

    Parameters
    ----------
    name : str
        Its name.
    connections : int, optional
        Connections from its inputs to its units, per time step.
    neurons : int, optional
        Unit updates per time step.
    rate : float, optional
        Mean firing rate of its input in Hz. Estimates for spiking devices need it.
    spiking : bool, optional
        Whether a spiking device could run it unchanged.
    type_name : str, optional
        Its type, for reports.
    output_shape : tuple, optional
        Output shape, with None for batch and time.
    params : int, optional
        Number of weights.
    dt : float, optional
        Its own time step in seconds, if it has one.
    synapses : sequence of sequence of Synapses, optional
        For every application, its connections by signal; replaces ``connections`` and ``rate``.
    problem : str, optional
        Reason why it could not be counted. Totals leave such a layer out.
    layer : object, optional
        The framework's own layer.
    once : bool, optional
        Whether it comes after the end of the time axis, and so runs once per inference. Only the
        exact count uses this.
    storage : Storage, optional
        Sizes of its data in memory, for devices with a memory model; by default those of a dense
        layer with the same number of connections.
    whole : bool, optional
        Whether its counts cover a whole sequence, as in attention, so that it runs once per
        inference.
    node_stats : dict, optional
        "connections", "neurons" and "spiking" by the framework's own node. A node that runs
        several times in a nested model holds the sum.

    Raises
    ------
    TypeError, ValueError
        If a count is negative or not a whole number, or the rate is negative or not finite.
    """

    def __init__(
        self,
        name: str,
        connections: int = 0,
        neurons: int = 0,
        rate: float | None = None,
        spiking: bool = True,
        *,
        type_name: str = "Layer",
        output_shape: Any = None,
        params: int = 0,
        dt: float | None = None,
        synapses: Sequence[Sequence[Synapses]] | None = None,
        problem: str = "",
        layer: Any = None,
        once: bool = False,
        storage: Storage | None = None,
        whole: bool = False,
        node_stats: Mapping[Any, dict[str, Any]] | None = None,
    ) -> None:
        self.name = str(name)
        self.neurons = _whole("neurons", neurons, self.name)
        self.params = _whole("params", params, self.name)
        if synapses is None:
            count = _whole("connections", connections, self.name)
            if rate is not None:
                rate = _check_rate(rate, self.name)
            synapses = [[Synapses(count, rate)]]
        self.synapses = [list(terms) for terms in synapses]
        self.spiking = bool(spiking)
        self.type_name = type_name
        self.output_shape: Shape | list[Shape] | None = output_shape
        self.dt = None if dt is None else check_dt(dt, f"dt of layer {self.name!r}")
        self.problem = problem
        self.layer = layer
        self.once = once
        self.storage = storage
        self.whole = whole
        self.node_stats = dict(node_stats or {})

    def __repr__(self) -> str:
        return (
            f"Layer({self.name!r}, connections={self.connections}, neurons={self.neurons}, "
            f"spiking={self.spiking})"
        )

    @property
    def key(self) -> Any:
        """The framework's own layer if there is one and it is hashable, otherwise this object."""
        try:
            hash(self.layer)
        except TypeError:
            return self
        return self if self.layer is None else self.layer

    @property
    def connections(self) -> int:
        """Connections of all its applications."""
        return sum(s.connections for terms in self.synapses for s in terms)

    def signals(self, dt: float, own_dt: bool) -> list[tuple[Synapses, float]]:
        """Return the synapses of all applications, with the time step of their signals.

        Parameters
        ----------
        dt : float
            Time step in seconds.
        own_dt : bool
            Whether signals with their own time step keep it.
        """
        every = [s for terms in self.synapses for s in terms]
        return [(s, (s.dt if own_dt else None) or dt) for s in every]

    def rate(self, dt: float, own_dt: bool = False) -> float | None:
        """Return the mean firing rate of its inputs in Hz, weighted by their connections.

        With these weights, ``connections × rate × dt`` is the number of synaptic operations per
        time step.
        """
        known = [
            (s.connections, rate)
            for s, step in self.signals(dt, own_dt)
            if (rate := s.rate_at(step)) is not None
        ]
        if not known:
            return None
        weights = [connections for connections, _ in known]
        what = f"the firing rate of layer {self.name!r}"
        if not sum(weights):
            return finite(what, lambda: math.fsum(rate for _, rate in known) / len(known))
        return finite(what, lambda: math.fsum(c * r for c, r in known) / sum(weights))

    def synops(self, dt: float, events: str = "mean", own_dt: bool = False) -> float | None:
        """Return synaptic operations per time step, summed over its applications."""
        parts = [s.synops(step, events) for s, step in self.signals(dt, own_dt)]
        known = [part for part in parts if part is not None]
        if len(known) != len(parts):
            return None
        what = f"the number of synaptic operations of layer {self.name!r}"
        return finite(what, lambda: math.fsum(known))

    @property
    def kernels(self) -> int:
        """Number of its applications that a runtime launches: those with connections."""
        return sum(any(s.connections for s in terms) for terms in self.synapses)

    @property
    def stored(self) -> Storage | None:
        """Sizes of its data in memory; those of a dense layer if nothing else is known.

        None if the number of outputs is unknown.
        """
        if self.storage is not None:
            return self.storage
        shape = self.output_shape if isinstance(self.output_shape, tuple) else ()
        lengths = [length for length in shape if length is not None]
        outputs = math.prod(lengths) if lengths else self.neurons
        if not outputs:
            return None
        weights = self.params or self.connections
        return Storage(max(self.connections // outputs, 1), outputs, weights)

    @property
    def operations(self) -> int | float | None:
        """Synaptic operations counted over the whole data; None if they were not measured."""
        parts = [s.operations for terms in self.synapses for s in terms if s.connections]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None


def _check_rate(rate: object, layer: str) -> float:
    value = real(rate)
    if value is None:
        raise TypeError(f"rate of layer {layer!r} must be a number of Hz. Received: {rate!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(
            f"rate of layer {layer!r} must be finite and not negative. Received: {rate!r}"
        )
    return value


@dataclass(frozen=True)
class Network:
    """Layers in order of execution.

    Parameters
    ----------
    layers : sequence of Layer
        The layers, with unique names.
    name : str, optional
        Name for reports.
    params : int or None, optional
        Number of weights of the whole network.
    time_axis : str, optional
        Description of the time axis, for reports.
    data_steps : sequence of int, optional
        Distinct lengths of the sequences in the example data, in time steps.

    Raises
    ------
    TypeError
        If a layer is not a `Layer`.
    ValueError
        If two layers have the same name.
    """

    layers: Sequence[Layer]
    name: str = "network"
    params: int | None = None
    time_axis: str = BY_HAND
    data_steps: Sequence[int] = ()

    def __post_init__(self) -> None:
        layers = list(self.layers)
        seen: set[str] = set()
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"every element of layers must be a kspike_energy.Layer. Received: {layer!r}"
                )
            if layer.name in seen:
                raise ValueError(f"two layers are called {layer.name!r}; names must differ")
            seen.add(layer.name)
        object.__setattr__(self, "layers", layers)
        if self.params is not None:
            check_whole(f"params of network {self.name!r}", self.params)

    @property
    def connections(self) -> int:
        """Connections of all layers that could be counted."""
        return sum(layer.connections for layer in self.layers if not layer.problem)

    @property
    def neurons(self) -> int:
        """Unit updates per time step of all layers that could be counted."""
        return sum(layer.neurons for layer in self.layers if not layer.problem)

    def workload(self, batch_size: int = 1) -> Workload:
        """Return the quantities of one call that overheads depend on.

        A layer with connections is one kernel, which includes its activation.
        """
        busy = [layer for layer in self.layers if layer.kernels and not layer.problem]
        named = frozenset(layer.type_name for layer in busy)
        kinds = named - {"Layer"}  # the default says nothing
        kernels = sum(layer.kernels for layer in busy)
        return Workload(self.connections, kernels, batch_size, kinds)

    def layer_stats(self) -> dict[Any, dict[str, Any]]:
        """Return "connections", "neurons" and "spiking" by the framework's layer."""
        totals: dict[Any, dict[str, Any]] = {}
        for layer in self.layers:
            counts = {
                "connections": layer.connections,
                "neurons": layer.neurons,
                "spiking": layer.spiking,
            }
            add_stats(totals, layer.key, counts)
        return totals

    def node_stats(self) -> dict[Any, dict[str, Any]]:
        """Return "connections", "neurons" and "spiking" by the framework's node."""
        totals: dict[Any, dict[str, Any]] = {}
        for layer in self.layers:
            for node, stats in layer.node_stats.items():
                add_stats(totals, node, stats)
        return totals

    def layer_rates(self, dt: float) -> dict[Any, float]:
        """Return the known firing rates of inputs in Hz, by the framework's layer."""
        rates: dict[Any, float] = {}
        for layer in self.layers:
            rate = layer.rate(dt)
            if rate is not None:
                rates.setdefault(layer.key, rate)
        return rates

    @property
    def gaps(self) -> list[Layer]:
        """Layers that could not be counted."""
        return [layer for layer in self.layers if layer.problem]
