"""The commands `plot raster`, `plot rates` and `plot voltage`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kspike_ref import plot
from kspike_ref.cli import inputs, options
from kspike_ref.cli.output import check_writable, replacing, show, waiting
from kspike_ref.layers.base import Layer
from kspike_ref.model import Model
from kspike_ref.running.graph import names_of

_FORMATS = (".svg", ".png", ".pdf")
_WIDTH, _HEIGHT = 6.0, 2.8  # inches, of the axes of one layer
_ABOVE_LEGEND = 24.0  # points between a title and the axes

Figure = Annotated[
    Path, typer.Option("--output", "-o", help="Write the figure to this .svg, .png or .pdf file.")
]
Layers = Annotated[
    list[str] | None,
    typer.Option("--layer", "-l", help="A spiking layer (default: all). Repeatable."),
]
Example = Annotated[int, typer.Option("--example", min=0, help="Which example to draw.")]


def raster(
    model_file: options.ModelFile,
    x: options.InputFiles,
    output: Figure,
    layers: Layers = None,
    example: Example = 0,
    timesteps: options.Timesteps = None,
    divide_by: options.DivideBy = None,
    dt: options.TimeStep = None,
    rate_scale: options.RateScale = None,
    as_json: options.Json = False,
) -> None:
    """Draw the spikes of an example."""
    _check(output)
    model = inputs.open_model(model_file, dt=dt, rate_scale=rate_scale)
    spikes = _spikes(model, x, layers, timesteps, divide_by, example)
    known = _spiking(model)
    figure, axes = _figure(len(spikes))
    for (name, values), axis in zip(spikes.items(), axes, strict=True):
        plot.raster(values[0], dt=inputs.cell_of(known[name]).dt, axes=axis)
        axis.set_title(name)
    _save(figure, output, list(spikes), as_json)


def rates(
    model_file: options.ModelFile,
    x: options.InputFiles,
    output: Figure,
    layers: Layers = None,
    timesteps: options.Timesteps = None,
    divide_by: options.DivideBy = None,
    dt: options.TimeStep = None,
    rate_scale: options.RateScale = None,
    as_json: options.Json = False,
) -> None:
    """Draw a histogram of the neurons' firing rates."""
    _check(output)
    model = inputs.open_model(model_file, dt=dt, rate_scale=rate_scale)
    spikes = _spikes(model, x, layers, timesteps, divide_by)
    figure, axes = _figure(1)
    plot.rates(spikes, axes=axes[0])
    _save(figure, output, list(spikes), as_json)


def voltage(
    model_file: options.ModelFile,
    x: options.InputFiles,
    output: Figure,
    layers: Layers = None,
    units: Annotated[
        list[int] | None,
        typer.Option("--unit", "-u", min=0, help="A neuron's number (default: 0). Repeatable."),
    ] = None,
    example: Example = 0,
    timesteps: options.Timesteps = None,
    divide_by: options.DivideBy = None,
    dt: options.TimeStep = None,
    rate_scale: options.RateScale = None,
    as_json: options.Json = False,
) -> None:
    """Draw voltages, spikes and filtered output of neurons in an example."""
    _check(output)
    model = inputs.open_model(model_file, dt=dt, rate_scale=rate_scale)
    names = _chosen(model, layers)
    filters = _filters(model, names)
    data = inputs.one_example(inputs.read_inputs(model, x, timesteps, divide_by), example)
    with waiting("running the model"):
        recorded = model.record(data, [*names, *filters.values()], timesteps=timesteps)
    figure, axes = _figure(len(recorded.voltages) + len(filters))
    rest = iter(axes)
    for name, values in recorded.voltages.items():
        filtered = recorded.levels[filters[name]][0] if name in filters else None
        plot.voltage(
            values[0],
            recorded.spikes[name][0],
            filtered=filtered,
            dt=recorded.dt[name],
            units=units or [0],
            axes=[axis := next(rest), *([next(rest)] if name in filters else [])],
        )
        axis.set_title(name, pad=_ABOVE_LEGEND if len(units or ()) > 1 else None)
    _save(figure, output, list(recorded.voltages), as_json)


def _check(output: Path) -> None:
    """Refuse a figure that cannot be drawn or written, before the work begins."""
    check_writable(output, _FORMATS)
    with plot.style():  # raises ImportError if Matplotlib is missing
        pass


def _spiking(model: Model) -> dict[str, Layer]:
    """Return the spiking layers by name; a layer that is applied twice has two names."""
    nodes = zip(names_of(model.nodes), model.nodes, strict=True)
    found = {name: node.layer for name, node in nodes if inputs.is_spiking(node.layer)}
    if not found:
        raise ValueError(f"model {model.name!r} has no spiking layers to draw")
    return found


def _chosen(model: Model, layers: list[str] | None) -> list[str]:
    """Return the names of the layers to draw: all spiking layers, or those of ``--layer``."""
    known = _spiking(model)
    if wrong := [name for name in layers or () if name not in known]:
        raise ValueError(
            f"--layer must be among the spiking layers {', '.join(known)}. "
            f"Received: {', '.join(wrong)}"
        )
    return layers or list(known)


def _filters(model: Model, names: Sequence[str]) -> dict[str, str]:
    """Return the names of the filters that take the spikes of layers, by layer."""
    known = names_of(model.nodes)
    found: dict[str, str] = {}
    for name, node in zip(known, model.nodes, strict=True):
        if inputs.is_filter(node.layer):
            found.setdefault(known[node.sources[0]], name)
    return {name: found[name] for name in names if name in found}


def _spikes(
    model: Model,
    x: Sequence[str],
    layers: list[str] | None,
    timesteps: int | None,
    divide_by: float | None,
    example: int | None = None,
) -> dict[str, Any]:
    """Return the spikes of layers, (examples, steps, ...), by name; of one example, or of all."""
    names = _chosen(model, layers)
    data = inputs.read_inputs(model, x, timesteps, divide_by)
    if example is not None:
        data = inputs.one_example(data, example)
    with waiting("running the model"):
        return model.activity(data, timesteps=timesteps, layers=names)


def _figure(count: int) -> tuple[Any, list[Any]]:
    """Return a figure with axes one below the other."""
    with plot.style():
        from matplotlib.figure import Figure as Canvas

        figure = Canvas(figsize=(_WIDTH, _HEIGHT * count))
        return figure, list(figure.subplots(count, squeeze=False)[:, 0])


def _save(figure: Any, output: Path, layers: list[str], as_json: bool) -> None:
    # The same figure gives the same bytes.
    metadata = {"Date": None} if output.suffix.lower() == ".svg" else None
    with replacing(output) as beside, plot.style():
        figure.savefig(beside, metadata=metadata)
    result = {"file": str(output), "layers": layers}
    show(result, as_json, {"layers": ", ".join(layers), "written to": str(output)})
