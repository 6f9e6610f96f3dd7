"""The table of counting rules by layer kind, and its lookup."""

from collections.abc import Callable
from typing import Any, TypeAlias

from kspike_energy.counting.nodes import Counts, Node
from kspike_energy.counting.statistics import from_statistics

__all__ = [
    "CONVENTIONS",
    "FREE",
    "LINEAR",
    "OVER_TIME",
    "RULES",
    "Rule",
    "UnknownLayerError",
    "activation_units",
    "count",
    "is_linear",
    "names",
    "rule",
    "unwrapped",
]

Rule: TypeAlias = Callable[[Node], Counts]

RULES: dict[str, Rule] = {}

# Rules that count layers of every kind, by the convention that uses them.
CONVENTIONS: dict[str, Rule] = {}

# Kinds that only pass values through, so that their outputs hold the same values as their inputs.
FREE: set[str] = set()

# Kinds that apply a layer, or a model, at every time step.
OVER_TIME = ("TimeDistributed", "kspike_tf>TimeFolded")

# Kinds with a kernel of weights, into which batch normalisation after them can be folded.
LINEAR: set[str] = set()


class UnknownLayerError(LookupError):
    """The layer has no rule, and no function is registered for it."""


def count(node: Node) -> Counts:
    """Return the counts of one application of a layer, per time step.

    Raises
    ------
    UnknownLayerError
        If there is no rule for the layer.
    UndefinedShapeError
        If the count depends on an undefined shape.
    """
    if node.spec.statistics is not None:
        return from_statistics(node)
    if node.only_mask:
        return Counts()  # a mask says which steps count; the host computes it
    every = CONVENTIONS.get(node.options.convention)
    if every is not None:
        return every(node)
    if node.spec.kind is None or node.spec.kind not in RULES:
        raise UnknownLayerError(
            f"layer {node.spec.name!r} ({node.spec.type_name}) has no rule; "
            "register one with ModelEnergy.register_layer"
        )
    return RULES[node.spec.kind](node)


def unwrapped(node: Node) -> Node:
    """Return the node inside a wrapper over time, or the node itself if it is no wrapper."""
    return node.inner("layer", drop_time=True) if node.spec.kind in OVER_TIME else node


def names(text: str) -> frozenset[str]:
    """Return the words of a text, which keeps long lists of names easy to read."""
    return frozenset(text.split())


def rule(*kinds: str, linear: bool = False, free: bool = False) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of these kinds.

    Parameters
    ----------
    *kinds : str
        Names under which Keras saves the layers.
    linear : bool, optional
        Whether the layers have a kernel of weights.
    free : bool, optional
        Whether the layers only pass values through.
    """

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        if linear:
            LINEAR.update(kinds)
        if free:
            FREE.update(kinds)
        return function

    return register


def is_linear(activation: Any) -> bool:
    """Return whether a saved activation leaves values unchanged."""
    if isinstance(activation, dict):
        activation = activation.get("config")
    return activation in (None, "linear")


def activation_units(node: Node, units: int) -> tuple[int, bool]:
    """Return the unit updates of a layer's own activation, and whether spiking devices run it.

    A linear activation needs no update. Any other needs one per unit, and a spiking device would
    have to replace it with neurons. This is KerasSpiking's convention.
    """
    return (0, True) if is_linear(node.config.get("activation")) else (units, False)
