"""Layer statistics as dictionaries, from counts or from registered functions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kspike_energy.checks import check_whole, did_you_mean
from kspike_energy.counting.fan_out import FanOut
from kspike_energy.counting.nodes import Counts, Node, Term

__all__ = ["add_stats", "from_statistics", "registered_statistics", "shared_terms", "stats_dict"]

_KEYS = ("connections", "neurons", "spiking")


def stats_dict(counts: Counts) -> dict[str, Any]:
    """Return counts as the dictionary that registered functions use."""
    return {
        "connections": counts.connections,
        "neurons": counts.neurons,
        "spiking": counts.spiking,
    }


def add_stats(totals: dict[Any, dict[str, Any]], key: Any, stats: Mapping[str, Any]) -> None:
    """Add statistics to those that ``totals`` holds for a key."""
    known = totals.get(key, {"connections": 0, "neurons": 0, "spiking": True})
    totals[key] = {
        "connections": known["connections"] + stats["connections"],
        "neurons": known["neurons"] + stats["neurons"],
        "spiking": known["spiking"] and stats["spiking"],
    }


def registered_statistics(node: Node) -> dict[str, Any]:
    """Call the function registered for a node, and return its statistics as plain Python values.

    Raises
    ------
    TypeError
        If they are not a dictionary of whole numbers, or the function multiplied an open length.
    ValueError
        If no function is registered, a count is negative, or a key is unknown.
    """
    function = node.spec.statistics
    if function is None:
        raise ValueError(f"no statistics are registered for layer {node.spec.name!r}")
    try:
        statistics = function(node)
    except TypeError as error:
        if node.has_time and any(None in shape[1:] for shape in node.inputs):
            error.add_note(
                f"input_shapes of layer {node.spec.name!r} is {node.input_shapes}: None is a time "
                "axis of open length; step_input_shapes and step_output_shapes leave it out"
            )
        raise
    return _checked(node.spec.name, statistics)


def _checked(name: str, statistics: Any) -> dict[str, Any]:
    """Check statistics, and return them with plain Python values."""
    if not isinstance(statistics, Mapping):
        raise TypeError(
            f"statistics registered for layer {name!r} must be a dictionary. "
            f"Received: {statistics!r}"
        )
    result: dict[str, Any] = {}
    for key, value in statistics.items():
        if key not in _KEYS:
            raise ValueError(
                f"statistics registered for layer {name!r} may have the keys 'connections', "
                f"'neurons' and 'spiking'. Received: {key!r}{did_you_mean(key, _KEYS)}"
            )
        if key == "spiking":
            result[key] = bool(value)
        else:
            whole = isinstance(value, (float, np.floating)) and float(value).is_integer()
            result[key] = check_whole(f"{key} of layer {name!r}", int(value) if whole else value)
    return result


def from_statistics(node: Node) -> Counts:
    """Return the statistics of the function registered for a node, as `Counts`.

    The function returns totals, so the connections are spread evenly over the input elements.
    """
    stats = registered_statistics(node)
    connections = stats.get("connections", 0)
    terms: tuple[Term, ...] = ()
    if connections:
        elements = [math.prod(node.units_in(index)) for index in range(len(node.inputs))]
        terms = shared_terms(node, connections, elements)
    return Counts(terms, stats.get("neurons", 0), stats.get("spiking", True))


def shared_terms(node: Node, connections: int, weights: Sequence[int]) -> tuple[Term, ...]:
    """Return terms in which the inputs of a node share connections, in proportion to weights."""
    shares = [connections * weight // max(sum(weights), 1) for weight in weights]
    shares[0] += connections - sum(shares)
    return tuple(
        Term(FanOut.spread(node.units_in(index), share), source=index)
        for index, share in enumerate(shares)
    )
