"""A comparison of devices, and its table."""

import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from kspike_energy.presentation.tables import html_table, number, rich_table, text_table, yes_no

__all__ = ["QUANTISED_SPIKES", "BreakEven", "Comparison", "DeviceEnergy"]

# Spikes per input and time step below which a spiking network needs less than a quantised one of
# ⌈log2(T+1)⌉ bits: 6.4 % for T of 5 to 10 in versions 1 to 3 of arXiv 2409.08290, 5.7 % in
# version 4; here 6 %.
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
        Joules per inference: with the device's own figures, and with the lowest and highest.
    ratio : float
        Energy divided by the baseline's.
    spiking : bool
        Whether it computes only on events.
    neurons_included : bool
        Whether its figure per unit update is known; if not, synaptic operations only.
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
    """The firing rate at which a layer costs the same on two devices.

    Parameters
    ----------
    layer, device : str
        Their names.
    rate : float or None
        The rate of its input in Hz, as measured.
    break_even_rate : float or None
        Below this rate the spiking device needs less than the baseline for this layer. None for a
        layer without connections; negative if its unit updates alone cost more.
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
        Names of the network and of the device that ratios refer to.
    timesteps : int
        Time steps per inference on spiking devices.
    dt : float
        Length of a time step, in seconds.
    devices : tuple of DeviceEnergy
        One per device.
    layers : tuple of BreakEven
        One per layer with connections and spiking device.
    quantised_bits : int
        Bits that a rate code of T steps carries: ⌈log2(T + 1)⌉.
    left_out : tuple of str
        Layers that could not be counted.
    assumptions : dict
        All assumptions of the estimate.
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

    @property
    def timesteps_per_inference(self) -> int:
        """Another name of ``timesteps``, as in `ModelEnergy`."""
        return self.timesteps

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return asdict(self)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one flat dictionary per device, ready for ``pandas.DataFrame``."""
        return [{**asdict(device), **self.assumptions} for device in self.devices]

    def __str__(self) -> str:
        lines = [f"{self.network}: {self.timesteps} steps of {self.dt:g} s", *self._devices_text()]
        if self.left_out:
            lines.append(f"Left out, because nothing counts them: {', '.join(self.left_out)}")
        if self.layers:
            lines += ["", f"Break-even with {self.baseline}, layer by layer"]
            lines += [*self._layers_text(), *textwrap.wrap(self._quantised_note(), 98)]
        return "\n".join(lines)

    def _devices_text(self) -> list[str]:
        headers = ["Device", "Spiking?", "J/inf", "low J/inf", "high J/inf", f"/ {self.baseline}"]
        rows = [
            [
                device.device + ("" if device.neurons_included else " (synops only)"),
                yes_no(device.spiking),
                *map(number, (device.energy, device.low, device.high, device.ratio)),
            ]
            for device in self.devices
        ]
        return text_table(headers, rows, 120)

    def _layers_text(self) -> list[str]:
        headers = ["Layer", "Device", "Rate [Hz]", "Break-even [Hz]", "Wins?", "Spikes/step"]
        rows = [
            [
                layer.layer,
                layer.device,
                number(layer.rate),
                _threshold(layer.break_even_rate),
                yes_no(layer.wins),
                number(layer.spikes_per_step),
                yes_no(layer.beats_quantised),
            ]
            for layer in self.layers
        ]
        return text_table([*headers, "Quantised?"], rows, 140)

    def _quantised_note(self) -> str:
        first, last = QUANTISED_STEPS
        note = (
            f"Quantised?: whether fewer than {QUANTISED_SPIKES:.0%} of the inputs spike in a step. "
            "Below that rate a spiking network needs less than an ordinary one of "
            f"{self.quantised_bits} bits, which carries as much as {self.timesteps} steps "
            "(arXiv 2409.08290)."
        )
        if not first <= self.timesteps <= last:
            note += f" The source covers {first} to {last} steps only."
        return note

    def __rich__(self) -> Any:
        return rich_table([asdict(device) for device in self.devices])

    def _repr_html_(self) -> str:
        return html_table([asdict(device) for device in self.devices])


def _threshold(value: float | None) -> str:
    if value is None:
        return "-"
    return "never" if value <= 0 else f"{value:.4g}"
