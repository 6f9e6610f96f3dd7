"""Layers around layers, and statistics that a user registered."""

import math
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

from kspike_energy.counts import FanOut
from kspike_energy.nodes import Counts, Node, Term
from kspike_energy.rules._table import LINEAR, OVER_TIME, rule

__all__ = ["check_statistics", "from_statistics"]


@rule(*OVER_TIME)
def time_distributed(node: Node) -> Counts:
    """Count the wrapped layer at one time step."""
    from kspike_energy.rules import count  # the table is complete only now

    return count(node.inner("layer", drop_time=True))


@rule("Pipeline")
def pipeline(node: Node) -> Counts:
    """Count the layers that it applies one after the other; augmentations cost nothing."""
    from kspike_energy.rules import count

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
    from kspike_energy.rules import count

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
            )
        elif not (isinstance(value, Real) and float(value).is_integer()):
            raise TypeError(f"{key} of layer {name!r} must be a whole number. Received: {value!r}")
        elif value < 0:
            raise ValueError(f"{key} of layer {name!r} must not be negative. Received: {value!r}")
        else:
            result[key] = int(statistics[key])
    return result


def from_statistics(node: Node, statistics: Any) -> Counts:
    """Return the counts that a registered function states.

    It gives a total only, so the connections are spread evenly over the elements of the inputs.
    """
    stats = check_statistics(node.spec.name, statistics)
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
