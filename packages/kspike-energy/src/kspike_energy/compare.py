"""Devices side by side on one network: ratios, break-even rates, and the quantised rival."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from operator import truediv
from typing import TYPE_CHECKING, Any

from kspike_energy.checks import finite
from kspike_energy.network import Layer
from kspike_energy.registry import DEVICES

if TYPE_CHECKING:
    from kspike_energy.energies import Energies

__all__ = ["QUANTISED_SPIKES", "BreakEven", "Comparison", "DeviceEnergy", "compare_devices"]

# Spikes per input and time step below which a spiking network needs less than a quantised one of
# ⌈log2(T+1)⌉ bits: 6.4 % for T of 5 to 10 in versions 1 to 3 of arXiv 2409.08290, 5.7 % in
# version 4; "near 6 %".
QUANTISED_SPIKES = 0.06
QUANTISED_STEPS = (5, 10)


@dataclass(frozen=True)
class DeviceEnergy:
    """The energy of a network on one device.

    Parameters
    ----------
    device : str
        Its name.
    energy, low, high : float
        Joules an inference: with the device's own figures, and with the lowest and highest.
    ratio : float
        Energy divided by the baseline's.
    spiking : bool
        Whether it computes on events only.
    neurons_included : bool
        Whether a figure per unit update is known; otherwise synaptic operations only.
    """

    device: str
    energy: float
    low: float
    high: float
    ratio: float
    spiking: bool
    neurons_included: bool


@dataclass(frozen=True)
class BreakEven:
    """What a layer's firing rate would have to be.

    Parameters
    ----------
    layer, device : str
        Their names.
    rate : float or None
        The rate of its input in Hz, as measured.
    break_even_rate : float or None
        Below it, the spiking device needs less than the baseline for this layer. None for a layer
        without connections; negative where its unit updates alone cost more.
    wins : bool or None
        Whether the measured rate is below.
    spikes_per_step : float or None
        Spikes per input and time step, as measured.
    beats_quantised : bool or None
        Whether that is below the break-even with a quantised network.
    """

    layer: str
    device: str
    rate: float | None
    break_even_rate: float | None
    wins: bool | None
    spikes_per_step: float | None
    beats_quantised: bool | None


@dataclass(frozen=True)
class Comparison:
    """Devices compared on one network; prints as a table.

    Parameters
    ----------
    network, baseline : str
        Names of the network and of the device that others are divided by.
    timesteps : int
        Time steps in an inference on spiking devices.
    dt : float
        Length of a time step, in seconds.
    devices : tuple of DeviceEnergy
        One a device.
    layers : tuple of BreakEven
        One for each layer with connections and each spiking device.
    quantised_bits : int
        Bits that a rate code of so many steps carries: ⌈log2(T + 1)⌉.
    left_out : tuple of str
        Layers that could not be counted.
    assumptions : dict
        As of `ModelEnergy.assumptions`.
    """

    network: str
    baseline: str
    timesteps: int
    dt: float
    devices: tuple[DeviceEnergy, ...]
    layers: tuple[BreakEven, ...]
    quantised_bits: int
    left_out: tuple[str, ...]
    assumptions: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return asdict(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one flat dictionary a device, ready for ``pandas.DataFrame``."""
        return [{**asdict(device), **self.assumptions} for device in self.devices]

    def __str__(self) -> str:
        from kspike_energy.presentation.summary import comparison_text  # presentation stays apart

        return comparison_text(self)

    def __rich__(self) -> Any:
        from kspike_energy.presentation.summary import rich_table

        return rich_table([asdict(device) for device in self.devices])

    def _repr_html_(self) -> str:
        from kspike_energy.presentation.summary import html_table

        return html_table([asdict(device) for device in self.devices])


def compare_devices(
    energy: "Energies", names: Sequence[str], timesteps: int, dt: float, baseline: str
) -> Comparison:
    """Return the comparison that `ModelEnergy.compare` describes."""
    base = DEVICES.get_device(baseline)
    if not names:
        raise ValueError("devices must name at least one device. Received: devices=[]")
    base_energy = energy.total_energy(base.name, timesteps, dt)
    devices = []
    for name in names:
        device = DEVICES.get_device(name)
        total = energy.total_energy(name, timesteps, dt)
        low, high = energy.energy_range(name, timesteps, dt)
        what = f"the energy on {name!r} divided by that on {base.name!r}"
        devices.append(
            DeviceEnergy(
                name,
                total,
                low,
                high,
                finite(what, partial(truediv, total, base_energy)) if base_energy else math.nan,
                device.spiking,
                device.energy_per_neuron is not None,
            )
        )
    layers = [
        _break_even(energy, layer, name, base.name, timesteps, dt)
        for name in names
        if DEVICES[name].spiking and not base.spiking
        for layer in energy.network.layers
        if layer.connections and not layer.problem
    ]
    return Comparison(
        energy.network.name,
        base.name,
        timesteps,
        dt,
        tuple(devices),
        tuple(layers),
        math.ceil(math.log2(timesteps + 1)),
        tuple(layer.name for layer in energy.network.gaps),
        energy.assumptions(timesteps, dt),
    )


def _break_even(
    energy: "Energies", layer: Layer, name: str, baseline: str, timesteps: int, dt: float
) -> BreakEven:
    """Return where a layer costs the same on both devices.

    E_synop · connections · rate · dt · T + E_neuron · neurons · T = energy of the baseline,
    solved for the rate.
    """
    device, base = DEVICES[name], DEVICES[baseline]
    ordinary = layer.connections * base.energy_per_synop
    ordinary += layer.neurons * (base.energy_per_neuron or 0.0)
    updates = layer.neurons * timesteps * (device.energy_per_neuron or 0.0)
    per_hertz = layer.connections * dt * timesteps * device.energy_per_synop
    rate = layer.rate(dt)
    what = f"the break-even rate of layer {layer.name!r} on {name!r}"
    threshold = finite(what, lambda: (ordinary - updates) / per_hertz) if per_hertz else None
    spikes = None if rate is None else rate * dt
    return BreakEven(
        layer.name,
        name,
        rate,
        threshold,
        None if rate is None or threshold is None else rate < threshold,
        spikes,
        None if spikes is None else spikes < QUANTISED_SPIKES,
    )
