"""The table from a layer's kind to the function that counts it."""

from collections.abc import Callable
from typing import Any, TypeAlias

from kspike_energy.counting.nodes import Counts, Node

__all__ = [
    "FREE",
    "LINEAR",
    "OVER_TIME",
    "RULES",
    "Rule",
    "activation_units",
    "is_linear",
    "names",
    "rule",
]

Rule: TypeAlias = Callable[[Node], Counts]

RULES: dict[str, Rule] = {}

# Kinds that only hand values on, so that what they put out are still the values that came in.
FREE: set[str] = set()

# Kinds that apply a layer, or a model, to every time step.
OVER_TIME = ("TimeDistributed", "kspike_tf>TimeFolded")

# Kinds with a kernel of weights, into which a batch normalisation behind them can be folded.
LINEAR: set[str] = set()


def names(text: str) -> frozenset[str]:
    """Return the words of a text, for lists that are easier to read as prose."""
    return frozenset(text.split())


def rule(*kinds: str, linear: bool = False) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of these kinds."""

    def register(function: Rule) -> Rule:
        for kind in kinds:
            RULES[kind] = function
            if linear:
                LINEAR.add(kind)
        return function

    return register


def is_linear(activation: Any) -> bool:
    """Return whether a saved activation leaves values as they are."""
    if isinstance(activation, dict):
        activation = activation.get("config")
    return activation in (None, "linear")


def activation_units(node: Node, units: int, key: str = "activation") -> tuple[int, bool]:
    """Return the unit updates of a layer's own activation, and whether it can spike as it is.

    A linear activation is no update. Any other is one per unit, which a spiking device would
    have to replace by neurons: KerasSpiking's convention.
    """
    linear = is_linear(node.config.get(key))
    return (0, True) if linear else (units, False)
