"""Devices side by side on one network: ratios, break-even rates, and the quantised rival."""

import math
from collections.abc import Sequence
from functools import partial
from operator import truediv

from kspike_energy.checks import finite
from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.network import Layer
from kspike_energy.presentation.comparison import (
    QUANTISED_SPIKES,
    BreakEven,
    Comparison,
    DeviceEnergy,
)

__all__ = ["compare_devices"]


def compare_devices(estimate: Estimate, devices: Sequence[Device], baseline: Device) -> Comparison:
    """Return the comparison that `ModelEnergy.compare` describes.

    Parameters
    ----------
    estimate : Estimate
        The energies of an inference.
    devices : sequence of Device
        The devices to compare.
    baseline : Device
        The device that ratios and break-even rates refer to.
    """
    if not devices:
        raise ValueError("devices must name at least one device. Received: devices=[]")
    base_energy = estimate.total(baseline)
    spiking = any(device.needs_rates for device in (*devices, baseline))
    steps = estimate.steps if spiking else estimate.timesteps or 1
    return Comparison(
        estimate.network.name,
        baseline.name,
        steps,
        estimate.dt,
        tuple(_device_energy(estimate, device, baseline, base_energy) for device in devices),
        tuple(
            _break_even(estimate, layer, device, baseline)
            for device in devices
            if device.needs_rates and not baseline.spiking
            for layer in estimate.counted
            if layer.connections
        ),
        math.ceil(math.log2(steps + 1)),
        tuple(layer.name for layer in estimate.network.gaps),
        estimate.assumptions(),
    )


def _device_energy(
    estimate: Estimate, device: Device, baseline: Device, base_energy: float
) -> DeviceEnergy:
    total = estimate.total(device)
    what = f"the energy on {device.name!r} divided by that on {baseline.name!r}"
    return DeviceEnergy(
        device.name,
        total,
        *estimate.range(device),
        finite(what, partial(truediv, total, base_energy)) if base_energy else math.nan,
        device.spiking,
        device.energy_per_neuron is not None,
    )


def _break_even(estimate: Estimate, layer: Layer, device: Device, baseline: Device) -> BreakEven:
    """Return the rate at which a layer costs the same on both devices.

    E_synop · connections · rate · dt · T + E_neuron · neurons · T = energy of the baseline for
    this layer, solved for the rate.
    """
    dt, timesteps = estimate.dt_of(layer), estimate.steps_of(layer)
    ordinary = sum(estimate.layer(layer, baseline))
    updates = layer.neurons * timesteps * (device.energy_per_neuron or 0.0)
    per_hertz = layer.connections * dt * timesteps * device.energy_per_synop
    rate = estimate.rate(layer)
    what = f"the break-even rate of layer {layer.name!r} on {device.name!r}"
    threshold = finite(what, lambda: (ordinary - updates) / per_hertz) if per_hertz else None
    spikes = None if rate is None else rate * dt
    return BreakEven(
        layer.name,
        device.name,
        rate,
        threshold,
        None if rate is None or threshold is None else rate < threshold,
        spikes,
        None if spikes is None else spikes < QUANTISED_SPIKES,
    )
