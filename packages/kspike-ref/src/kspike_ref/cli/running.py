"""The commands `run` and `activity`."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from kspike_ref.cli import files, inputs, options
from kspike_ref.cli.output import Table, check_writable, show, waiting
from kspike_ref.distributed.cluster import predict_on
from kspike_ref.model import Model
from kspike_ref.tables import shape_text

_LISTED = 20  # predictions in the text; JSON and files hold all


def run(
    model_file: options.ModelFile,
    x: options.InputFiles,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the outputs to this .npy, .npz or .csv file."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="The right classes, in a file; prints the accuracy."),
    ] = None,
    timesteps: options.Timesteps = None,
    divide_by: options.DivideBy = None,
    dt: options.TimeStep = None,
    rate_scale: options.RateScale = None,
    batch_size: options.BatchSize = None,
    threads: options.Threads = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler", help="Run on the Dask cluster at this address, tcp://HOST:PORT."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Run a model on data."""
    check_writable(output, files.ARRAYS)
    _check_threads(threads, scheduler)
    model = inputs.open_model(model_file, threads, dt, rate_scale)
    if output is not None:
        files.check_format(output, inputs.output_ranks(model))
    data = inputs.read_inputs(model, x, timesteps, divide_by)
    wanted = None if labels is None else files.one_array(labels)
    raw = _predicted(model, data, batch_size, timesteps, scheduler)
    outputs = inputs.outputs_by_name(model, raw)
    _warn_of_nan(outputs)
    if output is not None:
        files.write_arrays(output, outputs)
    accuracy = None if wanted is None else _accuracy(next(iter(outputs.values())), wanted)
    result: dict[str, Any] = {
        "model": model.name,
        "examples": inputs.count_examples(data),
        "timesteps": timesteps,
        "outputs": {
            name: {"shape": list(y.shape), "dtype": str(y.dtype)} for name, y in outputs.items()
        },
        "file": None if output is None else str(output),
        "accuracy": accuracy,
    }
    _show_run(result, outputs, as_json)


def _check_threads(threads: int | None, scheduler: str | None) -> None:
    """Refuse a number of threads for a run on a cluster, which would ignore it."""
    if scheduler is not None and threads is not None:
        raise ValueError(
            "--threads cannot be used with --scheduler: workers set their own threads. "
            f"Received: {threads}"
        )


def _predicted(
    model: Model, data: Any, batch_size: int | None, timesteps: int | None, scheduler: str | None
) -> Any:
    """Return the outputs of a model, run here or on a cluster."""
    if scheduler is None:
        progress = sys.stderr.isatty() and find_spec("tqdm") is not None
        return model.predict(data, batch_size=batch_size, timesteps=timesteps, progress=progress)
    with waiting(f"running on {scheduler}"):
        return predict_on(scheduler, model, data, batch_size, timesteps)


def _show_run(result: dict[str, Any], outputs: dict[str, Any], as_json: bool) -> None:
    """Print the result of `run`, with classes if there is no output file and no accuracy."""
    facts = {
        "model": result["model"],
        "examples": result["examples"],
        "time steps": result["timesteps"],
        **{f"output {name}": f"{shape_text(y.shape)} {y.dtype}" for name, y in outputs.items()},
        "written to": result["file"],
        "accuracy": result["accuracy"],
    }
    parts: list[Any] = [{name: value for name, value in facts.items() if value is not None}]
    first = next(iter(outputs.values()))
    is_classes = first.ndim == 2 and first.shape[1] > 1
    if result["file"] is None and result["accuracy"] is None and is_classes:
        result["classes"] = _classes(first)
        parts += _predictions(first)
    show(result, as_json, *parts)


def _warn_of_nan(outputs: dict[str, Any]) -> None:
    """Warn about NaN in outputs, which makes classes and accuracies meaningless."""
    for name, y in outputs.items():
        if y.dtype.kind != "f":
            continue
        if lost := int(np.isnan(y).any(axis=tuple(range(1, y.ndim))).sum()):
            warnings.warn(f"output {name} is NaN for {lost:,} of {len(y):,} examples", stacklevel=2)


def _classes(scores: Any) -> list[int | None]:
    """Return the classes of all examples; None if a score is NaN."""
    lost = np.isnan(scores).any(axis=1) if scores.dtype.kind == "f" else [False] * len(scores)
    found = scores.argmax(axis=1).tolist()
    return [None if nan else one for one, nan in zip(found, lost, strict=True)]


def activity(
    model_file: options.ModelFile,
    x: options.InputFiles,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the layers' outputs to this .npz file."),
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option("--layer", "-l", help="A layer (default: all). Repeatable.")
    ] = None,
    timesteps: options.Timesteps = None,
    divide_by: options.DivideBy = None,
    dt: options.TimeStep = None,
    rate_scale: options.RateScale = None,
    batch_size: options.BatchSize = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
) -> None:
    """Show firing rates and values of layers."""
    check_writable(output, (".npz",))
    model = inputs.open_model(model_file, threads, dt, rate_scale)
    data = inputs.read_inputs(model, x, timesteps, divide_by)
    with waiting("running the model"):
        found = model.activity(data, timesteps=timesteps, layers=layers, batch_size=batch_size)
    if output is not None:
        files.write_arrays(output, _flat(found))
    records = [_record(model, key, values) for key, values in found.items()]
    result = {
        "model": model.name,
        "examples": inputs.count_examples(data),
        "layers": records,
        "file": None if output is None else str(output),
    }
    header = ["layer", "class", "shape", "mean", "unit", "nonzero", "largest"]
    rows = [
        [
            r["layer"], r["class"], shape_text(r["shape"]), r["mean"], "Hz" if r["spiking"] else "",
            None if r["nonzero"] is None else f"{r['nonzero']:.1%}", r["largest"],
        ]
        for r in records
    ]  # fmt: skip
    if any(r["synops"] is not None for r in records):  # layers ran event by event
        header.append("synops")
        rows = [[*row, r["synops"]] for row, r in zip(rows, records, strict=True)]
    notes = [] if output is None else [f"written to {output}"]
    show(result, as_json, Table(header, rows), *notes)


def _record(model: Model, key: str, values: Any) -> dict[str, Any]:
    """Return facts about the output of a layer, by its key in `Model.activity`, as plain data."""
    by_name = {node.name: node.layer for node in model.nodes}
    layer = by_name.get(key) or by_name[key.rpartition(":")[0]]
    first = values[0] if isinstance(values, list) else values
    run = model.last_run.get(key)
    return {
        "layer": key,
        "class": layer.class_name,
        "spiking": inputs.is_spiking(layer),
        "shape": list(first.shape),
        **_statistics(first),
        "events": None if run is None else run.events,
        "synops": None if run is None else run.synops,
    }


def _accuracy(scores: Any, labels: Any) -> float:
    """Return the fraction of examples with the right class.

    Parameters
    ----------
    scores : (examples, classes) or (examples, time, classes) ndarray
        The class is that of the largest score in the last time step; with one unit, it is 1 above
        0.5.
    labels : (examples,) or (examples, classes) ndarray
        Classes, or scores whose largest value marks the right class.

    Raises
    ------
    ValueError
        If the numbers of examples or classes differ.
    """
    if scores.ndim < 2 or len(labels) != len(scores):
        raise ValueError(
            f"labels must have one entry per example ({len(scores)}), and outputs an axis of "
            "classes. "
            f"Received: labels of shape {np.shape(labels)}, outputs of shape {scores.shape}"
        )
    last = scores.reshape(len(scores), -1, scores.shape[-1])[:, -1]
    found = (last[:, 0] > 0.5) if last.shape[1] == 1 else last.argmax(axis=1)
    right = np.asarray(labels).reshape(len(labels), -1)
    if right.shape[1] not in (1, scores.shape[-1]):
        raise ValueError(
            f"labels must hold one class or {scores.shape[-1]} scores per example. "
            f"Received: shape {np.shape(labels)}"
        )
    classes = right[:, 0] if right.shape[1] == 1 else right.argmax(axis=1)
    return float(np.mean(found == classes))


def _statistics(values: Any) -> dict[str, float | None]:
    """Return the mean, the fraction that is not zero, and the largest value; None for text."""
    if values.dtype.kind not in "biuf" or not values.size:
        return {"mean": None, "nonzero": None, "largest": None}
    return {
        "mean": float(np.mean(values, dtype=np.float64)),
        "nonzero": float(np.count_nonzero(values) / values.size),
        "largest": float(values.max()),
    }


def _predictions(scores: Any) -> list[Any]:
    rows = [
        (i, one, None if one is None else float(scores[i, one]))
        for i, one in enumerate(_classes(scores[:_LISTED]))
    ]
    more = len(scores) - len(rows)
    table = Table(("example", "class", "score"), rows)
    return [table] if not more else [table, f"and {more:,} more: write all with -o, or use --json"]


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """Return one array per name: layers with several outputs get numbered names."""
    flat: dict[str, Any] = {}
    for key, values in found.items():
        if isinstance(values, list):
            flat |= {f"{key}.{i}": one for i, one in enumerate(values)}
        else:
            flat[key] = values
    return flat
