"""Notes on an estimate: gaps, warnings and assumptions."""

import re
from collections.abc import Sequence

from kspike_energy.devices import Device
from kspike_energy.devices.overhead import Fit
from kspike_energy.estimate import Estimate
from kspike_energy.network import BY_HAND
from kspike_energy.presentation.tables import number
from kspike_energy.presentation.units import plural, si

__all__ = ["notes", "warning_notes"]

# Types of layers that the source of the memory model covers, and of layers written by hand.
_COVERED = re.compile(r"Dense|(Depthwise)?Conv[123]D|Layer")

# Borders and strides of convolutions change a count by less than this factor.
_MANY_EVENTS = 1.25


def warning_notes(estimate: Estimate, devices: Sequence[Device]) -> list[str]:
    """Return the notes that question the numbers."""
    spiking = any(device.needs_rates for device in devices)
    doubts = _busy(estimate) + _many_events(estimate) + _other_dt(estimate)
    return [*_gaps(estimate), *(doubts if spiking else [])]


def _gaps(estimate: Estimate) -> list[str]:
    return [f"NOT COUNTED: {layer.problem}." for layer in estimate.network.gaps]


def _busy(estimate: Estimate) -> list[str]:
    if not estimate.busy:
        return []
    return [
        "These layers receive more than one event per element and step on average: "
        f"{estimate.busy}. Are their inputs rates in Hz? See input_coding."
    ]


def _many_events(estimate: Estimate) -> list[str]:
    """Return a note on layers whose exact count is well above that of their rates."""
    if estimate.settings.events != "exact":
        return []
    layers = []
    for layer in estimate.counted:
        by_rate = layer.synops(estimate.dt, "mean", estimate.own_dt)
        exact = estimate.synops(layer)
        if not by_rate or not exact:
            continue
        steps = 1 if layer.whole else estimate.steps
        factor = exact * estimate.steps_of(layer) / (by_rate * steps)
        if factor > _MANY_EVENTS:
            layers.append(f"{layer.name} ({number(factor)})")
    if not layers:
        return []
    return [
        "events = 'exact' takes every value that is not zero as one event. Behind a filter or "
        "pooling these are more than the spikes. Layers with more operations than events = 'mean' "
        f"counts, and the factor: {', '.join(layers)}."
    ]


def _other_dt(estimate: Estimate) -> list[str]:
    if not estimate.other_dt:
        return []
    return [
        f"These layers have another time step than dt = {estimate.dt:g} s: {estimate.other_dt}."
    ]


def notes(estimate: Estimate, devices: Sequence[Device]) -> list[str]:
    """Return gaps and assumptions, the most surprising first."""
    found = _gaps(estimate)
    spiking = [device.name for device in devices if device.needs_rates]
    ordinary = [d.name for d in devices if not d.spiking and d.fit is None]
    fitted = [(device, device.fit) for device in devices if device.fit is not None]
    if spiking:
        found += _spiking_notes(estimate, spiking)
    if ordinary:
        found.append(
            f"{', '.join(ordinary)}: every connection once per inference, as in an "
            "ordinary network."
        )
    found += [_fitted_note(estimate, device, fit) for device, fit in fitted]
    found += _memory_notes(estimate, [d for d in devices if d.memory is not None])
    found.append(_counting_note(estimate))
    bare = [device.name for device in devices if device.model == "operations"]
    if devices and not bare:
        return found
    mixed = f"{', '.join(bare)}: only" if len(bare) < len(devices) else "Only"
    return [
        *found,
        f"{mixed} arithmetic is estimated. Moving data, memory, static power and overhead are left "
        "out, and are often the larger part.",
    ]


def _memory_notes(estimate: Estimate, devices: Sequence[Device]) -> list[str]:
    """Return a note on the scope of memory models, and on the layers outside it."""
    if not devices:
        return []
    names = ", ".join(device.name for device in devices)
    others = [
        layer.name
        for layer in estimate.counted
        if layer.connections and not _COVERED.fullmatch(layer.type_name)
    ]
    text = (
        f"{names}: accesses to memory, addressing and arithmetic after Lemaire et al. "
        "(2022), with 32-bit integers in 45 nm; the range spans two readings of the energies per "
        "access."
    )
    if others:
        text += (
            " The source covers dense and convolutional layers; its formulas are applied to the "
            f"counts of these too: {', '.join(others)}."
        )
    large = _beyond_published_memories(estimate, devices)
    if large:
        text += f" Energies of accesses are extrapolated to the larger memories of {large}."
    return [text]


def _beyond_published_memories(estimate: Estimate, devices: Sequence[Device]) -> str:
    """Return the layers that do not fit in the largest memory with a published energy."""
    most = min(d.memory.accesses[-1][0] // d.memory.word for d in devices if d.memory is not None)
    sizes = [(layer.name, layer.stored) for layer in estimate.counted if layer.connections]
    return ", ".join(
        name
        for name, stored in sizes
        if stored is not None and max(stored.inputs, stored.outputs, stored.parameters) > most
    )


def _fitted_note(estimate: Estimate, device: Device, fit: Fit) -> str:
    """Return a note on the accuracy of a fitted device, and on the energy outside the layers."""
    batch = estimate.batch_size
    call = device.energy_per_call / batch
    return (
        f"{device.name}: fitted to {fit.points} measurements of {fit.family}; leave-one-out error: "
        f"a factor of {fit.median:.3g} (median), {fit.worst:.3g} (worst). This estimate is "
        f"{fit.statement(estimate.workload)}. Batch size {batch}; "
        f"{si(call)} per inference is the cost of the call and is not assigned to any layer."
    )


def _spiking_notes(estimate: Estimate, names: Sequence[str]) -> list[str]:
    settings, network = estimate.settings, estimate.network
    coding = f"; the network's input is coded as {settings.input_coding!r}"
    notes = [
        f"{', '.join(names)}: {plural(estimate.steps, 'time step')} per inference "
        f"({estimate.timesteps_from}) of dt = {estimate.dt:g} s ({estimate.dt_from}); "
        f"events = {settings.events!r}{'' if network.time_axis == BY_HAND else coding}."
    ]
    notes += _busy(estimate) + _many_events(estimate)
    unfit = [layer.name for layer in network.layers if not layer.spiking]
    if unfit:
        notes.append(
            "A spiking device could not run these layers as they are; a spiking equivalent of "
            f"the same cost is assumed: {', '.join(unfit)}."
        )
    return notes + _other_dt(estimate)


def _counting_note(estimate: Estimate) -> str:
    options, time_axis = estimate.settings.options, estimate.network.time_axis
    if time_axis == BY_HAND:
        return "Counts and rates are those stated in the Network."
    if options.convention == "keras-spiking":
        return (
            "Counted as KerasSpiking does: layers that it does not know cost nothing, and "
            "positions over padding are connections."
        )
    return (
        f"Time axis: {time_axis}. Connections over padding: {options.padding}. "
        f"Batch normalisation after linear layers: {options.normalization}."
    )
