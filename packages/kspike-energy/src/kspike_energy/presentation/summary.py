"""The printed summary of an estimate: one row per layer, totals, and notes."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kspike_energy.checks import did_you_mean
from kspike_energy.devices import Device, DeviceTable
from kspike_energy.estimate import Estimate
from kspike_energy.network import Layer
from kspike_energy.presentation.notes import notes
from kspike_energy.presentation.tables import number, text_table, yes_no
from kspike_energy.presentation.units import plural, si, si_range

__all__ = ["summary_text"]


@dataclass(frozen=True)
class _Column:
    """A column of the summary: its header, its cells, and the device that it refers to."""

    name: str
    header: str
    cell: Callable[[Layer], str]
    device: Device | None = None


def summary_text(
    estimate: Estimate,
    columns: Sequence[str],
    devices: DeviceTable,
    line_length: int,
    *,
    print_notes: bool,
) -> str:
    """Return the text of `ModelEnergy.summary`, whose columns can name these devices.

    Raises
    ------
    ValueError
        If a column, a device, or a rate that it needs is unknown.
    """
    if isinstance(columns, str) or not columns:
        raise ValueError(f"columns must be a list of column names. Received: columns={columns!r}")
    shown = [_column(estimate, column, devices) for column in columns]
    rows = [[column.cell(layer) for column in shown] for layer in estimate.network.layers]
    words = [i for i, column in enumerate(shown) if column.name in ("name", "output_shape")]
    table = text_table([column.header for column in shown], rows, line_length, words)
    named = {column.device.name: column.device for column in shown if column.device}
    lines = [*table, "=" * len(table[0])]
    lines += [_total_line(estimate, device) for device in named.values()]
    lines += _count_totals(estimate, [column.name for column in shown])
    if print_notes:
        lines.append("")
        for note in notes(estimate, list(named.values())):
            lines += textwrap.wrap(f"* {note}", line_length, subsequent_indent="  ")
    return "\n".join(lines)


def _shape_cell(layer: Layer) -> str:
    return "?" if layer.output_shape is None else str(layer.output_shape)


def _plain_columns(estimate: Estimate) -> dict[str, tuple[str, Callable[[Layer], str]]]:
    """Return header and cells of every column that does not refer to a device."""

    def counted(cell: Callable[[Layer], str]) -> Callable[[Layer], str]:
        return lambda layer: "?" if layer.problem else cell(layer)

    return {
        "name": ("Layer (type)", lambda layer: f"{layer.name} ({layer.type_name})"),
        "output_shape": ("Output shape", _shape_cell),
        "params": ("Param #", lambda layer: str(layer.params)),
        "connections": ("Conn #", counted(lambda layer: str(layer.connections))),
        "neurons": ("Neuron #", counted(lambda layer: str(layer.neurons))),
        "rate": ("Rate [Hz]", lambda layer: number(estimate.rate(layer))),
        "synops": ("Synops/step", counted(lambda layer: number(estimate.synops(layer), 4))),
        "spiking": ("Spiking?", counted(lambda layer: yes_no(layer.spiking))),
    }


_ENERGIES: Mapping[str, tuple[str, Callable[[float, float], float]]] = {
    "energy": ("J/inf", lambda synop, neuron: synop + neuron),
    "synop_energy": ("Synop J/inf", lambda synop, neuron: synop),
    "neuron_energy": ("Neuron J/inf", lambda synop, neuron: neuron),
}


def _column(estimate: Estimate, name: str, devices: DeviceTable) -> _Column:
    """Return the column with this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    plain = _plain_columns(estimate)
    if isinstance(name, str):
        name = " ".join(name.split())
        if name in plain:
            return _Column(name, *plain[name])
    kind, _, device_name = str(name).partition(" ")
    if kind not in _ENERGIES or not device_name:
        known = [*plain, *(f"{kind} <device>" for kind in _ENERGIES)]
        raise ValueError(
            f"columns must be among {known}. Received: {name!r}"
            f"{did_you_mean(kind, [*plain, *_ENERGIES])}"
        )
    device = devices.get_device(device_name)
    header, joules = _ENERGIES[kind]

    def cell(layer: Layer) -> str:
        if layer.problem:
            return "?"
        if kind == "neuron_energy" and device.energy_per_neuron is None and layer.neurons:
            return "-"
        return f"{joules(*estimate.layer(layer, device)):.2g}"

    return _Column(name, f"{header} ({device.name})", cell, device)


def _total_line(estimate: Estimate, device: Device) -> str:
    total = estimate.total(device)
    text = f"Total energy per inference [Joules/inf] ({device.name}): {total:.2e}"
    span = si_range(*estimate.range(device))
    if span and device.has_range:
        kind = "published figures" if device.memory is None else "readings of published figures"
        text += f" ({kind}: {span})"
    if device.fit is not None:
        text += f" ({span or si(total)}; {device.fit.statement(estimate.workload)})"
    if device.energy_per_neuron is None:
        text += " (synaptic operations only)"
    gaps = len(estimate.network.gaps)
    if gaps:
        text += f" (leaves out {plural(gaps, 'layer')})"
    return text


def _count_totals(estimate: Estimate, columns: Sequence[str]) -> list[str]:
    network = estimate.network
    totals = {
        "params": sum(layer.params for layer in network.layers),
        "connections": network.connections,
        "neurons": network.neurons,
    }
    shown = [f"{total} {name}" for name, total in totals.items() if name in columns]
    return [f"Total per time step: {', '.join(shown)}"] if shown else []
