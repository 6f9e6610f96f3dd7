"""Layers around layers, and statistics that a user registered."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kspike_energy.checks import check_whole
from kspike_energy.counting.fan_out import FanOut
from kspike_energy.counting.nodes import Counts, Node, Term
from kspike_energy.counting.rules.table import LINEAR, OVER_TIME, rule
from kspike_energy.suggest import did_you_mean

__all__ = ["check_statistics", "from_statistics", "registered_statistics"]


@rule(*OVER_TIME)
def time_distributed(node: Node) -> Counts:
    """Count the wrapped layer at one time step."""
    from kspike_energy.counting.rules import count  # the table is complete only now

    return count(node.inner("layer", drop_time=True))


@rule("Pipeline")
def pipeline(node: Node) -> Counts:
    """Count the layers that it applies one after the other; augmentations cost nothing."""
    from kspike_energy.counting.rules import count

    wrapped = node.spec.wrap("layers")
    inner = wrapped if isinstance(wrapped, list) else [wrapped]
    every = [count(replace(node, spec=spec)) for spec in inner]
    return Counts(
        tuple(term for counts in every for term in counts.terms),
        sum(counts.neurons for counts in every),
        all(counts.spiking for counts in every),
    )


@rule("SpectralNormalization")
def spectral_normalization(node: Node) -> Counts:
    """Count the wrapped layer: at inference its kernel is normalised already."""
    from kspike_energy.counting.rules import count

    return count(node.inner("layer"))


@rule("LayerScale")
def layer_scale(node: Node) -> Counts:
    """Count nothing where it is folded into the linear layer before it, else one an element."""
    if node.options.normalization == "folded" and node.behind_linear:
        return Counts()
    return Counts((Term(FanOut.uniform(node.units_in(), 1)),))


def check_statistics(name: str, statistics: Any) -> dict[str, Any]:
    """Return the statistics of a registered function with plain Python values.

    Parameters
    ----------
    name : str
        Name of the layer, for messages.
    statistics : mapping
        Any of "connections", "neurons" and "spiking".

    Raises
    ------
    TypeError
        If it is no mapping, or a count no whole number.
    ValueError
        If a count is negative or a key unknown.
    """
    if not isinstance(statistics, Mapping):
        raise TypeError(
            f"statistics registered for layer {name!r} must be a dictionary. "
            f"Received: {statistics!r}"
        )
    result: dict[str, Any] = {}
    for key, value in statistics.items():
        if key == "spiking":
            result[key] = bool(value)
        elif key not in ("connections", "neurons"):
            raise ValueError(
                f"statistics registered for layer {name!r} may have the keys 'connections', "
                f"'neurons' and 'spiking'. Received: {key!r}"
                f"{did_you_mean(key, ('connections', 'neurons', 'spiking'))}"
            )
        else:
            whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
            result[key] = check_whole(f"{key} of layer {name!r}", int(value) if whole else value)
    return result


def registered_statistics(node: Node) -> dict[str, Any]:
    """Return what the function that a user registered for a layer says of a node.

    Raises
    ------
    TypeError
        If it is no dictionary of whole numbers, or the function multiplied an open length.
    ValueError
        If a count is negative or a key unknown.
    """
    function = node.spec.statistics
    if function is None:
        raise ValueError(f"no statistics are registered for layer {node.spec.name!r}")
    try:
        statistics = function(node)
    except TypeError as error:
        if node.has_time and any(None in shape[1:] for shape in node.full_inputs):
            error.add_note(
                f"input_shapes of layer {node.spec.name!r} is {node.input_shapes}: None is a time "
                "axis of open length; step_input_shapes and step_output_shapes leave it out"
            )
        raise
    return check_statistics(node.spec.name, statistics)


def from_statistics(node: Node) -> Counts:
    """Return the counts that a registered function states of a node.

    It gives a total only, so the connections are spread evenly over the elements of the inputs.
    """
    stats = registered_statistics(node)
    connections = stats.get("connections", 0)
    terms: tuple[Term, ...] = ()
    if connections:
        shapes = [node.units_in(index) for index in range(len(node.full_inputs))]
        elements = sum(math.prod(shape) for shape in shapes)
        shares = [connections * math.prod(shape) // max(elements, 1) for shape in shapes]
        shares[0] += connections - sum(shares)
        terms = tuple(
            Term(FanOut.spread(shape, share), source=index)
            for index, (shape, share) in enumerate(zip(shapes, shares, strict=True))
        )
    return Counts(terms, stats.get("neurons", 0), stats.get("spiking", True))


LINEAR.add("SpectralNormalization")
