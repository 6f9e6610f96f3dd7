"""Energies of one inference: counts and rates of a network times the figures of a device."""

import math
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from kspike_energy.checks import did_you_mean, finite
from kspike_energy.devices import Device
from kspike_energy.network import Layer, Network
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
    timesteps : int
        Time steps per inference on a spiking device.
    dt : float
        Length of a time step on a spiking device, in seconds.
    """

    network: Network
    settings: Settings
    timesteps: int
    dt: float

    @property
    def counted(self) -> list[Layer]:
        """Layers that could be counted."""
        return [layer for layer in self.network.layers if not layer.problem]

    def operations(self, layer: Layer, device: Device) -> tuple[float, float]:
        """Return synaptic operations and unit updates of a layer per inference.

        Raises
        ------
        ValueError
            If the device is spiking and the layer's rate is unknown.
        """
        if not device.spiking:
            return float(layer.connections), float(layer.neurons)
        synops = layer.synops(self.dt, self.settings.events)
        if synops is None:
            raise ValueError(
                f"example_data must be given to estimate energy on the spiking device "
                f"{device.name!r}: the firing rate of layer {layer.name!r} is unknown"
            )
        steps = 1 if self.settings.events == "exact" and layer.once else self.timesteps
        what = f"the number of operations of layer {layer.name!r}"
        return finite(what, lambda: synops * steps), float(layer.neurons * steps)

    def layer(self, layer: Layer, device: Device) -> tuple[float, float]:
        """Return joules per inference of a layer: of synaptic operations, and of unit updates."""
        synops, updates = self.operations(layer, device)
        what = f"the energy of layer {layer.name!r} on {device.name!r}"
        return (
            finite(what, lambda: synops * device.energy_per_synop),
            finite(what, lambda: updates * (device.energy_per_neuron or 0.0)),
        )

    def total(self, device: Device) -> float:
        """Return joules per inference of all layers that could be counted.

        Warns
        -----
        UserWarning
            If the device is spiking and a layer has another time step.
        """
        if device.spiking:
            self._warn_about_dt()
        parts = [part for layer in self.counted for part in self.layer(layer, device)]
        return finite(f"the total energy on {device.name!r}", lambda: math.fsum(parts))

    def range(self, device: Device) -> tuple[float, float]:
        """Return joules per inference with a device's lowest and highest published figures."""
        operations = [self.operations(layer, device) for layer in self.counted]
        what = f"the range of energies on {device.name!r}"
        low, high = (
            finite(what, partial(math.fsum, [x for s, n in operations for x in (s * a, n * b)]))
            for a, b in zip(device.synop_low_high, device.neuron_low_high, strict=True)
        )
        return low, high

    def find(self, layer: Any) -> Layer:
        """Return the network's layer for a layer of the model, or for a name.

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
            "timesteps_per_inference": self.timesteps,
            "events": self.settings.events,
            "input_coding": self.settings.input_coding,
            **asdict(self.settings.options),
            "time_axis": self.network.time_axis,
        }

    @property
    def other_dt(self) -> str:
        """Names and time steps of the layers whose own time step is not ``dt``."""
        others = [
            layer
            for layer in self.network.layers
            if layer.dt is not None and not math.isclose(layer.dt, self.dt, rel_tol=1e-6)
        ]
        return ", ".join(f"{layer.name} ({layer.dt:g} s)" for layer in others)

    def _warn_about_dt(self) -> None:
        if self.other_dt:
            warnings.warn(
                f"the estimate uses dt={self.dt:g} s, but layers have a time step of their own: "
                f"{self.other_dt}; their spikes have a height of 1/dt of that step",
                stacklevel=4,
            )
