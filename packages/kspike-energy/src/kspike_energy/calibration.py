"""Devices fitted to a user's own measurements."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from kspike_energy.checks import check_names, check_whole, did_you_mean, real
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
        If a row is incomplete or has both a model and counts, a figure is not positive, there are
        too few rows, or the rows do not tell the terms apart.

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
    if hasattr(measurements, "columns") and hasattr(measurements, "isna"):  # of pandas
        measurements = _rows_of_frame(measurements)
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
    found = [_measurement(index, row) for index, row in enumerate(rows)]
    unknown = [index for index, one in enumerate(found) if not one.workload.kernels]
    if "kernel" in terms and unknown:
        raise ValueError(
            f"kernels of measurements[{unknown[0]}] must be stated to fit the term 'kernel'"
        )
    return fit(
        name,
        found,
        terms=terms,
        spiking=spiking,
        family=family,
        source=source,
        description=description,
    )


def _rows_of_frame(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a pandas.DataFrame without their missing values, but for joules."""
    rows, missing = frame.to_dict("records"), frame.isna().to_dict("records")
    return [
        {key: row[key] for key in row if key == "joules" or not absent[key]}
        for row, absent in zip(rows, missing, strict=True)
    ]


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
    counts = [key for key in ("operations", "kernels") if key in row]
    if "model" in row and counts:
        raise ValueError(
            f"{where} must have either 'model' or counts. Received: 'model' and {counts}"
        )
    if not ("model" in row or "operations" in row):
        raise ValueError(f"{where} must have 'model' or 'operations'. Received: {sorted(row)}")
    operations, kernels, batch_size = (
        check_whole(f"{key} of {where}", _whole(row.get(key, 1)), 1)
        for key in ("operations", "kernels", "batch_size")
    )
    if "model" in row:
        return Measurement(_workload(where, row["model"], batch_size), joules)
    known = kernels if "kernels" in row else 0
    return Measurement(Workload(operations, known, batch_size), joules)


def _workload(where: str, model: object, batch_size: int) -> Workload:
    """Return the workload of a model, which must have operations."""
    try:
        energy = model if isinstance(model, ModelEnergy) else ModelEnergy(model)
    except TypeError as error:
        raise TypeError(f"model of {where}: {error}") from error
    workload = energy.network.workload(batch_size)
    if not workload.operations:
        raise ValueError(f"model of {where} must have operations. Received: 0 connections")
    return workload


def _whole(value: Any) -> Any:
    """Return a whole number written as a float, such as 1e6, as an int."""
    is_float = isinstance(value, Real) and not isinstance(value, Integral)
    return int(value) if is_float and float(value).is_integer() else value
