"""Text of a comparison: cells of its tables, and notes on the winner and the quantised rival."""

import textwrap
from collections.abc import Sequence
from typing import TypeAlias

from kspike_energy.presentation.comparison_data import BreakEven, DeviceEnergy, Winner
from kspike_energy.presentation.tables import number, yes_no
from kspike_energy.presentation.units import plural, si
from kspike_energy.quantised import QuantisedRival

__all__ = [
    "baseline_notes",
    "break_even_cells",
    "device_cells",
    "quantised_notes",
    "scope_notes",
    "winner_notes",
    "wrapped",
]

Cells: TypeAlias = tuple[list[str], list[list[str]]]

_MODELS = {
    "operations": "operations alone",
    "measured": "measurements",
    "memory": "operations and memory",
}

# Smallest and largest number of time steps that the source of the quantised rival covers.
_STEPS = (1, 15)


def device_cells(devices: Sequence[DeviceEnergy], baseline: str) -> Cells:
    """Return headers and rows of the table of devices."""
    headers = ["Device", "Model", "Spiking?", "Energy/inf", "low", "high", f"/ {baseline}"]
    rows = [
        [
            device.device + ("" if device.neurons_included else " (synops only)"),
            device.model,
            yes_no(device.spiking),
            *map(si, (device.energy, device.low, device.high)),
            number(device.ratio),
        ]
        for device in devices
    ]
    return headers, rows


def baseline_notes(
    devices: Sequence[DeviceEnergy], baseline: str, energy: float | None
) -> list[str]:
    """Return a note on the energy of the device that ratios refer to, if no row shows it."""
    if energy is None or any(device.device == baseline for device in devices):
        return []
    return [f"/ {baseline}: the ratio to {si(energy)}, the energy on {baseline}."]


def scope_notes(devices: Sequence[DeviceEnergy]) -> list[str]:
    """Return a note on every statement about measured networks, with the devices it holds for."""
    scopes = dict.fromkeys(device.scope for device in devices if device.scope)
    return [
        f"{', '.join(device.device for device in devices if device.scope == scope)}: {scope}."
        for scope in scopes
    ]


def break_even_cells(layers: Sequence[BreakEven], rival: QuantisedRival) -> Cells:
    """Return headers and rows of the table of break-even rates."""
    headers = ["Layer", "Device", "Rate [Hz]", "Break-even [Hz]", "Wins?", "Spikes/step"]
    rows = [
        [
            layer.layer,
            layer.device,
            number(layer.rate),
            _threshold(layer.break_even_rate),
            yes_no(layer.wins),
            number(layer.spikes_per_step),
            rival.verdict(layer.spikes_per_step),
        ]
        for layer in layers
    ]
    return [*headers, "Quantised?"], rows


def _threshold(value: float | None) -> str:
    if value is None:
        return "-"
    return "never" if value <= 0 else number(value, 4)


def winner_notes(found: Sequence[Winner]) -> list[str]:
    """Return notes on the winner under every energy model, and on models that disagree."""
    notes = [_winner_note(winner) for winner in found]
    by_side = {
        side: " and by ".join(_MODELS[winner.model] for winner in found if winner.side == side)
        for side in ("spiking", "ordinary")
    }
    if all(by_side.values()):
        notes.append(
            f"The models disagree about the winner: spiking by {by_side['spiking']}, ordinary by "
            f"{by_side['ordinary']}."
        )
    return notes


def _winner_note(winner: Winner) -> str:
    spiking, ordinary = winner.spiking, winner.ordinary
    first, second = sorted((spiking, ordinary), key=lambda device: device.energy)
    if first.energy == second.energy:
        devices = f"{first.device} and {second.device}"
        return f"By {_MODELS[winner.model]}: {devices} need {si(first.energy)} each: no winner."
    times = f"{number(winner.factor)} times less" if first.energy else "less"
    text = (
        f"By {_MODELS[winner.model]}: {first.device} ({si(first.energy)}) needs {times} than "
        f"{second.device} ({si(second.energy)})"
    )
    if winner.side is None:
        return f"{text}, but the ranges overlap: no winner."
    return f"{text}: the {winner.side} network wins."


def quantised_notes(rival: QuantisedRival, timesteps: int) -> list[str]:
    """Return notes on the break-even with the quantised rival and its sensitivity."""
    parts = "; ".join(
        f"{name} {min(pair):.1%} to {max(pair):.1%}" for name, *pair in rival.sensitivity
    )
    steps = plural(timesteps, "step")
    text = (
        f"Quantised?: whether the layer needs less than in an ordinary network of {rival.bits}-bit "
        f"activations and {rival.weight_bits}-bit weights, which carries as much as {steps} "
        f"(arXiv 2409.08290). Break-even: {rival.spikes:.1%} of the inputs spike in a step; "
        f"{rival.low:.1%} to {rival.high:.1%} if one assumption is off by half, and rates between "
        f"these are close. By assumption: {parts}. The energies of weights and multiply-adds are "
        "inferred from the results of the source."
    )
    first, last = _STEPS
    if not first <= timesteps <= last:
        text += f" The source looks at {first} to {last} steps only."
    return [text]


def wrapped(notes: Sequence[str]) -> list[str]:
    """Wrap notes to lines for printing."""
    return [line for note in notes for line in textwrap.wrap(note, 98, break_on_hyphens=False)]
