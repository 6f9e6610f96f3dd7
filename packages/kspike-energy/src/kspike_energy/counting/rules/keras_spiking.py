"""Counts of KerasSpiking 0.3.0, for ``convention="keras-spiking"``.

They come from running KerasSpiking on one layer of every kind. It knows few layers. It treats a
time axis of known length as an axis of units, unless the layer works step by step. It counts every
element of a window, including padding, and does not count the layers of nested models.
"""

import math

from kspike_energy.counting.fan_out import FanOut
from kspike_energy.counting.nodes import Counts, Node, Shape, Term
from kspike_energy.counting.rules.linear import as_tuple
from kspike_energy.counting.rules.table import CONVENTIONS, activation_units, count, names

__all__ = ["count_as_keras_spiking", "is_known_to_keras_spiking"]

# These cost nothing. Layers that this module does not list cost nothing either, but with a warning.
_NOTHING = names(
    """
    InputLayer Flatten Reshape Dropout Add
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
    """
)
_CONVOLUTIONS = names("Conv1D Conv2D Conv3D")
_TRANSPOSED = names("Conv1DTranspose Conv2DTranspose Conv3DTranspose")
_ACTIVATIONS = names("Activation ReLU LeakyReLU")
_SPIKING = "kspike_tf>SpikingActivation"


def is_known_to_keras_spiking(node: Node) -> bool:
    """Return whether KerasSpiking counts a layer without a warning."""
    kind = node.spec.kind or ""
    if _in_nested_model(node):
        return False
    if kind == "TimeDistributed":
        return is_known_to_keras_spiking(node.inner("layer", drop_time=True))
    known = _NOTHING | _CONVOLUTIONS | _TRANSPOSED | _ACTIVATIONS | {"Dense", _SPIKING}
    return node.spec.statistics is not None or kind in known


def count_as_keras_spiking(node: Node) -> Counts:
    """Return the counts of KerasSpiking for one application of a layer."""
    kind = node.spec.kind or ""
    if _in_nested_model(node):
        return Counts()
    if kind == "TimeDistributed":
        return count(node.inner("layer", drop_time=True))
    if kind == "Dense":
        return _linear(node, _elements(node.inputs[0]) * int(node.config["units"]))
    if kind in _CONVOLUTIONS | _TRANSPOSED:
        return _convolution(node, transposed=kind in _TRANSPOSED)
    if kind == _SPIKING:
        return Counts((), math.prod(node.units_out()))
    if kind in _ACTIVATIONS:
        units = _elements(node.outputs[0])
        if kind == "Activation":
            return Counts((), *activation_units(node, units))
        return Counts((), units, spiking=False)
    return Counts()


CONVENTIONS["keras-spiking"] = count_as_keras_spiking


def _in_nested_model(node: Node) -> bool:
    return "/" in node.spec.name  # adapters prefix these names with the inner model's


def _elements(shape: Shape) -> int:
    """Return the number of elements per example; an axis of open length counts as one."""
    return math.prod(length for length in shape[1:] if length is not None)


def _linear(node: Node, connections: int) -> Counts:
    term = Term(FanOut.spread(node.units_in(), connections))
    return Counts((term,), *activation_units(node, _elements(node.outputs[0])))


def _convolution(node: Node, *, transposed: bool) -> Counts:
    """Count a full window of inputs per output.

    For a transposed convolution, the window's depth is the number of filters, not of channels.
    """
    config, shape = node.config, node.inputs[0]
    window = math.prod(as_tuple(config["kernel_size"], len(shape) - 2))
    first = config.get("data_format") == "channels_first"
    depth = int(config["filters"]) if transposed else int(shape[1 if first else -1] or 1)
    depth //= int(config.get("groups") or 1)
    return _linear(node, _elements(node.outputs[0]) * window * depth)
