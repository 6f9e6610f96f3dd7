"""Energies of a network on devices: what `ModelEnergy` computes."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from kspike_energy.checks import check_count, dt_or_default, finite
from kspike_energy.compare import Comparison, compare_devices
from kspike_energy.devices.table import Device
from kspike_energy.measuring.measure import Settings
from kspike_energy.network import Layer, Network
from kspike_energy.registry import DEVICES
from kspike_energy.suggest import did_you_mean

__all__ = ["Energies"]


class Energies:
    """Energies of one network; the base of `ModelEnergy`.

    Parameters
    ----------
    network : Network
        The network.
    settings : Settings
        How it was counted and measured.
    events : {"mean", "exact"}
        How events are counted.
    """

    def __init__(self, network: Network, settings: Settings, events: str) -> None:
        self.network = network
        self.events = events
        self._settings = settings

    def layer_energy(
        self,
        layer: Any,
        device: str,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
    ) -> tuple[float, float]:
        """Estimate the energy of one layer, summed over all its applications.

        Parameters
        ----------
        layer : layer of the model, or str
            The layer or its name.
        device : str
            Name of a device.
        timesteps_per_inference : int, optional
            Time steps in an inference.
        dt : float, optional
            Length of a time step on the device, in seconds; ``kspike_energy.default.dt`` if not
            given.

        Returns
        -------
        synop_energy, neuron_energy : float
            Joules an inference.

        Raises
        ------
        ValueError
            If the layer, the device or the rates that it needs are missing.
        """
        figures = DEVICES.get_device(device)
        steps = check_count("timesteps_per_inference", timesteps_per_inference)
        return self._layer_energy(self._find(layer), figures, steps, dt_or_default(dt))

    def total_energy(
        self, device: str, timesteps_per_inference: int = 1, dt: float | None = None
    ) -> float:
        """Estimate the energy of the whole network.

        Layers that could not be counted are left out, with a warning when the network was read;
        a device without a figure per neuron gives synaptic operations only.

        Parameters
        ----------
        device : str
            Name of a device.
        timesteps_per_inference : int, optional
            Time steps in an inference.
        dt : float, optional
            Length of a time step on the device, in seconds.

        Returns
        -------
        float
            Joules an inference.

        Raises
        ------
        ValueError
            If the device or the rates that it needs are missing.
        """
        figures = DEVICES.get_device(device)
        steps = check_count("timesteps_per_inference", timesteps_per_inference)
        step = dt_or_default(dt)
        if figures.spiking:
            self._warn_about_dt(step)
        parts = [
            part
            for layer in self.network.layers
            if not layer.problem
            for part in self._layer_energy(layer, figures, steps, step)
        ]
        return finite(f"the total energy on {figures.name!r}", lambda: math.fsum(parts))

    def energy_range(
        self, device: str, timesteps_per_inference: int = 1, dt: float | None = None
    ) -> tuple[float, float]:
        """Estimate the energy with the lowest and the highest figures published for a device.

        Parameters
        ----------
        device, timesteps_per_inference, dt
            As in `total_energy`.

        Returns
        -------
        low, high : float
            Joules an inference.
        """
        figures = DEVICES.get_device(device)
        steps = check_count("timesteps_per_inference", timesteps_per_inference)
        step = dt_or_default(dt)
        bounds = []
        for synop, neuron in zip(figures.synop_low_high, figures.neuron_low_high, strict=True):
            operations = [
                self._operations(layer, figures, steps, step)
                for layer in self.network.layers
                if not layer.problem
            ]
            parts = [part for s, n in operations for part in (s * synop, n * neuron)]
            bounds.append(
                finite(f"the range of energies on {figures.name!r}", partial(math.fsum, parts))
            )
        low, high = bounds
        return low, high

    def compare(
        self,
        devices: Sequence[str] | None = None,
        timesteps_per_inference: int = 1,
        dt: float | None = None,
        baseline: str = "cpu",
        *,
        timesteps: int | None = None,
    ) -> Comparison:
        """Compare devices on this network.

        Parameters
        ----------
        devices : sequence of str, optional
            Names of devices; KerasSpiking's six if not given.
        timesteps_per_inference : int, optional
            Time steps in an inference on a spiking device.
        dt : float, optional
            Length of a time step on the device, in seconds.
        baseline : str, optional
            The device that others are divided by, and that spiking ones have to beat.
        timesteps : int, optional
            A shorter name for ``timesteps_per_inference``.

        Returns
        -------
        Comparison
            Prints as a table; see there for what it holds.

        Raises
        ------
        TypeError
            If both names of the time steps are given.
        """
        name = "timesteps_per_inference"
        if timesteps is not None:
            if timesteps_per_inference != 1:
                raise TypeError("give either timesteps_per_inference or timesteps, not both")
            name, timesteps_per_inference = "timesteps", timesteps
        names = list(devices) if devices is not None else list(DEVICES)[:6]
        steps = check_count(name, timesteps_per_inference)
        return compare_devices(self, names, steps, dt_or_default(dt), baseline)

    def assumptions(self, timesteps_per_inference: int, dt: float) -> dict[str, Any]:
        """Return everything that an estimate assumes, as plain data.

        Parameters
        ----------
        timesteps_per_inference : int
            Time steps in an inference.
        dt : float
            Length of a time step on the device, in seconds.
        """
        return {
            "dt": dt,
            "timesteps_per_inference": timesteps_per_inference,
            "events": self.events,
            "input_coding": self._settings.input_coding,
            **asdict(self._settings.options),
            "time_axis": self.network.time_axis,
        }

    def _find(self, layer: Any) -> Layer:
        found = [
            known
            for known in self.network.layers
            if known is layer or known.layer is layer or known.name == layer
        ]
        if layer is None or not found:
            name = layer if isinstance(layer, str) else getattr(layer, "name", layer)
            raise ValueError(
                f"layer must be a layer of {self.network.name!r}, or its name. Received: {name!r}"
                f"{did_you_mean(name, [known.name for known in self.network.layers])}"
            )
        if found[0].problem:
            raise ValueError(f"layer {found[0].name!r} cannot be estimated: {found[0].problem}")
        return found[0]

    def _operations(
        self, layer: Layer, device: Device, steps: int, dt: float
    ) -> tuple[float, float]:
        """Return synaptic operations and unit updates an inference."""
        if not device.spiking:
            return float(layer.connections), float(layer.neurons)
        synops = layer.synops(dt, self.events)
        if synops is None:
            raise ValueError(
                f"example_data must be given to estimate energy on the spiking device "
                f"{device.name!r}: the firing rate of layer {layer.name!r} is unknown"
            )
        if self.events == "exact" and layer.once:
            steps = 1
        what = f"the number of operations of layer {layer.name!r}"
        return finite(what, lambda: synops * steps), float(layer.neurons * steps)

    def _layer_energy(
        self, layer: Layer, device: Device, steps: int, dt: float
    ) -> tuple[float, float]:
        synops, updates = self._operations(layer, device, steps, dt)
        what = f"the energy of layer {layer.name!r} on {device.name!r}"
        return (
            finite(what, lambda: synops * device.energy_per_synop),
            finite(what, lambda: updates * (device.energy_per_neuron or 0.0)),
        )

    def other_dt(self, dt: float) -> list[Layer]:
        """Return the layers whose own time step is not ``dt``."""
        return [
            layer
            for layer in self.network.layers
            if layer.dt is not None and not math.isclose(layer.dt, dt, rel_tol=1e-6)
        ]

    def _warn_about_dt(self, dt: float) -> None:
        others = self.other_dt(dt)
        if others:
            names = ", ".join(f"{layer.name} ({layer.dt:g} s)" for layer in others)
            warnings.warn(
                f"the estimate uses dt={dt:g} s, but layers have a time step of their own: "
                f"{names}; their spikes have a height of 1/dt of that step",
                stacklevel=3,
            )
