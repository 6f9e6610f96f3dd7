"""Energies per call, kernel and operation, fitted to measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kspike_energy.devices.device import Device
from kspike_energy.devices.overhead import Fit, Workload
from kspike_energy.presentation.units import plural

__all__ = ["TERMS", "Measurement", "fit"]

TERMS = ("call", "kernel", "op")


@dataclass(frozen=True)
class Measurement:
    """A measured workload, and its joules per inference."""

    workload: Workload
    joules: float


def fit(
    name: str,
    measurements: Sequence[Measurement],
    *,
    terms: Sequence[str] = TERMS,
    spiking: bool = False,
    family: str = "networks",
    source: str = "",
    description: str = "",
) -> Device:
    """Return a device whose energies are fitted to measurements.

    `kspike_energy.fit_device` describes the fit and the other parameters.

    Parameters
    ----------
    measurements : sequence of Measurement
        More measurements than terms.
    terms : sequence of {"call", "kernel", "op"}, optional
        The energies to fit; others are zero.

    Raises
    ------
    ValueError
        If there are too few measurements, they cannot separate the terms, or their numbers are
        too large or too small for floating-point numbers.
    """
    terms = [term for term in TERMS if term in terms]
    count = len(terms)
    if len(measurements) < count + 1:
        raise ValueError(
            f"fitting and testing {plural(count, 'term')} needs at least {count + 1} "
            f"measurements. Received: {len(measurements)} for device {name!r}"
        )
    features = np.array([_features(m.workload, terms) for m in measurements])
    energies = np.array([m.joules * m.workload.batch_size for m in measurements])
    ratios, scale = _scaled(features, energies, name)
    if np.linalg.matrix_rank(ratios) < count:
        raise ValueError(
            f"measurements of device {name!r} cannot separate the terms {', '.join(terms)}: "
            "measure more networks or batch sizes, or fit fewer terms with terms="
        )
    found = dict(zip(terms, (_solve(ratios) / scale).tolist(), strict=True))
    workloads = [m.workload for m in measurements]
    operation = found.get("op", 0.0)
    return Device(
        name,
        energy_per_synop=operation,
        energy_per_neuron=0.0,
        spiking=spiking,
        source=source,
        description=description,
        energy_per_call=found.get("call", 0.0),
        energy_per_kernel=found.get("kernel", 0.0),
        energy_per_op=operation,
        fit=Fit(
            family,
            _left_out(ratios),
            _range([w.operations for w in workloads]),
            _range([w.kernels for w in workloads]) if all(w.kernels for w in workloads) else None,
            _range([w.batch_size for w in workloads]),
            _kinds(workloads),
        ),
    )


def _features(workload: Workload, terms: Sequence[str]) -> list[float]:
    """Return the coefficients of the terms in the energy of one call."""
    every = {
        "call": 1.0,
        "kernel": float(workload.kernels),
        "op": float(workload.operations * workload.batch_size),
    }
    return [every[term] for term in terms]


def _scaled(
    features: NDArray[np.float64], energies: NDArray[np.float64], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return features per joule with a largest value of 1 in every column, and the scales.

    Operations and calls differ by many orders of magnitude, beyond which least squares would drop
    the smaller one.

    Raises
    ------
    ValueError
        If a ratio is too large or too small for a floating-point number.
    """
    with np.errstate(over="ignore", divide="ignore"):
        ratios = features / energies[:, None]
    if not np.all(np.isfinite(ratios) & (ratios > 0)):
        raise ValueError(
            f"measurements of device {name!r} are too large or too small for floating-point "
            "numbers: check joules (J per inference), operations and batch_size"
        )
    scale = ratios.max(axis=0)
    return ratios / scale, scale


def _solve(ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the non-negative least-squares solution of ``ratios @ energies = 1``.

    The solution of the non-negative problem is the ordinary one for some subset of its terms, and
    three terms have only seven subsets. A single term takes a geometric mean instead.
    """
    count = ratios.shape[1]
    if count == 1:
        mean: NDArray[np.float64] = np.exp(-np.mean(np.log(ratios), axis=0))
        return mean
    best: NDArray[np.float64] = np.zeros(count)
    smallest = np.inf
    for size in range(1, count + 1):
        for chosen in map(list, combinations(range(count), size)):
            part, _, rank, _ = np.linalg.lstsq(ratios[:, chosen], np.ones(len(ratios)), rcond=None)
            error = float(np.sum((ratios[:, chosen] @ part - 1) ** 2))
            if rank == size and np.all(part >= 0) and error < smallest:
                best = np.zeros(count)
                best[chosen] = part
                smallest = error
    return best


def _left_out(ratios: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the factors between every measurement and its prediction from all the others."""
    factors = []
    for index in range(len(ratios)):
        others = np.delete(ratios, index, axis=0)
        predicted = float(ratios[index] @ _solve(others))
        factors.append(max(predicted, 1 / predicted) if predicted > 0 else np.inf)
    return tuple(factors)


def _range(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def _kinds(workloads: Sequence[Workload]) -> tuple[str, ...]:
    """Return the types of all measured layers; empty if a measurement does not state its own."""
    if not all(workload.kinds for workload in workloads):
        return ()
    return tuple(sorted(frozenset().union(*(workload.kinds for workload in workloads))))
