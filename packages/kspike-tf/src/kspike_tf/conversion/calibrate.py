"""Activations of a network on calibration data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kspike_tf.conversion.graph import Graph
from kspike_tf.conversion.inputs import arranged
from kspike_tf.conversion.scale import Site

_BATCH = 32
_SAMPLE = 2_000_000  # maximum number of a layer's values for its percentile


def ordinary_model(graph: Graph, outputs: Sequence[int]) -> keras.Model:
    """Return a Keras model, without time, that computes tensors of a graph."""
    tensors = {}
    for number in graph.inputs:
        spec = graph.specs[number]
        tensors[number] = keras.Input(spec.shape[1:], dtype=spec.dtype, name=spec.name)
    for node in graph.nodes:
        made = keras.tree.flatten(node.call(node.layer, tensors))
        tensors.update(zip(node.outputs, made, strict=True))
    structure = keras.tree.map_structure(lambda ref: tensors[ref.number], graph.input_structure)
    return keras.Model(structure, [tensors[number] for number in outputs])


def outputs_of(model: keras.Model, batch: Any) -> list[np.ndarray]:
    """Return the outputs of a model for a batch, as a flat list.

    The call is eager: for a few batches, tracing the model for each of their shapes does not pay,
    and TensorFlow warns of many traces.
    """
    outputs = keras.tree.flatten(model(batch, training=False))
    return [keras.ops.convert_to_numpy(each) for each in outputs]


def checked_data(graph: Graph, data: Any) -> Any:
    """Return calibration data as arrays in the model's structure.

    Raises
    ------
    ValueError
        If they do not match the inputs of the model, are not finite, or are empty.
    """
    data = arranged(graph, data, "calibration_data")
    flat = keras.tree.flatten(data)
    for array, number in zip(flat, graph.inputs, strict=True):
        _check_array(array, graph.shape(number), str(graph.specs[number].name))
    counts = {len(array) for array in flat}
    if len(counts) > 1 or 0 in counts:
        raise ValueError(
            "calibration_data must not be empty and must have the same number of examples for "
            "each input. "
            f"Received: shapes={[array.shape for array in flat]}"
        )
    return data


def _check_array(array: np.ndarray, shape: tuple[int | None, ...], name: str) -> None:
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape[1:], array.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join(["batch", *("any" if n is None else str(n) for n in shape[1:])])
        raise ValueError(
            f"calibration_data for the input {name!r} must have the shape ({wanted}), without a "
            f"time axis. Received: shape={array.shape}"
        )
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"calibration_data for the input {name!r} must be numbers. "
            f"Received: dtype={array.dtype}"
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"calibration_data for the input {name!r} must be finite")


def batches(data: Any, count: int) -> Iterator[Any]:
    """Yield calibration data in batches."""
    for start in range(0, count, _BATCH):
        yield keras.tree.map_structure(
            lambda array, start=start: array[start : start + _BATCH], data
        )


def high_activations(
    graph: Graph, sites: Sequence[Site], data: Any, percentile: float
) -> dict[str, float]:
    """Return a percentile of the nonzero activations of each site, by its name.

    The percentile is of absolute values, over all units and examples together. In layers with many
    values, only every n-th counts, 2 million in all.

    Raises
    ------
    ValueError
        If all activations of a site are zero.
    """
    model = ordinary_model(graph, [site.node.outputs[0] for site in sites])
    found: list[list[np.ndarray]] = [[] for _ in sites]
    count = len(keras.tree.flatten(data)[0])
    for batch in batches(data, count):
        for values, kept in zip(outputs_of(model, batch), found, strict=True):
            step = max(1, values.size * -(-count // _BATCH) // _SAMPLE)
            sample = np.abs(np.ravel(values)[::step])
            kept.append(sample[sample > 0])
    active = {
        site.node.label: np.concatenate(kept) for site, kept in zip(sites, found, strict=True)
    }
    silent = [name for name, values in active.items() if not len(values)]
    if silent:
        raise ValueError(
            "calibration_data must activate every layer that is to spike. All activations are zero "
            f"in: {', '.join(silent)}"
        )
    return {name: float(np.percentile(values, percentile)) for name, values in active.items()}
