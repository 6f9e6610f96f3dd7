"""The table of known devices, by name."""

import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import replace as changed
from typing import Any

from kspike_energy.checks import did_you_mean, level_of_user
from kspike_energy.devices.device import FIELDS, KEYS, Device
from kspike_energy.presentation.tables import html_table, rich_table, text_table, yes_no
from kspike_energy.presentation.units import si, si_range

__all__ = ["DeviceTable"]


class DeviceTable(MutableMapping[str, Device]):
    """Devices by name, which print as a table with sources.

    The table behaves like KerasSpiking's dictionary: assign a `Device`, or a dictionary of its
    figures.
    """

    def __init__(self, devices: Mapping[str, Device]) -> None:
        self._devices = dict(devices)

    def __getitem__(self, name: str) -> Device:
        if name not in self._devices:
            raise KeyError(f"no device {name!r}{did_you_mean(name, self._devices)}")
        return self._devices[name]

    def __setitem__(self, name: str, device: "Device | Mapping[str, Any]") -> None:
        self._devices[name] = _as_device(name, device)

    def __delitem__(self, name: str) -> None:
        del self._devices[self[name].name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)

    def get_device(self, name: object) -> Device:
        """Return the device of that name.

        Raises
        ------
        ValueError
            If no device has that name.
        """
        if isinstance(name, str) and name in self._devices:
            return self._devices[name]
        raise ValueError(
            f"device must be one of {sorted(self._devices)}, or registered with "
            f"ModelEnergy.register_device. Received: device={name!r}"
            f"{did_you_mean(name, self._devices)}"
        )

    def add(self, device: Device, *, replace: bool = False) -> None:
        """Add a device; warn if it replaces a different one, unless ``replace`` is True."""
        known = self._devices.get(device.name)
        if known is not None and known != device and not replace:
            warnings.warn(
                f"device {device.name!r} was registered already, with other figures "
                f"({known.energy_per_synop} J/synop, {known.energy_per_neuron} J/neuron); "
                "the new device replaces it. Pass replace=True if this is intended",
                stacklevel=level_of_user(),
            )
        self._devices[device.name] = device

    def remove(self, name: str) -> None:
        """Remove a device."""
        del self._devices[self.get_device(name).name]

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dictionary per device, ready for ``pandas.DataFrame``."""
        return [device.to_dict() for device in self.values()]

    @property
    def _sources(self) -> list[str]:
        """Distinct sources of all devices."""
        return list(dict.fromkeys(device.source for device in self.values()))

    def _rows(self) -> list[list[str]]:
        """Return the figures of every device as text."""
        sources = self._sources
        return [[*_cells(d), f"[{sources.index(d.source) + 1}]"] for d in self.values()]

    def _notes(self) -> list[str]:
        """Return the numbered sources."""
        sources = enumerate(self._sources, start=1)
        return [f"[{index}] {source or 'no source stated'}" for index, source in sources]

    def __str__(self) -> str:
        return "\n".join([*text_table(_HEADERS, self._rows(), 130), *self._notes()])

    __repr__ = __str__

    def __rich__(self) -> Any:
        return rich_table(_HEADERS, self._rows(), self._notes())

    def _repr_html_(self) -> str:
        return html_table(_HEADERS, self._rows(), "Energy per operation", self._notes())


_HEADERS = (
    "Device",
    "Spiking?",
    "per synop",
    "per neuron",
    "range per synop",
    "per call",
    "per kernel",
    "Source",
)


def _cells(device: Device) -> list[str]:
    """Return the figures of a device as text."""
    neuron = device.energy_per_neuron
    return [
        device.name,
        yes_no(device.spiking),
        si(device.energy_per_synop),
        "-" if neuron is None else si(neuron),
        si_range(*device.synop_low_high),
        si(device.energy_per_call) if device.energy_per_call else "",
        si(device.energy_per_kernel) if device.energy_per_kernel else "",
    ]


def _as_device(name: str, device: "Device | Mapping[str, Any]") -> Device:
    """Convert a value that was assigned to a name to a device.

    Raises
    ------
    TypeError
        If it is neither a device nor a dictionary.
    ValueError
        If a figure is missing, unknown, or not a valid energy.
    """
    if isinstance(device, Device):
        return device if device.name == name else changed(device, name=name)
    if not isinstance(device, Mapping):
        raise TypeError(
            f"devices[{name!r}] must be a Device or a dictionary with {list(KEYS)}. "
            f"Received: {device!r}"
        )
    for key in device:
        if key not in FIELDS or key == "name":
            raise ValueError(
                f"devices[{name!r}] has no {key!r}; its keys are {list(KEYS)}"
                f"{did_you_mean(key, FIELDS)}"
            )
    missing = [key for key in KEYS if key not in device]
    if missing:
        raise ValueError(f"devices[{name!r}] must have {list(KEYS)}. Missing: {missing}")
    return Device(name, **device)
