"""Methods of `ModelEnergy` that report an estimate as text or data."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from kspike_energy.checks import check_count, check_names
from kspike_energy.compare import device_names, sources
from kspike_energy.devices import Device
from kspike_energy.estimate import Estimate
from kspike_energy.presentation.bibliography import bibtex_entries
from kspike_energy.presentation.export import estimate_dict, estimate_records
from kspike_energy.presentation.html import html_report
from kspike_energy.presentation.paper import latex_table, markdown_table
from kspike_energy.presentation.summary import summary_text
from kspike_energy.registry import DEVICES

__all__ = [
    "Estimating",
    "bibtex",
    "summary",
    "summary_string",
    "to_dict",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_records",
]

DEFAULT_COLUMNS = ("name", "output_shape", "params", "connections", "neurons", "energy cpu")


class Estimating(Protocol):
    """Anything that makes an `Estimate`, such as `ModelEnergy`."""

    def estimate(
        self,
        timesteps_per_inference: int | None = None,
        dt: float | None = None,
        *,
        timesteps: int | None = None,
        batch_size: int = 1,
    ) -> Estimate:
        """Return the energies of one inference."""


def _devices(names: Sequence[str] | None, estimate: Estimate) -> list[Device]:
    """Return devices by name; by default all whose energy can be estimated."""
    check_names("devices", names)
    if names is not None:
        return [DEVICES.get_device(name) for name in names]
    return [device for device in DEVICES.values() if estimate.can_run(device)]


def summary(
    energy: Estimating,
    columns: Sequence[str] = DEFAULT_COLUMNS,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    line_length: int = 98,
    print_warnings: bool = True,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> None:
    """Print the counts and energies of every layer.

    Parameters
    ----------
    columns : sequence of str, optional
        Any of "name", "output_shape", "params", "connections", "neurons", "rate" (Hz),
        "synops" (operations per time step), "spiking", and for any device, such as loihi,
        "synop_energy loihi", "neuron_energy loihi", "energy loihi" (joules per inference).
    timesteps_per_inference, dt, timesteps, batch_size
        As in `ModelEnergy.estimate`.
    line_length : int, optional
        Length of the longest line.
    print_warnings : bool, optional
        Whether to print assumptions and gaps.
    """
    print(
        summary_string(
            energy,
            columns,
            timesteps_per_inference,
            dt,
            line_length,
            print_warnings,
            timesteps=timesteps,
            batch_size=batch_size,
        )
    )


def summary_string(
    energy: Estimating,
    columns: Sequence[str] = DEFAULT_COLUMNS,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    line_length: int = 98,
    print_warnings: bool = True,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> str:
    """Return the text that `summary` prints, for the same parameters."""
    estimate = energy.estimate(
        timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
    )
    check_count("line_length", line_length)
    return summary_text(estimate, columns, DEVICES, line_length, print_notes=print_warnings)


def to_records(
    energy: Estimating,
    devices: Sequence[str] | None = None,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> list[dict[str, Any]]:
    """Return one flat dictionary per device and layer, ready for ``pandas.DataFrame``.

    Parameters
    ----------
    devices : sequence of str, optional
        Names of devices; by default all that are not spiking, and the spiking ones too if
        rates are known.
    timesteps_per_inference, dt, timesteps, batch_size
        As in `ModelEnergy.estimate`.
    """
    estimate = energy.estimate(
        timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
    )
    return estimate_records(estimate, _devices(devices, estimate))


def to_dict(
    energy: Estimating,
    devices: Sequence[str] | None = None,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> dict[str, Any]:
    """Return the whole estimate as plain data, for the parameters of `to_records`.

    Its keys are "model", "assumptions", "devices" (with sources), "layers" (counts, rate, and
    energy by device), "totals", "connections", "neurons" and "left_out".
    """
    estimate = energy.estimate(
        timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
    )
    return estimate_dict(estimate, _devices(devices, estimate))


def to_json(
    energy: Estimating,
    devices: Sequence[str] | None = None,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    indent: int | None = 2,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> str:
    """Return `to_dict` as JSON, indented by ``indent`` spaces."""
    data = to_dict(
        energy, devices, timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
    )
    return json.dumps(data, indent=indent)


def to_markdown(
    energy: Estimating,
    devices: Sequence[str] = ("cpu",),
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> str:
    """Return a Markdown table of layers and energies, with the assumptions below it.

    Parameters
    ----------
    devices : sequence of str, optional
        Names of devices, one column each.
    timesteps_per_inference, dt, timesteps, batch_size
        As in `ModelEnergy.estimate`.
    """
    estimate = energy.estimate(
        timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
    )
    return markdown_table(estimate, _devices(devices, estimate))


def to_latex(
    energy: Estimating,
    devices: Sequence[str] = ("cpu",),
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> str:
    """Return the table of `to_markdown` as LaTeX, for the package ``booktabs``."""
    estimate = energy.estimate(
        timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
    )
    return latex_table(estimate, _devices(devices, estimate))


def to_html(
    energy: Estimating,
    path: str | PathLike[str],
    devices: Sequence[str] | None = None,
    timesteps_per_inference: int | None = None,
    dt: float | None = None,
    *,
    timesteps: int | None = None,
    batch_size: int = 1,
) -> None:
    """Write a report as one self-contained HTML file (``kspike-energy[report]``).

    It has figures, a sortable table of layers, assumptions, warnings, and sources.

    Parameters
    ----------
    path : str or path-like
        Where to write.
    devices : sequence of str, optional
        Names of devices, the baseline first; by default KerasSpiking's six and the two with a
        memory model, except those that cannot be estimated.
    timesteps_per_inference, dt, timesteps, batch_size
        As in `ModelEnergy.estimate`.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """
    estimate = energy.estimate(
        timesteps_per_inference, dt, timesteps=timesteps, batch_size=batch_size
    )
    if devices is None:
        known = map(DEVICES.get_device, device_names(None, ["operations", "memory"]))
        shown = [device for device in known if estimate.can_run(device)]
    else:
        shown = _devices(devices, estimate)
    Path(path).write_text(html_report(estimate, shown), encoding="utf-8")


def bibtex(energy: Estimating, devices: Sequence[str] = ("cpu",)) -> str:
    """Return BibTeX entries for the sources of all numbers in reports on these devices.

    They include the source of the quantised network in `ModelEnergy.compare` and
    `ModelEnergy.to_html`, if an ordinary and a spiking device can break even. A `Comparison` has
    its own ``bibtex``.

    Parameters
    ----------
    devices : sequence of str, optional
        Names of devices.
    """
    shown = _devices(devices, energy.estimate())
    return bibtex_entries(sources(shown, shown))
