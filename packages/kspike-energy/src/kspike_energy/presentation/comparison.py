"""A comparison of devices, which prints as tables."""

from dataclasses import asdict, dataclass
from typing import Any

from kspike_energy.presentation.bibliography import bibtex_entries
from kspike_energy.presentation.comparison_data import BreakEven, DeviceEnergy, Winner, winners
from kspike_energy.presentation.comparison_text import (
    baseline_notes,
    break_even_cells,
    device_cells,
    quantised_notes,
    scope_notes,
    winner_notes,
    wrapped,
)
from kspike_energy.presentation.tables import html_table, rich_table, text_table
from kspike_energy.presentation.units import plural, si
from kspike_energy.quantised import QuantisedRival

__all__ = ["Comparison"]

_SHOWN = 6  # devices in one line


@dataclass(frozen=True)
class Comparison:
    """A comparison of devices on one network, which prints as tables.

    Parameters
    ----------
    network, baseline : str
        Names of the network and of the device that ratios refer to.
    timesteps : int
        Time steps per inference on spiking devices.
    dt : float
        Length of a time step, in seconds.
    devices : tuple of DeviceEnergy
        One per device.
    layers : tuple of BreakEven
        One per layer with connections and spiking device.
    quantised : QuantisedRival
        The quantised network of equal information, and the break-even with it.
    left_out : tuple of str
        Layers that could not be counted.
    assumptions : dict
        All assumptions of the estimate.
    baseline_energy : float, optional
        Joules per inference on the device that ratios refer to.
    sources : tuple of str, optional
        Citations of all numbers.
    """

    network: str
    baseline: str
    timesteps: int
    dt: float
    devices: tuple[DeviceEnergy, ...]
    layers: tuple[BreakEven, ...]
    quantised: QuantisedRival
    left_out: tuple[str, ...]
    assumptions: dict[str, Any]
    baseline_energy: float | None = None
    sources: tuple[str, ...] = ()

    @property
    def timesteps_per_inference(self) -> int:
        """Another name for ``timesteps``, as in `ModelEnergy`."""
        return self.timesteps

    @property
    def quantised_bits(self) -> int:
        """Bits that a rate code of T steps carries: ⌈log2(T + 1)⌉."""
        return self.quantised.bits

    @property
    def winners(self) -> tuple[Winner, ...]:
        """The winning side under every energy model with devices of both sides."""
        return winners(self.devices)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        winners = [asdict(winner) for winner in self.winners]
        return {**asdict(self), "quantised_bits": self.quantised_bits, "winners": winners}

    def to_records(self) -> list[dict[str, Any]]:
        """Return one flat dictionary per device, ready for ``pandas.DataFrame``."""
        records = [{**asdict(device), **self.assumptions} for device in self.devices]
        return [{key: record[key] for key in record if key != "readings"} for record in records]

    def bibtex(self) -> str:
        """Return BibTeX entries for the sources of all numbers."""
        return bibtex_entries(self.sources)

    def __repr__(self) -> str:
        found = [f"{device.device} {si(device.energy)}" for device in self.devices]
        more = [f"{len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        return f"<Comparison of {self._title}: {', '.join(found[:_SHOWN] + more)}>"

    def __str__(self) -> str:
        cells = device_cells(self.devices, self.baseline)
        lines = [self._title, *text_table(*cells, 120)]
        lines += wrapped(self._device_notes)
        if self.left_out:
            lines.append(self._gaps)
        lines += wrapped(winner_notes(self.winners))
        if self.layers:
            lines += ["", f"Break-even with {self.baseline}, layer by layer"]
            lines += text_table(*break_even_cells(self.layers, self.quantised), 140)
            lines += wrapped(quantised_notes(self.quantised, self.timesteps))
        return "\n".join(lines)

    @property
    def _title(self) -> str:
        return f"{self.network}: {plural(self.timesteps, 'step')} of {si(self.dt, 's')}"

    @property
    def _gaps(self) -> str:
        return f"Not counted, and left out of all totals: {', '.join(self.left_out)}"

    @property
    def _device_notes(self) -> list[str]:
        baseline = baseline_notes(self.devices, self.baseline, self.baseline_energy)
        return [*baseline, *scope_notes(self.devices)]

    def __rich__(self) -> Any:
        notes = [*self._device_notes, *winner_notes(self.winners)]
        return rich_table(*device_cells(self.devices, self.baseline), notes)

    def _repr_html_(self) -> str:
        gaps = [self._gaps] if self.left_out else []
        notes = [*self._device_notes, *gaps, *winner_notes(self.winners)]
        html = html_table(*device_cells(self.devices, self.baseline), self._title, notes)
        if not self.layers:
            return html
        title = f"Break-even with {self.baseline}, layer by layer"
        cells = break_even_cells(self.layers, self.quantised)
        return html + html_table(*cells, title, quantised_notes(self.quantised, self.timesteps))
