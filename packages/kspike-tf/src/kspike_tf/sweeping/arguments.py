"""Checks of the arguments of a sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kspike_energy import Application, ModelEnergy


class Grid(NamedTuple):
    """The parameter values of a sweep."""

    models: tuple[tuple[float | None, float], ...]  # time steps in seconds, and factors of rates
    timesteps: tuple[int, ...]  # in ascending order
    devices: tuple[str, ...]


def checked_grid(timesteps: Any, dt: Any, scale: Any, devices: Any) -> Grid:
    """Return the grid of a sweep, without duplicates.

    Raises
    ------
    ValueError
        If a number is not positive, there are no numbers, or a device is unknown.
    """
    counts = {check_count("timesteps", each) for each in _several("timesteps", timesteps)}
    lengths = [None if each is None else _positive("dt", each) for each in _several("dt", dt)]
    factors = [_positive("scale", each) for each in _several("scale", scale)]
    names = _several("devices", devices)
    for name in names:
        ModelEnergy.devices.get_device(name)  # its error lists the known ones
    return Grid(
        tuple(dict.fromkeys(itertools.product(lengths, factors))),
        tuple(sorted(counts)),
        tuple(dict.fromkeys(names)),
    )


def _positive(name: str, value: Any) -> float:
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not (is_number and value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite. Received: {value!r}")
    return float(value)


def _several(name: str, value: Any) -> list[Any]:
    is_one = value is None or isinstance(value, str) or np.ndim(value) == 0
    values = [value] if is_one else list(value)
    if not values and name != "devices":
        raise ValueError(f"{name} must hold at least one number. Received: {value!r}")
    return values


def check_count(name: str, value: Any) -> int:
    """Return a positive integer; raise an error for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a positive integer. Received: {name}={value!r}")
    return int(value)


def shown(x: Any, nodes: Sequence[Application], steps: int) -> Any:
    """Return inputs with a time axis of a number of steps, without copying them.

    Parameters
    ----------
    x : structure of (batch, ...) array
        Inputs, with or without a time axis.
    nodes : sequence of Application
        The applications of the model's layers.
    steps : int
        Number of steps.

    Raises
    ------
    ValueError
        If they do not match the model's inputs, or have fewer steps.
    """
    shapes = [node.outputs[0] for node in nodes if node.spec.kind == "InputLayer"]
    for shape in shapes:
        if len(shape) < 2 or shape[1] is not None:
            raise ValueError(
                "model must have inputs with a time axis of unknown length, (None, None, ...). "
                f"Received: an input of shape {shape}"
            )
    arrays = keras.tree.flatten(x)
    # Layers come in the order of their depth, inputs in that of the model's structure.
    given, wanted = sorted(array.ndim for array in arrays), sorted(len(shape) for shape in shapes)
    if given == [axes - 1 for axes in wanted]:
        return keras.tree.map_structure(lambda array: _still(array, steps), x)
    if len(given) == len(wanted) and {a - b for a, b in zip(wanted, given, strict=True)} == {0, 1}:
        raise ValueError(
            "x must have a time axis for all inputs or for none: repeat the static ones, "
            "np.repeat(static[:, None], steps, axis=1). "
            f"Received: shapes={[array.shape for array in arrays]} for inputs of shapes {shapes}"
        )
    if given != wanted:
        raise ValueError(
            f"x must have the shapes of the model's inputs, {shapes}, with or without the time "
            f"axis. Received: shapes={[array.shape for array in arrays]}"
        )
    available = min(array.shape[1] for array in arrays)
    if available < steps:
        raise ValueError(
            f"timesteps must be at most the number of steps in x, {available}. "
            f"Received: timesteps={steps}"
        )
    return keras.tree.map_structure(lambda array: array[:, :steps], x)


def _still(array: np.ndarray, steps: int) -> np.ndarray:
    return np.broadcast_to(array[:, None], (len(array), steps, *array.shape[1:]))
