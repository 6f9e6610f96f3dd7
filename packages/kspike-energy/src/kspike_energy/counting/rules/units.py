"""Layers that update units: activations, spiking neurons, synaptic filters, normalisations."""

import math

from kspike_energy.counting.fan_out import FanOut
from kspike_energy.counting.nodes import Counts, Node, Term
from kspike_energy.counting.rules.table import LINEAR, activation_units, is_linear, rule
from kspike_energy.counting.statistics import shared_terms

__all__ = ["elementwise", "is_plain_linear", "products"]


def elementwise(node: Node, operations: int = 1, *, spiking: bool = True) -> Counts:
    """Return counts of ``operations`` per element of every input."""
    terms = tuple(
        Term(FanOut.uniform(node.units_in(index), operations), source=index)
        for index in range(len(node.inputs))
    )
    return Counts(terms, 0, spiking)


def products(node: Node, count: int) -> Counts:
    """Return counts of products of the inputs, which share them.

    A spiking device cannot multiply two signals.
    """
    inputs = len(node.inputs)
    return Counts(shared_terms(node, count, [1] * inputs), 0, spiking=inputs == 1)


@rule("Activation")
def activation(node: Node) -> Counts:
    """Count one update per unit, unless the activation is linear."""
    return Counts((), *activation_units(node, math.prod(node.units_out())))


@rule("ReLU", "LeakyReLU", "ELU", "PReLU", "Softmax")
def nonlinearity(node: Node) -> Counts:
    """Count one update per unit; a spiking device would have to replace these with neurons."""
    return Counts((), math.prod(node.units_out()), spiking=False)


@rule("kspike_tf>SpikingActivation", "kspike_tf>SpikingActivationCell")
def spiking_activation(node: Node) -> Counts:
    """Count one neuron update per unit."""
    return Counts((), math.prod(node.units_out()))


@rule("kspike_tf>Lowpass", "kspike_tf>LowpassCell")
def lowpass(node: Node) -> Counts:
    """Count one state update per unit.

    A first-order filter keeps one state per unit and updates it at every step. On a device that
    filters synaptic currents as part of its neuron update this is free: register a function for
    the layer to say so.
    """
    return Counts((), math.prod(node.units_out()))


@rule("kspike_tf>Alpha", "kspike_tf>AlphaCell")
def alpha(node: Node) -> Counts:
    """Count two state updates per unit: an alpha filter is two first-order filters in series."""
    return Counts((), 2 * math.prod(node.units_out()))


@rule("BatchNormalization")
def batch_normalization(node: Node) -> Counts:
    """Count nothing if it is folded into a linear layer, else one multiply-add per element.

    At inference it is one fixed scale and one fixed shift per channel, so it can be folded into the
    weights and bias of a linear layer directly before it (Jacob et al., CVPR 2018, section 3.2).
    """
    if node.options.normalization == "folded" and node.behind_linear:
        return Counts()
    return elementwise(node)


@rule("LayerScale")
def layer_scale(node: Node) -> Counts:
    """Count nothing if it is folded into a linear layer, else one operation per element."""
    return batch_normalization(node)


@rule("Normalization", "Rescaling")
def fixed_scaling(node: Node) -> Counts:
    """Count nothing if normalisations are folded, else one multiply-add per element.

    It applies constants to the network's data, so it can be folded into the next layer's weights.
    """
    return Counts() if node.options.normalization == "folded" else elementwise(node)


@rule("LayerNormalization", "GroupNormalization")
def layer_normalization(node: Node) -> Counts:
    """Count five operations per element with scale or offset, else four.

    Mean, variance, difference and division, then the affine map: the rough convention of fvcore
    (``norm_flop_counter``). They depend on the data, so they cannot be folded and cannot spike.
    """
    affine = node.config.get("scale", True) or node.config.get("center", True)
    return elementwise(node, 5 if affine else 4, spiking=False)


@rule("RMSNormalization")
def rms_normalization(node: Node) -> Counts:
    """Count three operations per element: square, division, scale."""
    return elementwise(node, 3, spiking=False)


@rule("UnitNormalization")
def unit_normalization(node: Node) -> Counts:
    """Count two operations per element: square and division."""
    return elementwise(node, 2, spiking=False)


@rule("Solarization", "Equalization", "ContrastLimitedAdaptiveHistogramEqualization")
def pixel_function(node: Node) -> Counts:
    """Count one update per element, as for an activation: they map pixels to pixels."""
    return Counts((), math.prod(node.units_out()), spiking=False)


def is_plain_linear(node: Node) -> bool:
    """Return whether a layer has weights and no nonlinearity after them."""
    kind = node.spec.kind
    return kind in LINEAR and is_linear(node.config.get("activation"))
