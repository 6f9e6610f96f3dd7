"""Folding of batch normalisation into the linear layers before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np

from kspike_tf.conversion.copies import copy_layer
from kspike_tf.conversion.families import in_dimensions
from kspike_tf.conversion.graph import Graph, Node
from kspike_tf.conversion.linear import channel_axis, has_channels, scale_channels

_THROUGH = (  # layers that a factor and an offset per channel pass through
    keras.layers.Dropout,
    *in_dimensions("AveragePooling{}D", "Cropping{}D", "SpatialDropout{}D", "UpSampling{}D"),
)
_GLOBAL = in_dimensions("GlobalAveragePooling{}D")


class _Share(NamedTuple):
    """A layer, and the factor and offset per channel to fold into its weights."""

    node: Node
    scale: np.ndarray
    shift: np.ndarray


def fold_normalisation(graph: Graph) -> dict[str, str]:
    """Fold batch normalisation into the layers before it, where that keeps the function.

    It passes through sums, concatenations, average pooling and dropout to linear layers whose
    output has no other reader. Elsewhere, it stays.

    Parameters
    ----------
    graph : Graph
        Changed in place; its layers must be copies.

    Returns
    -------
    dict of str to str
        The outcome for each batch normalisation, by its name.
    """
    outcome = {}
    for node in list(graph.nodes):
        if type(node.layer) is not keras.layers.BatchNormalization:
            continue
        shares = None
        if len(graph.applications(node.layer)) == 1:
            shares = _shares(graph, node.inputs[0], node, _axis(graph, node), *factors(node.layer))
        if shares is None:
            outcome[node.name] = "kept: the layers before it cannot take it"
            continue
        for share in shares:
            _take(share)
        graph.nodes.remove(node)
        graph.replace(node.outputs[0], node.inputs[0])
        outcome[node.name] = "folded into " + ", ".join(share.node.name for share in shares)
    return outcome


def factors(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the factor and the offset per channel of a batch normalisation at inference."""

    def numbers(variable: Any) -> np.ndarray:
        return np.asarray(keras.ops.convert_to_numpy(variable), np.float64)

    scale = 1 / np.sqrt(numbers(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * numbers(layer.gamma)
    shift = -numbers(layer.moving_mean) * scale
    return scale, shift + numbers(layer.beta) if layer.center else shift


def _shares(
    graph: Graph, number: int, reader: Node, axis: int, scale: np.ndarray, shift: np.ndarray
) -> list[_Share] | None:
    """Return the layers that take the factors of a tensor's channels, or None if one cannot."""
    node = graph.producers().get(number)
    if node is None or not graph.is_only_for(number, reader):
        return None
    if graph.shape(number)[axis] != len(scale):
        return None
    layer = node.layer
    if len(graph.applications(layer)) > 1:
        return None
    if has_channels(layer) and channel_axis(layer) == axis:
        return [_Share(node, scale, shift)]
    if type(layer) is keras.layers.Add and len(set(node.inputs)) == len(node.inputs):
        parts = [(number, scale, shift * (i == 0)) for i, number in enumerate(node.inputs)]
    elif type(layer) is keras.layers.Concatenate and _axis(graph, node) == axis:
        parts = _slices(graph, node, axis, scale, shift)
    elif type(layer) in _THROUGH or (type(layer) in _GLOBAL and _is_last(layer, axis)):
        parts = [(node.inputs[0], scale, shift)]
    else:
        return None
    found = [_shares(graph, part, node, axis, *of) for part, *of in parts]
    if any(each is None for each in found):
        return None
    return [share for each in found if each for share in each]


def _axis(graph: Graph, node: Node) -> int:
    """Return the axis of a layer, counted from the last axis of its output."""
    axis = node.layer.axis
    return axis if axis < 0 else axis - len(graph.shape(node.outputs[0]))


def _is_last(layer: Any, axis: int) -> bool:
    return axis == -1 and layer.data_format == "channels_last"


def _slices(
    graph: Graph, node: Node, axis: int, scale: np.ndarray, shift: np.ndarray
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Split factors of a concatenation's output channels among its inputs."""
    sizes = [graph.shape(number)[axis] or 0 for number in node.inputs]
    ends = np.cumsum(sizes)[:-1]
    return list(zip(node.inputs, np.split(scale, ends), np.split(shift, ends), strict=True))


def _take(share: _Share) -> None:
    if not share.node.layer.use_bias:
        share.node.layer = copy_layer(share.node.layer, use_bias=True)
    scale_channels(share.node.layer, share.scale, share.shift)
