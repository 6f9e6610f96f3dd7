"""Devices whose energies are fitted to published measurements.

The tables are in ``measurements/``. `keyword_spotter.csv` holds dynamic energies: running minus
idle power, divided by inferences per second. `mlperf_tiny.csv` holds energies of whole boards.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from kspike_energy.devices.device import Device
from kspike_energy.devices.fit import Measurement, fit
from kspike_energy.devices.overhead import Workload

__all__ = ["keyword_spotter_measurements", "keyword_spotter_workload", "measured_devices"]

_BLOUW = (
    "Blouw, Choo, Hunsberger, Eliasmith, 'Benchmarking keyword spotting efficiency on neuromorphic "
    "hardware', NICE 2019 (arXiv 1812.01739), wattmeter logs published with it"
)
_MLPERF = "MLPerf Tiny {round}, closed division, energy mode, MLCommons, {year}; {submitter}"
_YEARS = {"v0.7": 2022, "v1.1": 2023}

# Device name, the rows that it is fitted to (device, prefix of the run), terms, hardware.
_SPOTTERS = [
    ("xeon-e5-2630", "cpu", "cpu", ("call", "kernel", "op"), "workstation with Intel Xeon E5-2630"),
    ("quadro-k4000", "gpu", "gpu", ("call", "kernel", "op"), "Nvidia Quadro K4000"),
    ("jetson-tx1", "jetson", "jetson", ("call", "op"), "Nvidia Jetson TX1, one network"),
    ("movidius-ncs", "movidius", "movidius", ("call", "kernel", "op"), "Intel Movidius NCS"),
    (
        "loihi-measured",
        "loihi",
        "loihi_I08O08",
        ("call", "kernel", "op"),
        "Intel Loihi (Wolf Mountain board), configuration I08O08 at 114 to 126 inferences per "
        "second; time steps and firing rates are not published, so operations are those of the "
        "ordinary network",
    ),
    (
        "loihi-measured-fast",
        "loihi",
        "loihi_run",
        ("call",),
        "Intel Loihi (Wolf Mountain board), configuration at 297 inferences per second; one "
        "network, so one energy per call",
    ),
]

# Multiply-adds per inference, and number of layers, of the networks of MLPerf Tiny.
_TINY = {
    "ad": (264_192, 10),
    "kws": (2_656_768, 10),
    "vww": (7_489_664, 28),
    "ic": (12_501_632, 10),
}


def _rows(name: str) -> list[dict[str, str]]:
    text = files("kspike_energy.devices").joinpath(f"measurements/{name}").read_text()
    return list(csv.DictReader(text.splitlines()))


def keyword_spotter_workload(layers: int, copies: int, batch_size: int) -> Workload:
    """Return the workload of a keyword spotter.

    It has 390 inputs, a dense layer of 256 units, ``copies`` branches of ``layers`` dense layers of
    256, a dense layer of 256 on all branches, and a dense layer of 29.
    """
    branches = copies if layers else 1
    operations = 390 * 256 + branches * (layers + 1) * 256 * 256 + 256 * 29
    return Workload(operations, 3 + branches * layers, batch_size, frozenset({"Dense"}))


def keyword_spotter_measurements(device: str, run: str = "") -> list[Measurement]:
    """Return the keyword spotters' measurements on a device, of runs whose name has a prefix."""
    return [
        Measurement(
            keyword_spotter_workload(
                int(row["extra_layers"]), int(row["copies"]), int(row["batch_size"])
            ),
            float(row["dynamic_j_per_inference"]),
        )
        for row in _rows("keyword_spotter.csv")
        if row["device"] == device and row["run"].startswith(run)
    ]


def _keyword_spotters() -> Iterator[Device]:
    for name, device, run, terms, hardware in _SPOTTERS:
        measurements = keyword_spotter_measurements(device, run)
        yield fit(
            name,
            measurements,
            terms=terms,
            spiking=device == "loihi",
            family="dense networks",
            source=_BLOUW,
            description=f"{hardware}; dynamic energy above idle, fitted to {len(measurements)} "
            "measurements of keyword spotters",
        )


def _boards() -> Iterator[Device]:
    """Yield the boards of MLPerf Tiny with more than one measured network."""
    groups: dict[tuple[str, str, str], list[Measurement]] = defaultdict(list)
    for row in _rows("mlperf_tiny.csv"):
        operations, kernels = _TINY[row["network"]]
        joules = float(row["microjoules_per_inference"]) * 1e-6
        key = (row["round"], row["submitter"], row["board"])
        groups[key].append(Measurement(Workload(operations, kernels), joules))
    for (edition, submitter, board), measurements in groups.items():
        if len(measurements) < 2:
            continue
        slug = board.lower().replace("_", "-").removesuffix("-q")
        yield fit(
            f"{slug}-{edition}",
            measurements,
            terms=("op",),
            family="8-bit networks of MLPerf Tiny",
            source=_MLPERF.format(round=edition, year=_YEARS[edition], submitter=submitter),
            description=f"{board}, 8-bit; one energy per multiply-add for the whole board, fitted "
            f"to {len(measurements)} networks",
        )


@cache
def measured_devices() -> tuple[Device, ...]:
    """Return the devices whose energies are fitted to published measurements."""
    return (*_keyword_spotters(), *_boards())
