"""Tables as text and HTML. Presentation only: nothing is computed here."""

import html
import importlib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kspike_energy.compare import QUANTISED_SPIKES, QUANTISED_STEPS, Comparison
from kspike_energy.devices.table import Device, DeviceTable
from kspike_energy.network import BY_HAND, Layer
from kspike_energy.registry import DEVICES
from kspike_energy.suggest import did_you_mean

if TYPE_CHECKING:
    from kspike_energy.estimate import ModelEnergy

__all__ = [
    "comparison_text",
    "devices_table",
    "html_table",
    "rich_table",
    "summary_text",
    "text_table",
]

_PLAIN = {
    "name": "Layer (type)",
    "output_shape": "Output shape",
    "params": "Param #",
    "connections": "Conn #",
    "neurons": "Neuron #",
    "rate": "Rate [Hz]",
    "synops": "Synops/step",
    "spiking": "Spiking?",
}
_ENERGIES = {
    "energy": "J/inf",
    "synop_energy": "Synop J/inf",
    "neuron_energy": "Neuron J/inf",
}


def summary_text(
    energy: "ModelEnergy",
    columns: Sequence[str],
    timesteps: int,
    dt: float,
    line_length: int,
    *,
    notes: bool,
) -> str:
    """Return the summary of a network.

    Parameters
    ----------
    energy : ModelEnergy
        What to show.
    columns, timesteps, dt, line_length
        As of `ModelEnergy.summary`.
    notes : bool
        Whether to say what is assumed and left out.
    """
    if isinstance(columns, str) or not columns:
        raise ValueError(f"columns must be a list of column names. Received: columns={columns!r}")
    columns = [
        " ".join(column.split()) if isinstance(column, str) else column for column in columns
    ]
    parsed = [_column(energy, column, timesteps, dt) for column in columns]
    headers = [header for header, _ in parsed]
    rows = [[cell(layer) for _, cell in parsed] for layer in energy.network.layers]
    words = [i for i, column in enumerate(columns) if column in ("name", "output_shape")]
    table = text_table(headers, rows, line_length, words)
    width = len(table[0])
    lines = [*table, "=" * width]
    devices = list(dict.fromkeys(c.split(" ", 1)[1] for c in columns if " " in c))
    lines += [_total_line(energy, name, timesteps, dt) for name in devices]
    lines += _count_totals(energy, columns)
    if notes:
        lines.append("")
        for note in _notes(energy, devices, timesteps, dt):
            lines += textwrap.wrap(f"* {note}", line_length, subsequent_indent="  ")
    return "\n".join(lines)


def _column(
    energy: "ModelEnergy", column: str, timesteps: int, dt: float
) -> tuple[str, Callable[[Layer], str]]:
    """Return the header of a column, and the function that fills its cells."""
    if column in _PLAIN:
        return _PLAIN[column], lambda layer: _plain_cell(energy, column, layer, dt)
    kind, _, name = str(column).partition(" ")
    if kind not in _ENERGIES or not name:
        known = [*_PLAIN, *(f"{kind} <device>" for kind in _ENERGIES)]
        raise ValueError(
            f"columns must be among {known}. Received: {column!r}"
            f"{did_you_mean(kind, [*_PLAIN, *_ENERGIES])}"
        )
    device = DEVICES.get_device(name)

    def cell(layer: Layer) -> str:
        if layer.problem:
            return "?"
        synop, neuron = energy.layer_energy(layer, device.name, timesteps, dt)
        if kind == "neuron_energy" and device.energy_per_neuron is None and layer.neurons:
            return "-"
        joules = {"energy": synop + neuron, "synop_energy": synop, "neuron_energy": neuron}
        return f"{joules[kind]:.2g}"

    return f"{_ENERGIES[kind]} ({device.name})", cell


def _plain_cell(energy: "ModelEnergy", column: str, layer: Layer, dt: float) -> str:
    if column == "name":
        return f"{layer.name} ({layer.type_name})"
    if column == "output_shape":
        return "?" if layer.output_shape is None else str(layer.output_shape)
    if column == "params":
        return str(layer.params)
    if column == "rate":
        rate = layer.rate(dt)
        return "?" if rate is None else f"{rate:.3g}"
    if layer.problem:
        return "?"
    if column == "synops":
        synops = layer.synops(dt, energy.events)
        return "?" if synops is None else f"{synops:.4g}"
    if column == "spiking":
        return "yes" if layer.spiking else "no"
    return str(layer.connections if column == "connections" else layer.neurons)


def _total_line(energy: "ModelEnergy", name: str, timesteps: int, dt: float) -> str:
    device = DEVICES.get_device(name)
    total = energy.total_energy(name, timesteps, dt)
    text = f"Total energy per inference [Joules/inf] ({name}): {total:.2e}"
    if device.has_range:
        low, high = energy.energy_range(name, timesteps, dt)
        text += f" (published figures: {low:.2e} to {high:.2e})"
    if device.energy_per_neuron is None:
        text += " (synaptic operations only)"
    gaps = len(energy.network.gaps)
    if gaps:
        text += f" (leaves out {gaps} {'layer' if gaps == 1 else 'layers'})"
    return text


def _count_totals(energy: "ModelEnergy", columns: Sequence[str]) -> list[str]:
    network = energy.network
    totals = []
    if "params" in columns:
        shown = sum(layer.params for layer in network.layers)
        totals.append(f"{shown} params")
    if "connections" in columns:
        totals.append(f"{network.connections} connections")
    if "neurons" in columns:
        totals.append(f"{network.neurons} neurons")
    return [f"Total per time step: {', '.join(totals)}"] if totals else []


def _notes(energy: "ModelEnergy", devices: Sequence[str], timesteps: int, dt: float) -> list[str]:
    """Return what the numbers assume, most surprising first."""
    notes = [f"NOT COUNTED: {layer.problem}." for layer in energy.network.gaps]
    figures = [DEVICES.get_device(name) for name in devices]
    spiking = [d.name for d in figures if d.spiking]
    ordinary = [d.name for d in figures if not d.spiking]
    facts = energy.assumptions(timesteps, dt)
    if spiking:
        coding = f"; the network's input is coded as {facts['input_coding']!r}"
        notes.append(
            f"{', '.join(spiking)}: {timesteps} time steps of dt = {dt:g} s an inference; "
            f"events = {facts['events']!r}{'' if energy.network.time_axis == BY_HAND else coding}."
        )
        unfit = [layer.name for layer in energy.network.layers if not layer.spiking]
        if unfit:
            notes.append(
                "A spiking device could not run these layers as they are; a spiking equivalent of "
                f"the same cost is assumed: {', '.join(unfit)}."
            )
        others = energy.other_dt(dt)
        if others:
            names = ", ".join(f"{layer.name} ({layer.dt:g} s)" for layer in others)
            notes.append(f"These layers have another time step than dt = {dt:g} s: {names}.")
    if ordinary:
        notes.append(
            f"{', '.join(ordinary)}: every connection is computed once an inference, as in an "
            "ordinary network."
        )
    if energy.network.time_axis == BY_HAND:
        notes.append("Counts and rates are those that the network was described with.")
    elif facts["convention"] == "keras-spiking":
        notes.append(
            "Counted as KerasSpiking does: layers that it does not know cost nothing, and "
            "positions over padding are connections."
        )
    else:
        notes.append(
            f"Time axis: {facts['time_axis']}. Connections over padding: {facts['padding']}. "
            f"Batch normalisation behind linear layers: {facts['normalization']}."
        )
    notes.append(
        "Only arithmetic is estimated: moving data, memory, static power and overhead are left "
        "out, and are often the larger part."
    )
    return notes


def text_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    line_length: int,
    breakable: Sequence[int] = (0,),
) -> list[str]:
    """Return the lines of a table: header, rule, rows.

    Parameters
    ----------
    headers : sequence of str
        One for each column.
    rows : sequence of sequence of str
        Cells. The first column is aligned to the left, others to the right.
    line_length : int
        Longest line. Where the table is wider, headers continue on further lines between words,
        and cells of ``breakable`` columns anywhere; numbers are never broken.
    breakable : sequence of int, optional
        Columns of text.
    """
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    floors = [max(map(len, (*header.split(), *cells))) for header, *cells in columns]
    for index in breakable:
        floors[index] = min(floors[index], _NARROWEST_TEXT)
    while sum(widths) + len(widths) - 1 > line_length:
        spare = [index for index, width in enumerate(widths) if width > floors[index]]
        if not spare:
            break
        # A header continues between words; a name that is cut is harder to read, so it comes last.
        widest = max(spare, key=lambda index: (index not in breakable, widths[index]))
        widths[widest] -= 1
    wrapped = [textwrap.wrap(header, width) for header, width in zip(headers, widths, strict=True)]
    lines = _lines(wrapped, widths)
    lines.append("|".join("-" * width for width in widths))
    for row in rows:
        lines += _lines([_pieces(c, w) for c, w in zip(row, widths, strict=True)], widths)
    return lines


_NARROWEST_TEXT = 12


def _pieces(cell: str, width: int) -> list[str]:
    return [cell[start : start + width] for start in range(0, len(cell), width)]


def _lines(cells: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Return the lines of one row, of which each cell is a list of pieces."""
    lines = []
    for index in range(max(map(len, cells), default=0)):
        parts = [cell[index] if index < len(cell) else "" for cell in cells]
        padded = [
            part.ljust(width) if column == 0 else part.rjust(width)
            for column, (part, width) in enumerate(zip(parts, widths, strict=True))
        ]
        lines.append("|".join(padded))
    return lines


def comparison_text(comparison: Comparison) -> str:
    """Return a comparison of devices as text."""
    headers = ["Device", "Spiking?", "J/inf", "low J/inf", "high J/inf", f"/ {comparison.baseline}"]
    rows = [
        [
            device.device + ("" if device.neurons_included else " (synops only)"),
            "yes" if device.spiking else "no",
            f"{device.energy:.3g}",
            f"{device.low:.3g}",
            f"{device.high:.3g}",
            f"{device.ratio:.3g}",
        ]
        for device in comparison.devices
    ]
    lines = [f"{comparison.network}: {comparison.timesteps} steps of {comparison.dt:g} s"]
    lines += text_table(headers, rows, 120)
    if comparison.left_out:
        lines.append(f"Left out, because nothing counts them: {', '.join(comparison.left_out)}")
    if comparison.layers:
        lines += ["", f"Break-even with {comparison.baseline}, layer by layer"]
        lines += text_table(
            [
                "Layer",
                "Device",
                "Rate [Hz]",
                "Break-even [Hz]",
                "Wins?",
                "Spikes/step",
                "Quantised?",
            ],
            [
                [
                    layer.layer,
                    layer.device,
                    _number(layer.rate),
                    _threshold(layer.break_even_rate),
                    _verdict(layer.wins),
                    _number(layer.spikes_per_step),
                    _verdict(layer.beats_quantised),
                ]
                for layer in comparison.layers
            ],
            140,
        )
        lines += textwrap.wrap(_quantised_note(comparison), 98)
    return "\n".join(lines)


def _quantised_note(comparison: Comparison) -> str:
    note = (
        f"Quantised?: whether fewer than {QUANTISED_SPIKES:.0%} of the inputs spike in a step, "
        f"below which a spiking network needs less than an ordinary one of "
        f"{comparison.quantised_bits} bits, which carries as much as {comparison.timesteps} steps "
        "(arXiv 2409.08290)."
    )
    if not QUANTISED_STEPS[0] <= comparison.timesteps <= QUANTISED_STEPS[1]:
        note += f" The source gives it for {QUANTISED_STEPS[0]} to {QUANTISED_STEPS[1]} steps only."
    return note


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3g}"


def _threshold(value: float | None) -> str:
    if value is None:
        return "-"
    return "never" if value <= 0 else f"{value:.4g}"


def _verdict(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"


def devices_table(devices: DeviceTable) -> str:
    """Return the devices with their figures and sources as text."""
    sources = list(dict.fromkeys(device.source for device in devices.values()))
    headers = ["Device", "Spiking?", "J/synop", "J/neuron", "range J/synop", "Source"]
    rows = [
        [
            name,
            "yes" if device.spiking else "no",
            f"{device.energy_per_synop:.3g}",
            "-" if device.energy_per_neuron is None else f"{device.energy_per_neuron:.3g}",
            _range(device),
            f"[{sources.index(device.source) + 1}]",
        ]
        for name, device in devices.items()
    ]
    lines = text_table(headers, rows, 120)
    lines += [f"[{index}] {source or 'no source given'}" for index, source in enumerate(sources, 1)]
    return "\n".join(lines)


def _range(device: Device) -> str:
    low, high = device.synop_low_high
    return f"{low:.3g} to {high:.3g}" if low != high else ""


def html_table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as an HTML table, for notebooks."""
    if not records:
        return "<table></table>"

    def row(tag: str, cells: Sequence[Any]) -> str:
        inner = "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{inner}</tr>"

    head = row("th", list(records[0]))
    body = "".join(
        row("td", ["" if value is None else value for value in record.values()])
        for record in records
    )
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def rich_table(records: Sequence[Mapping[str, Any]]) -> Any:
    """Return records as a table of ``rich``, for consoles (``kspike-energy[report]``)."""
    table = importlib.import_module("rich.table").Table(*(records[0] if records else ()))
    for record in records:
        table.add_row(*("" if value is None else _short(value) for value in record.values()))
    return table


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
