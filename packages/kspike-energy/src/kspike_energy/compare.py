"""Comparison of devices on one network: ratios, break-even rates, and the quantised rival."""

import math
from collections.abc import Sequence
from functools import partial
from operator import truediv

from kspike_energy.checks import check_choice, check_names, finite
from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.network import Layer
from kspike_energy.presentation.comparison import Comparison
from kspike_energy.presentation.comparison_data import BreakEven, DeviceEnergy
from kspike_energy.quantised import SOURCE, QuantisedRival, quantised_rival

__all__ = ["compare_devices", "device_names", "sources"]


# Devices that a comparison shows for every energy model.
_BY_MODEL = {
    "operations": ("cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2"),
    "measured": (
        "xeon-e5-2630",
        "quadro-k4000",
        "jetson-tx1",
        "movidius-ncs",
        "loihi-measured",
        "loihi-measured-fast",
    ),
    "memory": ("45nm-int32-sram", "45nm-int32-sram-spiking"),
}


def device_names(devices: Sequence[str] | None, models: Sequence[str] | None) -> list[str]:
    """Return the devices to compare: the named ones, and those of the energy models.

    Parameters
    ----------
    devices : sequence of str or None
        Names of devices.
    models : sequence of str or None
        Any of "operations", "measured" and "memory".

    Raises
    ------
    TypeError
        If an argument is a single string.
    ValueError
        If a model is unknown, or ``models`` is empty.
    """
    check_names("devices", devices)
    check_names("models", models)
    if models is None:
        return list(_BY_MODEL["operations"] if devices is None else devices)
    if not models:
        raise ValueError("models must name at least one model of energy. Received: models=[]")
    found = list(devices or ())
    for model in models:
        check_choice("models", model, tuple(_BY_MODEL))
        found += _BY_MODEL[model]
    return list(dict.fromkeys(found))


def compare_devices(
    estimate: Estimate, devices: Sequence[Device], baseline: Device, weight_bits: int = 8
) -> Comparison:
    """Return the comparison that `ModelEnergy.compare` describes."""
    if not devices:
        raise ValueError("devices must name at least one device. Received: devices=[]")
    base_energy = estimate.total(baseline)
    # Readings can be compared only if all devices have the same memory.
    one_memory = len({device.memory for device in devices if device.memory is not None}) == 1
    spiking = any(device.needs_rates for device in (*devices, baseline))
    steps = estimate.steps if spiking else estimate.timesteps or 1
    rival = quantised_rival(steps, weight_bits)
    return Comparison(
        estimate.network.name,
        baseline.name,
        steps,
        estimate.dt,
        tuple(
            _device_energy(
                estimate,
                device,
                baseline,
                base_energy,
                estimate.readings(device) if one_memory else (),
            )
            for device in devices
        ),
        tuple(
            _break_even(estimate, layer, device, baseline, rival)
            for device in devices
            if _can_break_even(device, baseline)
            for layer in estimate.counted
            if layer.connections
        ),
        rival,
        tuple(layer.name for layer in estimate.network.gaps),
        estimate.assumptions(),
        base_energy,
        sources(devices, [baseline]),
    )


def sources(devices: Sequence[Device], baselines: Sequence[Device]) -> tuple[str, ...]:
    """Return the distinct citations of all numbers in a comparison.

    Parameters
    ----------
    devices : sequence of Device
        The devices to compare.
    baselines : sequence of Device
        The devices that ratios and break-even rates refer to.

    Returns
    -------
    tuple of str
        Citations of the devices, and of the quantised rival if a device can break even.
    """
    found = [device.source for device in (*devices, *baselines)]
    if any(_can_break_even(device, base) for device in devices for base in baselines):
        found.append(SOURCE)
    return tuple(dict.fromkeys(source for source in found if source))


def _can_break_even(device: Device, baseline: Device) -> bool:
    """Return whether layers can have a rate at which both devices need the same energy."""
    return device.needs_rates and not baseline.spiking and device.model == baseline.model


def _device_energy(
    estimate: Estimate,
    device: Device,
    baseline: Device,
    base_energy: float,
    readings: tuple[float, ...],
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
        device.model,
        readings,
        device.fit.statement(estimate.workload) if device.fit else None,
    )


def _break_even(
    estimate: Estimate, layer: Layer, device: Device, baseline: Device, rival: QuantisedRival
) -> BreakEven:
    """Return the rate at which a layer costs the same on both devices.

    The energy on a spiking device is linear in the rate. This solves E(0) + E' · rate = energy of
    the baseline for this layer. Events are assumed to grow in proportion to the rate, also those
    of several inputs with different time steps, and exact ones: after a filter, there are many more
    events than spikes. Without events to scale, all inputs have the first one's time step.
    """
    timesteps, rate = estimate.steps_of(layer), estimate.rate(layer)
    spikes = None if rate is None else rate * estimate.dt_of(layer)
    operations = layer.connections * estimate.dt_of(layer) * timesteps
    if rate and (synops := estimate.synops(layer)):
        spikes, operations = synops / layer.connections, synops * timesteps / rate
    ordinary, updates = sum(estimate.layer(layer, baseline)), layer.neurons * timesteps
    silent = sum(estimate.energy_of(layer, device, 0.0, updates))
    per_hertz = sum(estimate.energy_of(layer, device, operations, 0)) - sum(
        estimate.energy_of(layer, device, 0.0, 0)
    )
    what = f"the break-even rate of layer {layer.name!r} on {device.name!r}"
    threshold = finite(what, lambda: (ordinary - silent) / per_hertz) if per_hertz else None
    return BreakEven(
        layer.name,
        device.name,
        rate,
        threshold,
        None if rate is None or threshold is None else rate < threshold,
        spikes,
        None if spikes is None else spikes < rival.spikes,
    )
