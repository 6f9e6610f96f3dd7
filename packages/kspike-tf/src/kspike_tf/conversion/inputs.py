"""Arrays for the inputs of a graph, by name or in order, as in Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kspike_tf.conversion.graph import Graph


def arrays(data: Any, model: Any) -> Any:
    """Return data with arrays in place of nested lists of numbers, frames and tensors.

    Parameters
    ----------
    data : structure of arrays
        A list holds an array for each of several inputs; for a single input, a list is an array,
        unless it only holds one.
    model : keras.Model, Graph or kspike_ref.Model
        The model, of which only the number of inputs matters.
    """
    inputs = len(keras.tree.flatten(getattr(model, "inputs", None) or [None]))
    if isinstance(data, dict):
        return {key: _whole(each) for key, each in data.items()}
    if isinstance(data, (list, tuple)) and (inputs > 1 or (len(data) == 1 and _has_axes(data[0]))):
        return [_whole(each) for each in data]
    return np.asarray(data)


def _whole(data: Any) -> Any:
    """Return an array; or a structure of arrays, for a model whose inputs are nested."""
    if isinstance(data, dict):
        return {key: _whole(each) for key, each in data.items()}
    if isinstance(data, (list, tuple)) and any(map(_has_axes, keras.tree.flatten(data))):
        return [_whole(each) for each in data]
    return np.asarray(data)


def _has_axes(data: Any) -> bool:
    return len(getattr(data, "shape", ())) > 0


def arranged(graph: Graph, data: Any, argument: str = "x") -> Any:
    """Return data in the structure of the model's inputs.

    Dictionaries are matched by input names, as in ``keras.Model.predict``, and lists by order.

    Parameters
    ----------
    graph : Graph
        The model.
    data : structure of arrays
        One array for each input.
    argument : str
        Name of the argument, for errors.

    Raises
    ------
    ValueError
        If an input has no array, or the number of arrays differs.
    """
    inputs, data = len(graph.inputs), arrays(data, graph)
    flat = _by_name(graph, data, argument) if isinstance(data, dict) else keras.tree.flatten(data)
    if len(flat) != inputs:
        raise ValueError(
            f"{argument} must be one array for each of the {inputs} inputs of the model. "
            f"Received: {len(flat)} arrays"
        )
    return keras.tree.pack_sequence_as(graph.input_structure, flat)


def _by_name(graph: Graph, data: dict[str, Any], argument: str) -> list[Any]:
    """Return the arrays of a dictionary in the order of the model's inputs."""
    structure = graph.input_structure
    is_named = isinstance(structure, dict)
    names = list(structure) if is_named else [str(graph.specs[n].name) for n in graph.inputs]
    if missing := [each for each in names if each not in data]:
        raise ValueError(
            f"{argument} must hold all inputs of the model: {', '.join(names)}. "
            f"Received: {', '.join(map(str, data))}, without {', '.join(missing)}"
        )
    if is_named:
        return list(keras.tree.flatten({each: data[each] for each in names}))
    return [data[each] for each in names]


def input_tensors(graph: Graph, data: Any) -> dict[int, Any]:
    """Return the tensors of a model's inputs by number, cast to the types of the inputs."""
    flat = keras.tree.flatten(arranged(graph, data))
    return {
        number: keras.ops.convert_to_tensor(each, dtype=graph.specs[number].dtype)
        for number, each in zip(graph.inputs, flat, strict=True)
    }
