"""Devices with published energies per operation, and the sources of the figures.

A device without a published figure for unit updates has None in its place, and its totals say that
they cover synaptic operations only. Ranges span the figures of several sources for one device.
"""

from dataclasses import replace

from kspike_energy.devices.device import Device
from kspike_energy.devices.measured import measured_devices
from kspike_energy.devices.memory import HOROWITZ
from kspike_energy.devices.table import DeviceTable

__all__ = ["published_devices"]

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
    "Horowitz, 'Computing's energy problem (and what we can do about it)', ISSCC 2014, 10-14, "
    "figure 1.1.9"
)
_LEMAIRE = (
    "Lemaire et al., 'An analytical estimation of spiking neural networks energy efficiency', "
    "ICONIP 2022 (arXiv 2210.13107)"
)
# The implementations against which the formulas of the memory model were checked.
_QUALIA = "Novac, 'qualia-plugin-snn', 2023 (github.com/LEAT-EDGE/qualia-plugin-snn)"
_SPIKINGJELLY = (
    "Fang et al., 'SpikingJelly: an open-source machine learning infrastructure platform for "
    "spike-based intelligence', Science Advances 9(40), eadi1480, 2023"
)
_SENECA = (
    "Tang et al., 'SENECA: building a fully digital neuromorphic processor, design trade-offs "
    "and challenges', Frontiers in Neuroscience 17, 2023, Table 3 (PMC10326429)"
)


def _logic(name: str, joules: float, operation: str, *, spiking: bool) -> Device:
    """Return a device of bare 45 nm arithmetic: no memory, no control."""
    return Device(
        name,
        energy_per_synop=joules,
        # A unit update of an ordinary network counts as one more multiply-add, as for the cpu. No
        # figure is published for a spiking neuron in bare logic.
        energy_per_neuron=None if spiking else joules,
        spiking=spiking,
        source=_HOROWITZ,
        description=f"45 nm logic at 0.9 V, one {operation}; arithmetic only, no memory",
    )


def _with_memory(name: str, *, spiking: bool) -> Device:
    """Return a device of 45 nm arithmetic and SRAM, for one side of a comparison."""
    return Device(
        name,
        energy_per_synop=HOROWITZ.add if spiking else HOROWITZ.multiply_add,
        energy_per_neuron=0.0,  # the memory model has its own energies of unit updates
        spiking=spiking,
        source=f"{_LEMAIRE}; formulas: {_QUALIA}; formulas: {_SPIKINGJELLY}; energies: {_HOROWITZ}",
        description="45 nm at 0.9 V: 32-bit integers, and every access to weights, potentials, "
        "activations and queues, in SRAM of the layer's size",
        memory=HOROWITZ,
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


_MULTIPLY_ADD = "each synaptic operation and unit update is one multiply-add"

_DEVICES = [
    Device("cpu", 8.6e-9, 8.6e-9, False, _DEGNAN, f"Intel i7-4960X; {_MULTIPLY_ADD}"),
    Device(
        "gpu",
        0.3e-9,
        0.3e-9,
        False,
        _DEGNAN,
        f"Nvidia GTX Titan Black, fully used by large batches; {_MULTIPLY_ADD}",
    ),
    Device("arm", 0.9e-9, 0.9e-9, False, _DEGNAN, f"ARM Cortex-A; {_MULTIPLY_ADD}"),
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


def published_devices() -> DeviceTable:
    """Return a table of the devices with published figures.

    Returns
    -------
    DeviceTable
        KerasSpiking's six first, then other published ones, those with a memory model, and those
        fitted to measurements.

    Examples
    --------
    >>> published_devices()["loihi"].energy_per_synop
    2.71e-11
    """
    memory = [
        _with_memory("45nm-int32-sram", spiking=False),
        _with_memory("45nm-int32-sram-spiking", spiking=True),
    ]
    devices = [*_DEVICES, *memory, *measured_devices()]
    return DeviceTable({device.name: replace(device) for device in devices})
