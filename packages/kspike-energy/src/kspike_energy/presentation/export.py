"""Estimates as plain data: dictionaries and records."""

from collections.abc import Sequence
from typing import Any

from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.network import Layer

__all__ = ["estimate_dict", "estimate_records", "layer_dict"]


def layer_dict(estimate: Estimate, layer: Layer) -> dict[str, Any]:
    """Return counts and rates of a layer as plain data."""
    counted = not layer.problem
    return {
        "name": layer.name,
        "type": layer.type_name,
        "output_shape": layer.output_shape,
        "params": layer.params,
        "connections": layer.connections if counted else None,
        "neurons": layer.neurons if counted else None,
        "spiking": layer.spiking if counted else None,
        "rate": estimate.rate(layer),
        "synops_per_timestep": estimate.synops(layer) if counted else None,
        "counted_operations": layer.operations if counted else None,
        "layer_dt": layer.dt,
        "problem": layer.problem or None,
    }


def _energy(estimate: Estimate, layer: Layer, device: Device) -> tuple[float, float] | None:
    """Return the joules of a layer per inference; None if it could not be counted."""
    return None if layer.problem else estimate.layer(layer, device)


def estimate_records(estimate: Estimate, devices: Sequence[Device]) -> list[dict[str, Any]]:
    """Return one flat dictionary per device and layer: counts, energies, assumptions."""
    shared = estimate.assumptions()
    records = []
    for device in devices:
        for layer in estimate.network.layers:
            pair = _energy(estimate, layer, device)
            record = {
                **layer_dict(estimate, layer),
                "device": device.name,
                "energy": pair and sum(pair),
                "synop_energy": pair and pair[0],
                "neuron_energy": pair and pair[1],
                **shared,
            }
            records.append(record)
    return records


def estimate_dict(estimate: Estimate, devices: Sequence[Device]) -> dict[str, Any]:
    """Return the whole estimate as plain data; `ModelEnergy.to_dict` lists its keys."""
    network = estimate.network
    layers = []
    for layer in network.layers:
        energies = {}
        for device in devices:
            pair = _energy(estimate, layer, device)
            energies[device.name] = pair and {
                "synop": pair[0],
                "neuron": pair[1],
                "total": sum(pair),
            }
        layers.append({**layer_dict(estimate, layer), "energy": energies})
    return {
        "model": network.name,
        "assumptions": estimate.assumptions(),
        "devices": {device.name: device.to_dict() for device in devices},
        "layers": layers,
        "totals": {device.name: _total(estimate, device) for device in devices},
        "connections": network.connections,
        "neurons": network.neurons,
        "left_out": [layer.name for layer in network.gaps],
    }


def _total(estimate: Estimate, device: Device) -> dict[str, Any]:
    low, high = estimate.range(device)
    return {
        "energy": estimate.total(device),
        "low": low,
        "high": high,
        "neurons_included": device.energy_per_neuron is not None,
        "scope": device.fit.statement(estimate.workload) if device.fit else None,
    }
