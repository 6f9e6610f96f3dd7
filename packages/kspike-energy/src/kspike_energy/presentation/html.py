"""The report of an estimate as one self-contained HTML file, rendered with Jinja2."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from kspike_energy.compare import compare_devices
from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.network import Layer
from kspike_energy.presentation.comparison import Comparison
from kspike_energy.presentation.comparison_data import DeviceEnergy
from kspike_energy.presentation.comparison_text import (
    break_even_cells,
    quantised_notes,
    winner_notes,
)
from kspike_energy.presentation.dots import Scale
from kspike_energy.presentation.notes import notes, warning_notes
from kspike_energy.presentation.units import plural, si, si_range

__all__ = ["html_report"]


def html_report(estimate: Estimate, devices: Sequence[Device]) -> str:
    """Return an estimate as an HTML page that loads no other files.

    Names are escaped, and a content security policy allows no script but the page's own.

    Parameters
    ----------
    estimate : Estimate
        The energies of an inference.
    devices : sequence of Device
        The devices to show. The first one is the baseline of ratios.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    ValueError
        If there are no devices.
    """
    if not devices:
        raise ValueError("devices must name at least one device. Received: devices=[]")
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ImportError("to_html needs Jinja2: pip install 'kspike-energy[report]'") from error
    page = files("kspike_energy.presentation").joinpath("page")
    template, style, script = (
        page.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.html.j2", "report.css", "report.js")
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    text: str = environment.from_string(template).render(
        style=Markup(style),  # noqa: S704  (a file of this package)
        script=Markup(script),  # noqa: S704
        style_hash=_hash(style),
        script_hash=_hash(script),
        **_content(estimate, devices),
    )
    return text


def _hash(text: str) -> str:
    """Return the hash with which a content security policy allows an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _content(estimate: Estimate, devices: Sequence[Device]) -> dict[str, Any]:
    """Return everything that the template shows."""
    comparison = compare_devices(estimate, devices, devices[0])
    network = estimate.network
    found = warning_notes(estimate, devices)
    counts = f"{network.connections:,} connections and {network.neurons:,} unit updates per step"
    return {
        "name": network.name,
        "summary": f"{plural(len(network.layers), 'layer')}, {counts}",
        "warnings": found,
        "devices": _device_chart(comparison.devices),
        "winners": winner_notes(comparison.winners),
        "break_even": _break_even(comparison),
        "layers": _layer_chart(estimate, devices, comparison),
        "table": _table(estimate, devices),
        "notes": [note for note in notes(estimate, devices) if note not in found],
        "assumptions": {key: str(value) for key, value in estimate.assumptions().items()},
        "sources": devices,
        "bibtex": comparison.bibtex(),
    }


def _device_chart(devices: Sequence[DeviceEnergy]) -> dict[str, Any]:
    scale = Scale.over(value for d in devices for value in (d.low, d.energy, d.high))
    rows = []
    for device in devices:
        span = si_range(device.low, device.high)
        rows.append(
            {
                "name": device.device,
                "marks": _marks(scale, [(device.energy, device.spiking)]),
                "low": scale.place(device.low) if span else None,
                "high": scale.place(device.high),
                "text": si(device.energy)
                + (f" ({span})" if span else "")
                + ("" if device.neurons_included else ", synaptic only"),
            }
        )
    return {"rows": rows, "scale": scale}


def _marks(scale: Scale, values: Sequence[tuple[float, bool]]) -> list[dict[str, Any]]:
    """Return dots at the values above zero."""
    places = [(scale.place(value), spiking) for value, spiking in values]
    return [{"place": place, "spiking": spiking} for place, spiking in places if place is not None]


def _break_even(comparison: Comparison) -> dict[str, Any]:
    """Return the table of break-even rates, which has no rows without a spiking device."""
    headers, rows = break_even_cells(comparison.layers, comparison.quantised)
    notes = quantised_notes(comparison.quantised, comparison.timesteps)
    return {"baseline": comparison.baseline, "headers": headers, "rows": rows, "notes": notes}


def _layer_chart(
    estimate: Estimate, devices: Sequence[Device], comparison: Comparison
) -> dict[str, Any]:
    """Return the layers on the cheapest device of either side, or else on the first device."""
    names = [devices[0].name]
    if comparison.winners:
        first = comparison.winners[0]
        names = [first.spiking.device, first.ordinary.device]
    shown = [device for name in names for device in devices if device.name == name]
    busy = [layer for layer in estimate.counted if layer.connections or layer.neurons]
    energies = [[sum(estimate.layer(layer, device)) for device in shown] for layer in busy]
    scale = Scale.over(value for row in energies for value in row)
    rows = [
        {
            "name": layer.name,
            "marks": _marks(scale, [(v, d.spiking) for v, d in zip(row, shown, strict=True)]),
            "text": ", ".join(map(si, row)),
        }
        for layer, row in zip(busy, energies, strict=True)
    ]
    return {"rows": rows, "scale": scale, "devices": shown}


def _table(estimate: Estimate, devices: Sequence[Device]) -> dict[str, Any]:
    texts = ("Layer", "Type", "Output shape")
    numbers = ("Parameters", "Connections", "Updates", "Input rate")
    columns = [{"name": name, "numeric": False} for name in texts]
    columns += [{"name": name, "numeric": True} for name in numbers]
    columns += [{"name": device.name, "numeric": True} for device in devices]
    network = estimate.network
    totals = [si(estimate.total(device)) for device in devices]
    counts = [f"{network.connections:,}", f"{network.neurons:,}"]
    return {
        "columns": columns,
        "rows": [_row(estimate, layer, devices) for layer in network.layers],
        "totals": ["Total", "", "", "", *counts, "", *totals],
    }


def _row(estimate: Estimate, layer: Layer, devices: Sequence[Device]) -> list[dict[str, Any]]:
    """Return the cells of a layer; unknown values sort below all others."""
    shape = "?" if layer.output_shape is None else str(layer.output_shape)
    cells: list[dict[str, Any]] = [
        {"text": text, "value": None} for text in (layer.name, layer.type_name, shape)
    ]
    rate = estimate.rate(layer)
    counts = (layer.params, None, None) if layer.problem else (
        layer.params, layer.connections, layer.neurons
    )  # fmt: skip
    cells += [_cell(value, "?" if value is None else f"{value:,}") for value in counts]
    cells.append(_cell(rate, si(rate, "Hz")))
    for device in devices:
        joules = None if layer.problem else sum(estimate.layer(layer, device))
        cells.append(_cell(joules, si(joules)))
    return cells


def _cell(value: float | None, text: str) -> dict[str, Any]:
    return {"text": text, "value": -1 if value is None else value}
