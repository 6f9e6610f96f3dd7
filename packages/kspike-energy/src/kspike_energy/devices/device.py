"""Energy figures of one device."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from kspike_energy.checks import check_energy, did_you_mean
from kspike_energy.devices.memory import Memory
from kspike_energy.devices.overhead import Fit
from kspike_energy.presentation.tables import html_table
from kspike_energy.presentation.units import si, si_range

__all__ = ["FIELDS", "KEYS", "Device"]


@dataclass(frozen=True)
class Device:
    """Energy per operation of one device.

    Parameters
    ----------
    name : str
        Name of the device.
    energy_per_synop : float
        Joules per synaptic operation.
    energy_per_neuron : float or None
        Joules per unit update; None if no figure is published.
    spiking : bool
        Whether the device computes only on events, rather than on every connection.
    source : str, optional
        Citation.
    description : str, optional
        Scope of the figures.
    synop_range, neuron_range : tuple of (float, float), optional
        Lowest and highest published figure, in joules.
    energy_per_call, energy_per_kernel : float, optional
        Joules per call of the whole network, and per layer that a runtime launches, for any batch
        size.
    energy_per_op : float, optional
        Joules per multiply-add of the whole network, counted as an ordinary one. Replaces the
        energies per synaptic operation and unit update.
    fit : Fit, optional
        Accuracy and scope of energies that were fitted to measurements.
    memory : Memory, optional
        Energies of memory accesses and integer arithmetic. Replaces the energies per synaptic
        operation and unit update.

    Raises
    ------
    TypeError
        If a figure is not a number or ``spiking`` not a bool.
    ValueError
        If a figure is negative or not finite, or a range does not contain its figure.

    Notes
    -----
    A device behaves like KerasSpiking's dictionary of "energy_per_synop", "energy_per_neuron" and
    "spiking"; the keys of other fields are their names. Assigning a new figure drops its range and
    the source, because both belong to the published figure.

    Examples
    --------
    >>> mine = Device(
    ...     "mine", energy_per_synop=1e-12, energy_per_neuron=None, spiking=True
    ... )
    >>> mine.spiking
    True
    >>> mine["energy_per_neuron"] = 2e-12
    >>> dict(mine)
    {'energy_per_synop': 1e-12, 'energy_per_neuron': 2e-12, 'spiking': True}
    """

    name: str
    energy_per_synop: float
    energy_per_neuron: float | None
    spiking: bool
    source: str = ""
    description: str = ""
    synop_range: tuple[float, float] | None = None
    neuron_range: tuple[float, float] | None = None
    energy_per_call: float = 0.0
    energy_per_kernel: float = 0.0
    energy_per_op: float | None = None
    fit: Fit | None = None
    memory: Memory | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or self.name != self.name.strip():
            raise ValueError(
                f"device_name must be a word of text without spaces around it. "
                f"Received: device_name={self.name!r}"
            )
        check_energy("energy_per_synop", self.energy_per_synop)
        if self.energy_per_neuron is not None:
            check_energy("energy_per_neuron", self.energy_per_neuron)
        if not isinstance(self.spiking, bool):
            raise TypeError(f"spiking must be True or False. Received: spiking={self.spiking!r}")
        for name in ("energy_per_call", "energy_per_kernel", "energy_per_op"):
            if self[name] is not None:
                check_energy(name, self[name])
        if self.fit is not None and not isinstance(self.fit, Fit):
            raise TypeError(f"fit must be the Fit of a fitted device. Received: fit={self.fit!r}")
        if self.memory is not None and not isinstance(self.memory, Memory):
            raise TypeError(
                f"memory must be a Memory of energies. Received: memory={self.memory!r}"
            )
        _check_range("synop_range", self.synop_range, self.energy_per_synop)
        _check_range("neuron_range", self.neuron_range, self.energy_per_neuron)

    def __hash__(self) -> int:
        return hash(self.name)  # the only field that item assignment never changes

    def keys(self) -> tuple[str, ...]:
        """Return the keys of KerasSpiking's dictionary, so that ``dict(device)`` works."""
        return KEYS

    def __iter__(self) -> Iterator[str]:
        return iter(KEYS)

    def __len__(self) -> int:
        return len(KEYS)

    def __getitem__(self, key: str) -> Any:
        if key not in FIELDS:
            raise KeyError(f"a device has no {key!r}{did_you_mean(key, FIELDS)}")
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in FIELDS or key == "name":
            raise KeyError(f"a device has no {key!r} to set{did_you_mean(key, FIELDS)}")
        changes = {key: value}
        if key in _RANGES and value != self[key]:
            changes |= {_RANGES[key]: None, "source": ""}
        changed = replace(self, **changes)  # checks all fields before any is written
        for name in changes:
            object.__setattr__(self, name, getattr(changed, name))

    def get(self, key: str, default: Any = None) -> Any:
        """Return one field, or ``default`` if no field has that name."""
        return self[key] if key in FIELDS else default

    def items(self) -> list[tuple[str, Any]]:
        """Return pairs of key and value."""
        return [(key, self[key]) for key in KEYS]

    def values(self) -> list[Any]:
        """Return the values."""
        return [self[key] for key in KEYS]

    @property
    def synop_low_high(self) -> tuple[float, float]:
        """Lowest and highest joules per synaptic operation."""
        return self.synop_range or (self.energy_per_synop, self.energy_per_synop)

    @property
    def neuron_low_high(self) -> tuple[float, float]:
        """Lowest and highest joules per unit update; zeros without a figure."""
        figure = self.energy_per_neuron or 0.0
        return self.neuron_range or (figure, figure)

    @property
    def needs_rates(self) -> bool:
        """Whether estimates need firing rates and time steps."""
        return self.spiking and self.energy_per_op is None

    @property
    def has_range(self) -> bool:
        """Whether figures of this device span a range."""
        ranges = (self.synop_range, self.neuron_range, self.memory)
        return any(one is not None for one in ranges)

    @property
    def model(self) -> str:
        """Energy model: "memory", "measured" or "operations"."""
        if self.memory is not None:
            return "memory"
        return "operations" if self.energy_per_op is None else "measured"

    def to_dict(self) -> dict[str, Any]:
        """Return the device as plain data."""
        return asdict(self)

    def _repr_html_(self) -> str:
        notes = [note for note in (self.description, self.source) if note]
        return html_table(("Energy", "per operation"), self._figures(), self.name, notes)

    def _figures(self) -> list[list[str]]:
        """Return the energies as rows of text."""
        rows = [["synaptic operation", si(self.energy_per_synop)]]
        if self.energy_per_op is not None:
            rows = [["call", si(self.energy_per_call)], ["kernel", si(self.energy_per_kernel)]]
            rows.append(["multiply-add", si(self.energy_per_op)])
            return rows
        if self.memory is not None:
            memory = self.memory
            rows = [["addition", si(memory.add)], ["multiplication", si(memory.multiply)]]
            accesses = [(f"access to {size // 1024:,} KiB", si(e)) for size, e in memory.accesses]
            return [*rows, *map(list, accesses)]
        neuron = self.energy_per_neuron
        rows.append(["unit update", "not published" if neuron is None else si(neuron)])
        if self.synop_range:
            rows.append(["synaptic operation, all sources", si_range(*self.synop_range)])
        if self.neuron_range:
            rows.append(["unit update, all sources", si_range(*self.neuron_range)])
        return rows


FIELDS = tuple(field.name for field in fields(Device))
KEYS = ("energy_per_synop", "energy_per_neuron", "spiking")
# The range that belongs to every figure.
_RANGES = {"energy_per_synop": "synop_range", "energy_per_neuron": "neuron_range"}


def _check_range(name: str, limits: tuple[float, float] | None, figure: float | None) -> None:
    if limits is None:
        return
    pair = tuple(limits) if isinstance(limits, (tuple, list)) else ()
    for limit in pair:
        check_energy(name, limit)
    if figure is None or len(pair) != 2 or not pair[0] <= figure <= pair[1]:
        raise ValueError(
            f"{name} must be (low, high) around the figure {figure}. Received: {name}={limits!r}"
        )
