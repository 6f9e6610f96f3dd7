"""Devices fitted to a user's own measurements."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kspike_energy.checks import check_count, check_names, check_whole, did_you_mean, real
from kspike_energy.devices.device import Device
from kspike_energy.devices.fit import TERMS, Measurement, fit
from kspike_energy.devices.overhead import Workload
from kspike_energy.model_energy import ModelEnergy

__all__ = ["fit_device"]

_KEYS = ("model", "operations", "kernels", "batch_size", "joules")


def fit_device(
    name: str,
    measurements: Iterable[Mapping[str, Any]],
    *,
    terms: Sequence[str] | None = None,
    spiking: bool = False,
    family: str = "networks",
    source: str = "",
    description: str = "",
) -> Device:
    """Return a device whose energies are fitted to measurements.

    The energy of a call is E_call + E_kernel · kernels + E_op · operations · batch size. The fit
    minimises the sum of squared relative errors, with no energy below zero. A single term is the
    geometric mean of its ratios. ``device.fit`` holds the leave-one-out errors: the factor between
    every measurement and its prediction from all the others.

    Parameters
    ----------
    name : str
        Name of the device.
    measurements : iterable of mapping, or pandas.DataFrame
        One row per measurement: "joules" per inference; "model" (anything that `ModelEnergy`
        takes, or a `ModelEnergy`), or "operations" (multiply-adds per inference) and optionally
        "kernels" (layers that the runtime launches); and optionally "batch_size".
    terms : sequence of {"call", "kernel", "op"}, optional
        The energies to fit; by default all that the rows have data for.
    spiking, source, description : optional
        As in `Device`.
    family : str, optional
        Description of the measured networks, for reports.

    Returns
    -------
    Device
        The device. To register it, assign it to ``ModelEnergy.devices[name]``.

    Raises
    ------
    TypeError, ValueError
        If a row is incomplete, a figure is not positive, there are too few rows, or the rows do
        not tell the terms apart.

    Examples
    --------
    >>> rows = [
    ...     {"operations": 1e6 * n, "batch_size": b, "joules": 1e-3 / b + 2e-9 * 1e6 * n}
    ...     for n in (1, 2, 5)
    ...     for b in (1, 8)
    ... ]
    >>> board = fit_device("my-board", rows)
    >>> f"{board.energy_per_call:.3g} J, {board.energy_per_op:.3g} J, {board.fit.worst:.3f}"
    '0.001 J, 2e-09 J, 1.000'
    """
    if hasattr(measurements, "to_dict"):  # a pandas.DataFrame
        measurements = measurements.to_dict("records")
    if not isinstance(measurements, Iterable) or isinstance(measurements, (str, Mapping)):
        raise TypeError(f"measurements must be a list of rows. Received: {measurements!r}")
    rows = list(measurements)
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"measurements[{index}] must be a dictionary. Received: {row!r}")
    if terms is None:
        known = all("model" in row or "kernels" in row for row in rows)
        terms = TERMS if known else ("call", "op")
    check_names("terms", terms)
    if not terms:
        raise ValueError(f"terms must name at least one of {TERMS}. Received: terms={terms!r}")
    for term in terms:
        if term not in TERMS:
            raise ValueError(
                f"terms must be among {TERMS}. Received: {term!r}{did_you_mean(term, TERMS)}"
            )
    return fit(
        name,
        [_measurement(index, row) for index, row in enumerate(rows)],
        terms=terms,
        spiking=spiking,
        family=family,
        source=source,
        description=description,
    )


def _measurement(index: int, row: Mapping[str, Any]) -> Measurement:
    """Check a row, and return it as a measurement."""
    where = f"measurements[{index}]"
    for key in row:
        if key not in _KEYS:
            raise ValueError(f"{where} has no {key!r}{did_you_mean(key, _KEYS)}")
    joules = real(row.get("joules"))
    if joules is None or not 0 < joules < float("inf"):
        raise ValueError(
            f"joules of {where} must be a positive number. Received: {row.get('joules')!r}"
        )
    batch_size = check_count(f"batch_size of {where}", row.get("batch_size", 1))
    if "model" in row:
        return Measurement(_workload(row["model"], batch_size), joules)
    if "operations" not in row:
        raise ValueError(f"{where} must have 'model' or 'operations'. Received: {sorted(row)}")
    operations, kernels = (
        check_whole(f"{key} of {where}", _whole(row.get(key, 1)), 1)
        for key in ("operations", "kernels")
    )
    return Measurement(Workload(operations, kernels, batch_size), joules)


def _workload(model: object, batch_size: int) -> Workload:
    energy = model if isinstance(model, ModelEnergy) else ModelEnergy(model)
    return energy.network.workload(batch_size)


def _whole(value: Any) -> Any:
    """Return a whole number written as a float, such as 1e6, as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
