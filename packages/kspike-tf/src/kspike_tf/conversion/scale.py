"""Scales of a network's tensors, which raise firing rates without changing the function."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from kspike_tf.conversion import activations
from kspike_tf.conversion.graph import Graph, Node, Ref
from kspike_tf.conversion.linear import is_linear, rescale

_HOMOGENEOUS = (  # c times the inputs give c times the output
    *(getattr(keras.layers, f"{kind}Pooling{n}D")
      for kind in ("Average", "Max", "GlobalAverage", "GlobalMax", "AdaptiveAverage", "AdaptiveMax")
      for n in (1, 2, 3) if hasattr(keras.layers, f"{kind}Pooling{n}D")),
    *(getattr(keras.layers, f"{kind}{n}D")
      for kind in ("Cropping", "SpatialDropout", "UpSampling", "ZeroPadding") for n in (1, 2, 3)),
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


class _Classes:
    """Sets of tensors that share a scale."""

    def __init__(self, graph: Graph) -> None:
        self._parent = {number: number for number in graph.specs}
        self._pinned: set[int] = set()

    def of(self, number: int) -> int:
        """Return the representative of a tensor's set."""
        while self._parent[number] != number:
            number = self._parent[number]
        return number

    def join(self, numbers: list[int]) -> None:
        """Make tensors share a scale."""
        for number in numbers[1:]:
            one, other = self.of(numbers[0]), self.of(number)
            self._parent[other] = one
            if other in self._pinned:
                self._pinned.add(one)

    def pin(self, numbers: list[int]) -> None:
        """Keep tensors unscaled."""
        self._pinned.update(self.of(number) for number in numbers)

    def is_pinned(self, number: int) -> bool:
        """Return whether a tensor must stay unscaled."""
        return self.of(number) in self._pinned


def _classes(graph: Graph, sites: list[Site]) -> _Classes:
    """Return the sets of tensors that must share a scale."""
    classes = _Classes(graph)
    rectifiers = {site.node for site in sites if site.rectifies}
    signed = {site.node for site in sites if not site.rectifies}
    for node in graph.nodes:
        if is_linear(node.layer) or _is_scalable_normalisation(node.layer):
            for other in graph.applications(node.layer):
                classes.join([node.inputs[0], other.inputs[0]])
                classes.join([node.outputs[0], other.outputs[0]])
        elif node in rectifiers or _is_homogeneous(node):
            classes.join([*node.inputs, *node.outputs])
        elif node in signed:
            classes.pin(node.inputs)
        else:
            classes.pin([*node.inputs, *node.outputs])
    classes.pin([*graph.inputs, *graph.output_numbers()])
    return classes


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
    graph: Graph,
    sites: list[Site],
    levels: Mapping[str, float],
    max_rate: float,
    scale: float | Mapping[str, float] | None,
    fold: bool,
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
    max_rate : float
        Firing rate in Hz.
    scale : float, mapping of str to float or None
        Scale of all sites or of some by name, in place of those from calibration.
    fold : bool
        Whether scales may be folded into weights at all.

    Raises
    ------
    ValueError
        If sites that must share a scale are given different ones.
    """
    classes = _classes(graph, sites)
    together: dict[int, list[Site]] = {}
    for site in sites:
        together.setdefault(classes.of(site.node.outputs[0]), []).append(site)
    chosen: dict[int, float] = {}
    for number, members in together.items():
        asked = _asked(members, scale)
        common = asked or max_rate / max(levels[site.node.label] for site in members)
        folded = fold and not classes.is_pinned(number)
        if folded:
            chosen[number] = common
        for site in members:
            own = common if folded or asked else max_rate / levels[site.node.label]
            site.scale, site.folded = own, folded
    return {number: chosen.get(classes.of(number), 1.0) for number in graph.specs}


def _asked(members: list[Site], scale: float | Mapping[str, float] | None) -> float | None:
    """Return the scale that the caller specifies for sites, or None."""
    if scale is None or isinstance(scale, (int, float)):
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
