"""Loading of models and their inputs from the arguments of a command."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kspike_ref.cli import files
from kspike_ref.distributed.lazy import ends
from kspike_ref.layers.base import Layer
from kspike_ref.layers.temporal_cells import AlphaCell, LowpassCell, SpikingActivationCell
from kspike_ref.loading import load_model
from kspike_ref.model import Model
from kspike_ref.running.graph import Node
from kspike_ref.saved.archive import ArchiveError


def open_model(
    path: Path,
    threads: int | None = None,
    dt: float | None = None,
    rate_scale: float | None = None,
) -> Model:
    """Load a model, with a number of threads, a time step in seconds and a factor for rates.

    Raises
    ------
    FileNotFoundError, ArchiveError, UnsupportedLayerError, ValueError
        As in `load_model`; the error for a damaged file names the file.
    """
    try:
        model = load_model(path, dt=dt, rate_scale=rate_scale)
    except ArchiveError as error:
        named = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise ArchiveError(named) from error
    model.num_threads = threads
    return model


def input_nodes(model: Model) -> list[Node]:
    """Return the nodes of a model's inputs, in order."""
    return [node for node in model.nodes if not node.inputs]


def has_time(model: Model) -> bool:
    """Return whether all inputs have a time axis of any length."""
    shapes = [node.output_shapes[0] for node in input_nodes(model)]
    return all(len(shape) > 2 and shape[1] is None for shape in shapes)


def is_spiking(layer: Layer) -> bool:
    """Return whether a layer outputs spikes, whose mean is a firing rate in Hz."""
    return isinstance(cell_of(layer), SpikingActivationCell)


def is_filter(layer: Layer) -> bool:
    """Return whether a layer filters its inputs over time."""
    return isinstance(cell_of(layer), LowpassCell | AlphaCell)


def cell_of(layer: Layer) -> Any:
    """Return the cell that a layer runs over time, or the layer itself."""
    return getattr(layer, "cell", layer)


def read_inputs(
    model: Model, names: Sequence[str], timesteps: int | None, divide_by: float | None
) -> Any:
    """Read the inputs of a model.

    Parameters
    ----------
    model : Model
        The model.
    names : sequence of str
        Files: one per input, or one ``.npz`` file with an array per input, or images.
    timesteps : int or None
        The number of steps for which inputs without a time axis are shown.
    divide_by : float or None
        The divisor of the inputs, such as 255 for pixels.

    Returns
    -------
    ndarray, or list or dict of ndarray
        The inputs for `Model.predict`.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If a file is damaged, or does not fit the model.
    """
    nodes = input_nodes(model)
    shapes = [node.output_shapes[0][1 if timesteps is None else 2 :] for node in nodes]
    if all(map(files.is_image, names)):
        if len(nodes) != 1:
            raise ValueError(f"{names[0]}: images need a model with one input, not {len(nodes)}")
        return _divided(files.read_images(names, shapes[0]), divide_by)
    if len(names) == 1 and len(nodes) > 1:
        found = files.read_array(names[0])
        if not isinstance(found, dict) or not set(model.inputs) <= set(found):
            raise ValueError(f"{names[0]}: must hold the arrays {', '.join(model.inputs)}")
        return {name: _divided(found[name], divide_by) for name in model.inputs}
    if len(names) != len(nodes):
        wanted = "1 file" if len(nodes) == 1 else f"{len(nodes)} files"
        raise ValueError(f"the model takes {wanted}, one per input. Received: {len(names)}")
    arrays = [
        _divided(_fitting(files.one_array(name), name, shape), divide_by)
        for name, shape in zip(names, shapes, strict=True)
    ]
    return arrays[0] if len(arrays) == 1 else arrays


def count_examples(x: Any) -> int:
    """Return the number of examples in inputs from `read_inputs`."""
    if isinstance(x, dict):
        x = list(x.values())
    return len(x[0] if isinstance(x, list) else x)


def one_example(x: Any, example: int) -> Any:
    """Return one example of inputs from `read_inputs`, as a batch of one.

    Raises
    ------
    ValueError
        If there are fewer examples.
    """
    if isinstance(x, dict):
        return {name: one_example(one, example) for name, one in x.items()}
    if isinstance(x, list):
        return [one_example(one, example) for one in x]
    count = len(x) if x.ndim else 0
    if example >= count:
        raise ValueError(
            f"--example must be below {count}, the number of examples. Received: {example}"
        )
    return x[example : example + 1]


def outputs_by_name(model: Model, outputs: Any) -> dict[str, Any]:
    """Return the outputs of `Model.predict` by output name."""
    return dict(zip(_output_keys(model), ends(outputs), strict=True))


def output_ranks(model: Model) -> dict[str, int]:
    """Return the least number of axes of a model's outputs, by the names of `outputs_by_name`."""
    ranks = [
        min(len(s) for node in model.nodes if node.name == name for s in node.output_shapes)
        for name in model.outputs
    ]
    return dict(zip(_output_keys(model), ranks, strict=True))


def _output_keys(model: Model) -> list[str]:
    keys = list(model.outputs)
    if len(keys) == len(set(keys)):
        return keys
    return [f"{key}:{i}" for i, key in enumerate(keys)]  # a layer is an output twice


def _fitting(array: Any, name: str, shape: Sequence[int | None]) -> Any:
    """Return an array; rows of a .csv file get the shape of an example."""
    if not name.lower().endswith(".csv") or any(n is None for n in shape):
        return array
    if math.prod(n or 1 for n in shape) != array.shape[1]:
        raise ValueError(
            f"{name}: every line must hold an example of shape {tuple(shape)}. "
            f"Received: {array.shape[1]} numbers"
        )
    return array.reshape(len(array), *(n or 1 for n in shape))


def _divided(array: Any, divide_by: float | None) -> Any:
    if divide_by is None:
        return array
    divisor = np.float32(divide_by)
    if not np.isfinite(divisor) or not divisor:
        raise ValueError(f"--divide-by must be finite and not zero. Received: {divide_by}")
    return np.asarray(array, np.float32) / divisor
