"""The command `energy`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from kspike_ref.cli import inputs, options
from kspike_ref.cli.output import check_writable, replacing, show, waiting
from kspike_ref.model import Model

_DEFAULTS = 6  # devices, the same as in KerasSpiking
_NEEDED = "kspike energy needs kspike-energy: pip install kspike-energy"


def device_names(incomplete: str) -> list[str]:
    """Return the devices whose names begin with a text, for shell completion."""
    if find_spec("kspike_energy") is None:
        return []
    from kspike_energy import ModelEnergy

    return [name for name in ModelEnergy.devices if name.startswith(incomplete)]


def energy(
    context: typer.Context,
    model_file: options.ModelFile,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Inputs on which firing rates are measured, as for run."),
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option("--device", "-d", autocompletion=device_names, help="A device. Repeatable."),
    ] = None,
    timesteps: options.Timesteps = None,
    divide_by: options.DivideBy = None,
    dt: options.TimeStep = None,
    rate_scale: options.RateScale = None,
    batch_size: options.BatchSize = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a report to this .html file.")
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX table.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    as_json: options.Json = False,
) -> None:
    """Estimate the energy of an inference."""
    if latex + markdown + as_json > 1:
        raise typer.BadParameter("choose one of --latex, --markdown and --json", context)
    if find_spec("kspike_energy") is None:
        raise ImportError(_NEEDED)
    from kspike_energy import ModelEnergy

    check_writable(html, (".html",))
    model = inputs.open_model(model_file, dt=dt, rate_scale=rate_scale)
    examples = _example_data(model, data, timesteps, divide_by) if data else None
    with waiting("counting"):
        estimate = ModelEnergy(model, examples, batch_size=batch_size or 32)
    names = devices or _default_devices(ModelEnergy.devices, has_rates=bool(data))
    if not data:
        _refuse_spiking(ModelEnergy.devices, names)
    if html is not None:
        with replacing(html) as beside:
            estimate.to_html(beside, devices=names, timesteps_per_inference=timesteps)
    if latex or markdown:
        write = estimate.to_latex if latex else estimate.to_markdown
        show({}, False, write(names, timesteps))
        return
    result = estimate.to_dict(names, timesteps)
    comparison = estimate.compare(names, timesteps)
    notes = [] if data else ["Spiking devices need firing rates: measure them with --data FILE."]
    if html is not None:
        notes.append(f"written to {html}")
    show(result, as_json, str(comparison), *notes)


def _example_data(
    model: Model, names: list[str], timesteps: int | None, divide: float | None
) -> Any:
    """Read data; repeat an input without a time axis over the steps if the model has time."""
    steps = timesteps if inputs.has_time(model) else None
    x = inputs.read_inputs(model, names, steps, divide)
    axes = len(inputs.input_nodes(model)[0].output_shapes[0])
    if steps is None or not isinstance(x, np.ndarray) or x.ndim != axes - 1:
        return x
    return np.broadcast_to(x[:, np.newaxis], (len(x), steps, *x.shape[1:]))


def _default_devices(devices: Any, has_rates: bool) -> list[str]:
    """Return the first devices of the table that can be estimated."""
    first = list(devices.values())[:_DEFAULTS]
    return [device.name for device in first if has_rates or not device.needs_rates]


def _refuse_spiking(devices: Any, names: list[str]) -> None:
    """Refuse devices whose energy depends on firing rates, because these were not measured."""
    if spiking := [name for name in names if name in devices and devices[name].needs_rates]:
        raise ValueError(f"{', '.join(spiking)} needs firing rates: measure them with --data FILE")
