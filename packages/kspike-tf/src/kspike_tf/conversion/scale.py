"""Scales of a network's tensors, which raise firing rates without changing the function."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from kspike_tf.conversion import activations
from kspike_tf.conversion.families import in_dimensions
from kspike_tf.conversion.graph import Graph, Node, Ref
from kspike_tf.conversion.linear import is_linear, rescale
from kspike_tf.conversion.options import Options

_HOMOGENEOUS = (  # c times the inputs give c times the output
    *in_dimensions(
        "AveragePooling{}D", "MaxPooling{}D", "GlobalAveragePooling{}D", "GlobalMaxPooling{}D",
        "AdaptiveAveragePooling{}D", "AdaptiveMaxPooling{}D", "Cropping{}D", "SpatialDropout{}D",
        "UpSampling{}D", "ZeroPadding{}D",
    ),
    keras.layers.Add, keras.layers.Average, keras.layers.Concatenate, keras.layers.Dropout,
    keras.layers.Flatten, keras.layers.Identity, keras.layers.Maximum, keras.layers.Minimum,
    keras.layers.Permute, keras.layers.RepeatVector, keras.layers.Reshape, keras.layers.Subtract,
)  # fmt: skip
_HOMOGENEOUS_OPERATIONS = (
    "add", "subtract", "concatenate", "reshape", "transpose", "mean", "max", "maximum", "minimum",
    "squeeze", "expand_dims", "average_pool", "max_pool", "get_item", "sum",
)  # fmt: skip


@dataclasses.dataclass
class Site:
    """An activation that becomes a layer of spiking neurons.

    Attributes
    ----------
    node : Node
        The activation.
    rectifies : bool
        Whether it is a ReLU or a relative. Other activations stay, and neurons pass their values
        on as positive and negative spikes.
    scale : float
        Firing rate in Hz for an activation of 1.
    folded : bool
        Whether the scale is folded into the weights around it; otherwise, the neurons are placed
        between two layers that multiply and divide.
    """

    node: Node
    rectifies: bool
    scale: float = 1.0
    folded: bool = True


def _groups(graph: Graph, sites: list[Site]) -> tuple[dict[int, int], set[int]]:
    """Return the group of every tensor, which shares a scale, and the groups without a scale."""
    groups = {number: number for number in graph.specs}
    unscaled = {*graph.inputs, *graph.output_numbers()}
    rectifiers = {site.node for site in sites if site.rectifies}
    signed = {site.node for site in sites if not site.rectifies}

    def join(*numbers: int) -> None:
        joined = {groups[number] for number in numbers}
        if len(joined) > 1:
            groups.update({n: min(joined) for n, group in groups.items() if group in joined})

    for node in graph.nodes:
        if is_linear(node.layer) or _is_scalable_normalisation(node.layer):
            first = graph.applications(node.layer)[0]
            join(node.inputs[0], first.inputs[0])
            join(node.outputs[0], first.outputs[0])
        elif node in rectifiers or _is_homogeneous(node):
            join(*node.inputs, *node.outputs)
        else:
            unscaled.update(node.inputs if node in signed else [*node.inputs, *node.outputs])
    return groups, {groups[number] for number in unscaled}


def _is_homogeneous(node: Node) -> bool:
    if isinstance(node.layer, keras.layers.Layer):
        return type(node.layer) in _HOMOGENEOUS or activations.is_identity(node.layer)
    of_tensors_alone = all(
        isinstance(each, Ref) or each is None
        for each in keras.tree.flatten((node.args, node.kwargs))
    )
    # A maximum may start from a fixed number, which does not scale with the input.
    starts = getattr(node.layer, "initial", None) is not None
    name = activations.function_name(node.layer)
    return of_tensors_alone and not starts and name in _HOMOGENEOUS_OPERATIONS


def choose_scales(
    graph: Graph, sites: list[Site], levels: Mapping[str, float], options: Options
) -> dict[int, float]:
    """Choose the firing rates of all sites; return the scale of every tensor.

    Parameters
    ----------
    graph : Graph
        The network.
    sites : list of Site
        Its spiking activations, whose ``scale`` and ``folded`` are set.
    levels : mapping of str to float
        High activation of each site in calibration, which becomes ``max_rate``.
    options : Options
        Options of the conversion.

    Raises
    ------
    ValueError
        If ``scale`` names other layers, or has different values for sites that must share one.
    """
    if isinstance(options.scale, Mapping) and (unknown := sorted(set(options.scale) - set(levels))):
        raise ValueError(
            f"scale must name activations that spike: {', '.join(levels)}. Received: {unknown}"
        )
    groups, unscaled = _groups(graph, sites)
    together: dict[int, list[Site]] = {}
    for site in sites:
        together.setdefault(groups[site.node.outputs[0]], []).append(site)
    chosen: dict[int, float] = {}
    for group, members in together.items():
        asked = _asked(members, options.scale)
        common = asked or options.max_rate / max(levels[site.node.label] for site in members)
        folded = not options.trainable_rates and group not in unscaled
        if folded:
            chosen[group] = common
        for site in members:
            own = common if folded or asked else options.max_rate / levels[site.node.label]
            site.scale, site.folded = own, folded
    return {number: chosen.get(group, 1.0) for number, group in groups.items()}


def _asked(members: list[Site], scale: float | Mapping[str, float] | None) -> float | None:
    """Return the scale that the caller specifies for sites, or None."""
    if not isinstance(scale, Mapping):
        return scale
    labels = [site.node.label for site in members]
    wanted = {label: scale[label] for label in labels if label in scale}
    if len(set(wanted.values())) > 1:
        raise ValueError(
            "scale must be the same for layers whose outputs are added or merged. "
            f"Received: {wanted}"
        )
    return next(iter(wanted.values()), None)


def apply_scales(graph: Graph, scales: Mapping[int, float]) -> None:
    """Fold the scales of tensors into the weights between them."""
    done: set[Any] = set()
    for node in graph.nodes:
        if node.layer in done:
            continue
        factor_in, factor_out = scales[node.inputs[0]], scales[node.outputs[0]]
        if is_linear(node.layer):
            rescale(node.layer, factor_in, factor_out)
        elif _is_scalable_normalisation(node.layer):
            _rescale_normalisation(node.layer, factor_in, factor_out)
        done.add(node.layer)


def _is_scalable_normalisation(layer: Any) -> bool:
    return type(layer) is keras.layers.BatchNormalization and layer.scale


def _rescale_normalisation(layer: Any, factor_in: float, factor_out: float) -> None:
    """Make ``factor_in`` times the input give ``factor_out`` times the output, in training too.

    Training normalises by the variance of the batch, so gamma cannot hold ``factor_in``.
    """
    layer.moving_mean.assign(layer.moving_mean * factor_in)
    layer.moving_variance.assign(layer.moving_variance * factor_in**2)
    layer.epsilon *= factor_in**2
    layer.gamma.assign(layer.gamma * factor_out)
    if layer.center:
        layer.beta.assign(layer.beta * factor_out)
