"""Parts of a comparison: devices, break-even rates of layers, and winners by energy model."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BreakEven", "DeviceEnergy", "Winner", "winners"]


@dataclass(frozen=True)
class DeviceEnergy:
    """The energy of a network on one device.

    Parameters
    ----------
    device : str
        Name of the device.
    energy, low, high : float
        Joules per inference: with the device's own figures, and with the lowest and highest.
    ratio : float
        Energy divided by the baseline's.
    spiking : bool
        Whether it computes only on events.
    neurons_included : bool
        Whether its figure per unit update is known. If not, ``energy`` covers synaptic operations
        only.
    model : {"operations", "measured", "memory"}
        Energy model.
    readings : tuple of float
        Joules per inference by both readings of the energies per access, if all compared devices
        with a memory model have the same memory; else empty.
    scope : str or None
        Whether an estimate by measurements interpolates or extrapolates; None by other models.
    """

    device: str
    energy: float
    low: float
    high: float
    ratio: float
    spiking: bool
    neurons_included: bool
    model: str = "operations"
    readings: tuple[float, ...] = ()
    scope: str | None = None


@dataclass(frozen=True)
class BreakEven:
    """The firing rate at which a layer costs the same on two devices.

    Parameters
    ----------
    layer, device : str
        Names of the layer and of the spiking device.
    rate : float or None
        Measured rate of the layer's input, in Hz.
    break_even_rate : float or None
        Below this rate the spiking device needs less than the baseline for this layer. None if the
        energy does not depend on the rate; negative if the unit updates alone cost more. If the
        rate is 0 or unknown, all inputs are taken to have the first one's time step.
    wins : bool or None
        Whether the measured rate is below the break-even rate.
    spikes_per_step : float or None
        Measured spikes per input and time step, or events with the exact count.
    beats_quantised : bool or None
        Whether that is below the break-even with a quantised network, for the assumed energies.
    """

    layer: str
    device: str
    rate: float | None
    break_even_rate: float | None
    wins: bool | None
    spikes_per_step: float | None
    beats_quantised: bool | None


@dataclass(frozen=True)
class Winner:
    """The side that needs less under one energy model.

    Parameters
    ----------
    model : {"operations", "measured", "memory"}
        Energy model.
    spiking, ordinary : DeviceEnergy
        The cheapest device of each side.
    side : {"spiking", "ordinary"} or None
        The side that needs less; None if the ranges of both overlap. If both sides have the same
        memory, one must instead need less by both readings of its energies.
    factor : float
        Energy of the more expensive one divided by that of the cheaper one.
    """

    model: str
    spiking: DeviceEnergy
    ordinary: DeviceEnergy
    side: str | None
    factor: float


def winners(devices: Sequence[DeviceEnergy]) -> tuple[Winner, ...]:
    """Return the winner under every energy model with devices of both sides."""
    found = []
    for model in dict.fromkeys(device.model for device in devices):
        own = [device for device in devices if device.model == model]
        spiking = [device for device in own if device.spiking]
        ordinary = [device for device in own if not device.spiking]
        if spiking and ordinary:
            found.append(_winner(model, _cheapest(spiking), _cheapest(ordinary)))
    return tuple(found)


def _cheapest(devices: Sequence[DeviceEnergy]) -> DeviceEnergy:
    return min(devices, key=lambda device: device.energy)


def _winner(model: str, spiking: DeviceEnergy, ordinary: DeviceEnergy) -> Winner:
    side = None
    if _needs_less(spiking, ordinary):
        side = "spiking"
    elif _needs_less(ordinary, spiking):
        side = "ordinary"
    low, high = sorted((spiking.energy, ordinary.energy))
    factor = high / low if low else 1.0 if high == low else float("inf")
    return Winner(model, spiking, ordinary, side, factor)


def _needs_less(one: DeviceEnergy, other: DeviceEnergy) -> bool:
    """Return whether a device needs less than another by all readings, or over its whole range."""
    if one.readings and other.readings:
        return all(a < b for a, b in zip(one.readings, other.readings, strict=True))
    return one.high < other.low
