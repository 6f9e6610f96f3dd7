"""Devices and what published sources say that they need per operation.

Every number has a citation. A device without a published figure for neuron updates has None
there, and its totals say that they hold synaptic operations only. ``low`` and ``high`` span the
figures that different sources give for the same device.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict, dataclass, fields, replace
from numbers import Real
from typing import Any

from kspike_energy.suggest import did_you_mean

__all__ = ["Device", "DeviceTable", "built_in_devices"]

_DEGNAN = (
    "Degnan, Marr, Hasler, 'Assessing trends in performance per watt for signal processing "
    "applications', IEEE TVLSI 24(1), 58-66, 2016"
)
_DAVIES = (
    "Davies et al., 'Loihi: a neuromorphic manycore processor with on-chip learning', "
    "IEEE Micro 38(1), 82-99, 2018"
)
_HOEPPNER = (
    "Höppner et al., 'Dynamic power management for neuromorphic many-core systems', "
    "IEEE TCAS-I 66(8), 2973-2986, 2019 (arXiv 1903.08941)"
)
_HOROWITZ = (
    "Horowitz, 'Computing's energy problem (and what we can do about it)', ISSCC 2014, 10-14"
)
_SENECA = (
    "Tang et al., 'SENECA: building a fully digital neuromorphic processor, design trade-offs "
    "and challenges', Frontiers in Neuroscience 17, 2023, Table 3 (PMC10326429)"
)


@dataclass(frozen=True)
class Device:
    """Energy per operation of one device.

    Parameters
    ----------
    name : str
        How estimates refer to it.
    energy_per_synop : float
        Joules per synaptic operation.
    energy_per_neuron : float or None
        Joules per unit update; None where no figure is published.
    spiking : bool
        Whether the device computes only on events, rather than every connection.
    source : str, optional
        Citation.
    description : str, optional
        What was measured, and its scope.
    synop_range, neuron_range : tuple of (float, float), optional
        Lowest and highest published figure, in joules.

    Raises
    ------
    TypeError
        If a figure is not a number or ``spiking`` not a bool.
    ValueError
        If a figure is negative or not finite, or a range does not hold its figure.

    Notes
    -----
    A device reads and writes like KerasSpiking's dictionary of "energy_per_synop",
    "energy_per_neuron" and "spiking"; the other fields can be reached by their names as well. A
    new figure is no longer the published one, so writing it drops the range and the source.

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

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or self.name != self.name.strip():
            raise ValueError(
                f"device_name must be a word of text without spaces around it. "
                f"Received: device_name={self.name!r}"
            )
        _check_energy("energy_per_synop", self.energy_per_synop)
        if self.energy_per_neuron is not None:
            _check_energy("energy_per_neuron", self.energy_per_neuron)
        if not isinstance(self.spiking, bool):
            raise TypeError(f"spiking must be True or False. Received: spiking={self.spiking!r}")
        _check_range("synop_range", self.synop_range, self.energy_per_synop)
        _check_range("neuron_range", self.neuron_range, self.energy_per_neuron)

    def __hash__(self) -> int:
        return hash(self.name)  # the only field that item assignment never changes

    def keys(self) -> tuple[str, ...]:
        """Return the keys of KerasSpiking's dictionary, so that ``dict(device)`` works."""
        return _KEYS

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __len__(self) -> int:
        return len(_KEYS)

    def __getitem__(self, key: str) -> Any:
        if key not in _FIELDS:
            raise KeyError(f"a device has no {key!r}{did_you_mean(key, _FIELDS)}")
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if key not in _FIELDS or key == "name":
            raise KeyError(f"a device has no {key!r} to set{did_you_mean(key, _FIELDS)}")
        changes = {key: value}
        if key in _RANGES and value != self[key]:
            changes |= {_RANGES[key]: None, "source": ""}
        changed = replace(self, **changes)  # checks it as a whole before anything is written
        for name in changes:
            object.__setattr__(self, name, getattr(changed, name))

    def get(self, key: str, default: Any = None) -> Any:
        """Return one field, or ``default`` if there is none of that name."""
        return self[key] if key in _FIELDS else default

    def items(self) -> list[tuple[str, Any]]:
        """Return pairs of key and value."""
        return [(key, self[key]) for key in _KEYS]

    def values(self) -> list[Any]:
        """Return the values."""
        return [self[key] for key in _KEYS]

    @property
    def synop_low_high(self) -> tuple[float, float]:
        """Lowest and highest joules per synaptic operation."""
        return self.synop_range or (self.energy_per_synop, self.energy_per_synop)

    @property
    def neuron_low_high(self) -> tuple[float, float]:
        """Lowest and highest joules per unit update; zero where there is no figure."""
        figure = self.energy_per_neuron or 0.0
        return self.neuron_range or (figure, figure)

    @property
    def has_range(self) -> bool:
        """Whether sources disagree about this device."""
        return self.synop_range is not None or self.neuron_range is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the device as plain data."""
        return asdict(self)


_FIELDS = tuple(field.name for field in fields(Device))
_KEYS = ("energy_per_synop", "energy_per_neuron", "spiking")
# A figure, and the range around it.
_RANGES = {"energy_per_synop": "synop_range", "energy_per_neuron": "neuron_range"}


def _check_energy(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number of joules. Received: {name}={value!r}")
    try:
        joules = float(value)
    except OverflowError:  # an integer beyond the range of floating-point numbers
        joules = math.inf
    if not (math.isfinite(joules) and joules >= 0):
        raise ValueError(f"{name} must not be negative and be finite. Received: {name}={value!r}")


def _check_range(name: str, limits: tuple[float, float] | None, figure: float | None) -> None:
    if limits is None:
        return
    pair = tuple(limits) if isinstance(limits, (tuple, list)) else ()
    for limit in pair:
        _check_energy(name, limit)
    if figure is None or len(pair) != 2 or not pair[0] <= figure <= pair[1]:
        raise ValueError(
            f"{name} must be (low, high) around the figure {figure}. Received: {name}={limits!r}"
        )


class DeviceTable(MutableMapping[str, Device]):
    """The devices that estimates know, by name; prints as a table with sources.

    It reads and writes like KerasSpiking's dictionary: assign a `Device`, or a dictionary of its
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
            If there is none.
        """
        if isinstance(name, str) and name in self._devices:
            return self._devices[name]
        raise ValueError(
            f"device must be one of {sorted(self._devices)}, or registered with "
            f"ModelEnergy.register_device. Received: device={name!r}"
            f"{did_you_mean(name, self._devices)}"
        )

    def add(self, device: Device, *, replace: bool = False) -> None:
        """Add a device.

        Where another one has that name, it is replaced, with a warning unless ``replace``.
        """
        known = self._devices.get(device.name)
        if known is not None and known != device and not replace:
            warnings.warn(
                f"device {device.name!r} was registered already, with other figures "
                f"({known.energy_per_synop} J/synop, {known.energy_per_neuron} J/neuron), and is "
                "replaced; pass replace=True to say that this is meant",
                stacklevel=3,
            )
        self._devices[device.name] = device

    def remove(self, name: str) -> None:
        """Remove a device."""
        del self._devices[self.get_device(name).name]

    def to_records(self) -> list[dict[str, Any]]:
        """Return one dictionary a device, ready for ``pandas.DataFrame``."""
        return [device.to_dict() for device in self.values()]

    def __str__(self) -> str:
        from kspike_energy.presentation.summary import devices_table  # presentation stays apart

        return devices_table(self)

    __repr__ = __str__

    def __rich__(self) -> Any:
        from kspike_energy.presentation.summary import rich_table

        return rich_table(self.to_records())

    def _repr_html_(self) -> str:
        from kspike_energy.presentation.summary import html_table

        return html_table(self.to_records())


def _as_device(name: str, device: "Device | Mapping[str, Any]") -> Device:
    """Return a device from what was assigned to a name.

    Raises
    ------
    TypeError
        If it is neither a device nor a dictionary.
    ValueError
        If a figure is missing, unknown or no energy.
    """
    if isinstance(device, Device):
        return device if device.name == name else replace(device, name=name)
    if not isinstance(device, Mapping):
        raise TypeError(
            f"devices[{name!r}] must be a Device or a dictionary with {list(_KEYS)}. "
            f"Received: {device!r}"
        )
    for key in device:
        if key not in _FIELDS or key == "name":
            raise ValueError(
                f"devices[{name!r}] has no {key!r}; its keys are {list(_KEYS)}"
                f"{did_you_mean(key, _FIELDS)}"
            )
    missing = [key for key in _KEYS if key not in device]
    if missing:
        raise ValueError(f"devices[{name!r}] must have {list(_KEYS)}. Missing: {missing}")
    return Device(name, **device)


def _logic(name: str, joules: float, operation: str, *, spiking: bool) -> Device:
    """Return a device of bare 45 nm arithmetic: no memory, no control."""
    return Device(
        name,
        energy_per_synop=joules,
        # A unit update of an ordinary network is taken as one more multiply-add, as for the cpu;
        # nobody published what a spiking neuron costs in bare logic.
        energy_per_neuron=None if spiking else joules,
        spiking=spiking,
        source=_HOROWITZ,
        description=f"45 nm logic at 0.9 V, one {operation}; arithmetic only, no memory",
    )


def _survey(name: str, picojoules: float, chip: str) -> Device:
    return Device(
        name,
        energy_per_synop=round(picojoules * 1e-12, 16),
        energy_per_neuron=None,
        spiking=True,
        source=_SENECA,
        description=f"{chip}, energy per synaptic operation as surveyed there; "
        "no figure per neuron update",
    )


def built_in_devices() -> DeviceTable:
    """Return a table of the devices that published sources support.

    Returns
    -------
    DeviceTable
        KerasSpiking's six first, then the others.

    Examples
    --------
    >>> built_in_devices()["loihi"].energy_per_synop
    2.71e-11
    """
    cpu = "each synaptic operation and unit update is one multiply-add"
    devices = [
        Device("cpu", 8.6e-9, 8.6e-9, False, _DEGNAN, f"Intel i7-4960X; {cpu}"),
        Device(
            "gpu",
            0.3e-9,
            0.3e-9,
            False,
            _DEGNAN,
            f"Nvidia GTX Titan Black, fully used by large batches; {cpu}",
        ),
        Device("arm", 0.9e-9, 0.9e-9, False, _DEGNAN, f"ARM Cortex-A; {cpu}"),
        Device(
            "loihi",
            27.1e-12,
            81e-12,
            True,
            f"{_DAVIES}; lower figure: {_SENECA}",
            "Intel Loihi; 23.6 pJ per synaptic operation and 3.5 pJ per within-tile spike, "
            "81 pJ per neuron update",
            synop_range=(23.6e-12, 27.1e-12),
        ),
        Device(
            "spinnaker",
            13.3e-9,
            26e-9,
            True,
            f"{_HOEPPNER}; lower figure: {_SENECA}",
            "SpiNNaker",
            synop_range=(45e-12, 13.3e-9),
        ),
        Device(
            "spinnaker2",
            450e-12,
            2.19e-9,
            True,
            f"{_HOEPPNER}; lower figure: {_SENECA}",
            "SpiNNaker 2 prototype",
            synop_range=(10e-12, 450e-12),
        ),
        _logic("45nm-fp32", 4.6e-12, "fp32 multiply-add (3.7 + 0.9 pJ)", spiking=False),
        _logic("45nm-fp16", 1.5e-12, "fp16 multiply-add (1.1 + 0.4 pJ)", spiking=False),
        _logic("45nm-int8", 0.23e-12, "int8 multiply-add (0.2 + 0.03 pJ)", spiking=False),
        _logic("45nm-fp32-spiking", 0.9e-12, "fp32 addition", spiking=True),
        _logic("45nm-fp16-spiking", 0.4e-12, "fp16 addition", spiking=True),
        _logic("45nm-int8-spiking", 0.03e-12, "int8 addition", spiking=True),
        _survey("truenorth", 2.5, "TrueNorth"),
        _survey("tianjic", 1.54, "Tianjic"),
        _survey("neuronflow", 20, "NeuronFlow"),
        _survey("odin", 12.7, "ODIN"),
        _survey("reckon", 5.3, "ReckOn"),
        _survey("ubrain", 26, "µBrain"),
        _survey("seneca", 2.8, "SENECA"),
    ]
    return DeviceTable({device.name: device for device in devices})
