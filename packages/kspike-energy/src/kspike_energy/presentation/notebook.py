"""The table of layers that notebooks show."""

from collections.abc import Sequence

from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.network import Layer
from kspike_energy.presentation.notes import notes
from kspike_energy.presentation.tables import html_table, yes_no
from kspike_energy.presentation.units import si

__all__ = ["notebook_table"]

_HEADERS = ("Layer", "Type", "Output shape", "Parameters", "Connections", "Updates", "Input rate")


def notebook_table(estimate: Estimate, devices: Sequence[Device]) -> str:
    """Return the layers of a network as HTML: counts, rates, and energies of ordinary devices."""
    network = estimate.network
    headers = (*_HEADERS, "Spiking?", *(device.name for device in devices))
    rows = [_row(estimate, layer, devices) for layer in network.layers]
    totals = [si(estimate.total(device)) for device in devices]
    counts = [f"{network.connections:,}", f"{network.neurons:,}"]
    rows.append(["Total", "", "", "", *counts, "", "", *totals])
    return html_table(headers, rows, network.name, notes(estimate, devices))


def _row(estimate: Estimate, layer: Layer, devices: Sequence[Device]) -> list[str]:
    shape = "?" if layer.output_shape is None else str(layer.output_shape)
    rate = estimate.rate(layer)
    cells = [layer.name, layer.type_name, shape, f"{layer.params:,}"]
    if layer.problem:
        return [*cells, "?", "?", si(rate, "Hz"), "?", *["?"] * len(devices)]
    counts = [f"{layer.connections:,}", f"{layer.neurons:,}"]
    energies = [si(sum(estimate.layer(layer, device))) for device in devices]
    return [*cells, *counts, si(rate, "Hz"), yes_no(layer.spiking), *energies]
