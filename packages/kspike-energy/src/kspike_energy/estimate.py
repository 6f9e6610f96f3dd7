"""Energies of one inference: counts and rates of a network times the figures of a device."""

import math
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from kspike_energy.checks import check_count, did_you_mean, finite, level_of_user
from kspike_energy.config import check_dt
from kspike_energy.defaults import default_dt, default_steps, why_no_steps
from kspike_energy.devices import Device
from kspike_energy.devices.overhead import Workload
from kspike_energy.memory_model import memory_energy
from kspike_energy.network import BY_HAND, Layer, Network
from kspike_energy.settings import Settings

__all__ = ["Estimate"]


@dataclass(frozen=True)
class Estimate:
    """Energies of one inference of a network, on any device.

    Parameters
    ----------
    network : Network
        Counts and rates.
    settings : Settings
        How the network was counted and measured.
    timesteps : int or None
        Time steps per inference on a spiking device; None if unknown.
    timesteps_from : str
        Origin of this number, for reports.
    dt : float
        Length of a time step on a spiking device, in seconds.
    dt_from : str
        Origin of this length, for reports.
    batch_size : int
        Inferences per call. They share a device's energies per call and per kernel.
    own_dt : bool
        Whether signals use the time step of the layer that emits them, if it has its own.
    """

    network: Network
    settings: Settings
    timesteps: int | None
    timesteps_from: str
    dt: float
    dt_from: str
    batch_size: int = 1
    own_dt: bool = False

    @classmethod
    def of(
        cls,
        network: Network,
        settings: Settings,
        timesteps: int | None = None,
        dt: float | None = None,
        batch_size: int = 1,
    ) -> "Estimate":
        """Return an estimate, by default with the steps in the data and the layers' time step.

        Raises
        ------
        TypeError, ValueError
            If a number is not positive.
        """
        steps, steps_from = default_steps(network, settings)
        length, length_from, own = default_dt(network, settings)
        if timesteps is not None:
            steps = check_count("timesteps_per_inference", timesteps)
            steps_from = "as passed"
        if dt is not None:
            length, length_from, own = check_dt(dt), "as passed", False
        size = check_count("batch_size", batch_size)
        return cls(network, settings, steps, steps_from, length, length_from, size, own)

    @property
    def steps(self) -> int:
        """Time steps per inference on a spiking device.

        Raises
        ------
        ValueError
            If neither the user nor the data state them.
        """
        if self.timesteps is None:
            raise ValueError(
                "timesteps_per_inference must be passed to estimate energy on a spiking device: "
                f"{why_no_steps(self.network)}"
            )
        return self.timesteps

    @property
    def workload(self) -> Workload:
        """The quantities of one call that a device's overheads depend on."""
        return self.network.workload(self.batch_size)

    @property
    def counted(self) -> list[Layer]:
        """Layers that could be counted."""
        return [layer for layer in self.network.layers if not layer.problem]

    def synops(self, layer: Layer) -> float | None:
        """Return a layer's synaptic operations per time step; None if its rate is unknown."""
        return layer.synops(self.dt, self.settings.events, self.own_dt)

    def rate(self, layer: Layer) -> float | None:
        """Return the mean firing rate of a layer's inputs in Hz; None if unknown."""
        return layer.rate(self.dt, self.own_dt)

    def steps_of(self, layer: Layer) -> int:
        """Return how often a layer runs per inference on a spiking device."""
        once = layer.whole or (layer.once and self.settings.events == "exact")
        return 1 if once else self.steps

    def dt_of(self, layer: Layer) -> float:
        """Return the time step of a layer's first input, in seconds."""
        return next((dt for _, dt in layer.signals(self.dt, self.own_dt)), self.dt)

    @property
    def has_rates(self) -> bool:
        """Whether spiking devices can be estimated."""
        known = all(self.synops(layer) is not None for layer in self.counted)
        return known and self.timesteps is not None

    @property
    def has_sizes(self) -> bool:
        """Whether devices with a memory model can be estimated."""
        busy = (layer for layer in self.counted if layer.connections or layer.neurons)
        return all(layer.stored is not None for layer in busy)

    def can_run(self, device: Device) -> bool:
        """Return whether everything that an estimate for a device needs is known."""
        rates = self.has_rates or not device.needs_rates
        return rates and (self.has_sizes or device.memory is None)

    def operations(self, layer: Layer, device: Device) -> tuple[float, float]:
        """Return a layer's synaptic operations and unit updates per inference.

        Raises
        ------
        ValueError
            If the device is spiking and the layer's rate is unknown.
        """
        if not device.needs_rates:
            return float(layer.connections), float(layer.neurons)
        synops = self.synops(layer)
        if synops is None:
            by_hand = self.network.time_axis == BY_HAND
            raise ValueError(
                f"{'state all rates in the Network' if by_hand else 'pass example_data'} to "
                f"estimate energy on the spiking device {device.name!r}: the firing rate of layer "
                f"{layer.name!r} is unknown"
            )
        steps = self.steps_of(layer)
        what = f"the number of operations of layer {layer.name!r}"
        return finite(what, lambda: synops * steps), float(layer.neurons * steps)

    def layer(self, layer: Layer, device: Device, *, by_line: bool = False) -> tuple[float, float]:
        """Return a layer's joules per inference for synaptic operations and for unit updates.

        The first includes the layer's share of the energy per kernel.
        """
        return self.energy_of(layer, device, *self.operations(layer, device), by_line=by_line)

    def energy_of(
        self, layer: Layer, device: Device, synops: float, updates: float, *, by_line: bool = False
    ) -> tuple[float, float]:
        """Return the energies of `layer` for a given number of operations per inference.

        Parameters
        ----------
        layer : Layer
            A layer that could be counted.
        device : Device
            The device.
        synops, updates : float
            Synaptic operations and unit updates per inference.
        by_line : bool, optional
            Whether to use the second reading of a memory model, a straight line.
        """
        what = f"the energy of layer {layer.name!r} on {device.name!r}"
        if device.memory is not None:
            steps = self.steps_of(layer) if device.spiking else 1
            return memory_energy(layer, device, device.memory, synops, steps, by_line=by_line)
        launches = layer.kernels * device.energy_per_kernel / self.batch_size
        per_op = device.energy_per_op
        if per_op is not None:
            return finite(what, lambda: layer.connections * per_op + launches), 0.0
        return (
            finite(what, lambda: synops * device.energy_per_synop + launches),
            finite(what, lambda: updates * (device.energy_per_neuron or 0.0)),
        )

    def total(self, device: Device) -> float:
        """Return joules per inference of all counted layers, and of the call.

        Warns
        -----
        UserWarning
            If the device is spiking, and a layer has another time step or receives more than one
            event per element and step.
        """
        if device.needs_rates:
            self._warn()
        parts = [part for layer in self.counted for part in self.layer(layer, device)]
        parts.append(device.energy_per_call / self.batch_size)
        return finite(f"the total energy on {device.name!r}", lambda: math.fsum(parts))

    def range(self, device: Device) -> tuple[float, float]:
        """Return joules per inference with a device's lowest and highest published figures.

        A device fitted to measurements has the prediction interval of its fit instead. One with a
        memory model has the lower and the higher of two readings of the energies per access.
        """
        what = f"the range of energies on {device.name!r}"
        if device.energy_per_op is not None:
            total = self.total(device)
            factor = device.fit.interval(self.workload) if device.fit else 1.0
            return total / factor, finite(what, lambda: total * factor)
        if device.memory is not None:
            totals = self.readings(device)
            return min(totals), max(totals)
        workload = self.workload
        fixed = device.energy_per_call + workload.kernels * device.energy_per_kernel
        operations = [self.operations(layer, device) for layer in self.counted]

        def energy(synop: float, neuron: float) -> float:
            parts = [part for s, n in operations for part in (s * synop, n * neuron)]
            return finite(what, lambda: math.fsum([fixed / self.batch_size, *parts]))

        low, high = zip(device.synop_low_high, device.neuron_low_high, strict=True)
        return energy(*low), energy(*high)

    def readings(self, device: Device) -> tuple[float, ...]:
        """Return joules per inference by both readings of access energies; () without a memory."""
        if device.memory is None:
            return ()

        def total(*, by_line: bool) -> float:
            pairs = [self.layer(layer, device, by_line=by_line) for layer in self.counted]
            what = f"the range of energies on {device.name!r}"
            return finite(what, lambda: math.fsum(part for pair in pairs for part in pair))

        return total(by_line=False), total(by_line=True)

    def find(self, layer: object) -> Layer:
        """Return the network's layer for a layer of the model or for a name.

        Raises
        ------
        ValueError
            If the network has no such layer, or it could not be counted.
        """
        layers = self.network.layers
        found = [x for x in layers if x is layer or x.layer is layer or x.name == layer]
        if layer is None or not found:
            name = layer if isinstance(layer, str) else getattr(layer, "name", layer)
            raise ValueError(
                f"layer must be a layer of {self.network.name!r}, or its name. Received: {name!r}"
                f"{did_you_mean(name, [known.name for known in layers])}"
            )
        if found[0].problem:
            raise ValueError(f"layer {found[0].name!r} cannot be estimated: {found[0].problem}")
        return found[0]

    def assumptions(self) -> dict[str, Any]:
        """Return all assumptions as plain data."""
        return {
            "dt": self.dt,
            "dt_from": self.dt_from,
            "timesteps_per_inference": self.timesteps,
            "timesteps_from": self.timesteps_from,
            "batch_size": self.batch_size,
            "events": self.settings.events,
            "input_coding": self.settings.input_coding,
            **asdict(self.settings.options),
            "time_axis": self.network.time_axis,
        }

    @property
    def other_dt(self) -> str:
        """Names and time steps of layers whose own time step the estimate does not use."""
        others = [
            layer
            for layer in self.network.layers
            if layer.dt is not None and not self.own_dt
            if not math.isclose(layer.dt, self.dt, rel_tol=1e-6)
        ]
        return ", ".join(f"{layer.name} ({layer.dt:g} s)" for layer in others)

    @property
    def busy(self) -> str:
        """Names of layers whose inputs have more than one event per step on average."""
        return ", ".join(
            f"{layer.name} ({max(events):.3g})"
            for layer in self.counted
            if (
                events := [
                    s.rate * dt
                    for s, dt in layer.signals(self.dt, self.own_dt)
                    if s.connections and s.rate and s.coding in ("rate", "signal")
                    if s.rate * dt > 1 + 1e-6
                ]
            )
        )

    def _warn(self) -> None:
        """Warn if the time steps or the rates of layers do not fit the estimate."""
        if self.other_dt:
            warnings.warn(
                f"the estimate uses dt={self.dt:g} s, but layers have a time step of their own: "
                f"{self.other_dt}; their spikes have a height of 1/dt of that step",
                stacklevel=level_of_user(),
            )
        if self.busy:
            warnings.warn(
                "mean rate times dt exceeds 1 event per element and time step at an input of these "
                f"layers: {self.busy}; if the values are not rates in Hz (pixels up to 255, for "
                "example), scale them or pass input_coding='events' or 'dense'",
                stacklevel=level_of_user(),
            )
