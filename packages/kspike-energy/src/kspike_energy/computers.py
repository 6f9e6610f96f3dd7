"""The functions that count layers, by class, as KerasSpiking offers them."""

import sys
from collections.abc import Iterator, MutableMapping
from typing import Any

from kspike_energy.counting.rules import RULES
from kspike_energy.layer_stats import as_node, stats_dict
from kspike_energy.registry import STATISTICS, Statistics, forget_statistics, set_statistics

__all__ = ["LayerStatsComputers"]


class LayerStatsComputers(MutableMapping[type | str, Statistics]):
    """Functions from a node to statistics, by class or by the name that a class is saved under.

    Reading finds registered functions first, then the built-in rules. Writing registers without a
    warning, and deleting takes a registered function back; built-in rules stay.
    """

    def __getitem__(self, layer_class: type | str) -> Statistics:
        registered = STATISTICS.get(layer_class)
        if registered is not None:
            return registered
        kind = layer_class if isinstance(layer_class, str) else _kind(layer_class)
        if kind not in RULES:
            raise KeyError(layer_class)
        rule = RULES[kind]

        def statistics(node: Any) -> dict[str, Any]:
            return stats_dict(rule(as_node(node)))

        statistics.__doc__ = rule.__doc__
        return statistics

    def __setitem__(self, layer_class: type | str, function: Statistics) -> None:
        set_statistics(layer_class, function)

    def __delitem__(self, layer_class: type | str) -> None:
        forget_statistics(layer_class)

    def __iter__(self) -> Iterator[type | str]:
        registered = [key for key, function in STATISTICS.items() if function is not None]
        yield from registered
        yield from (kind for kind in RULES if kind not in registered)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _kind(layer_class: type) -> str | None:
    """Return the name of the rule for a class; only Keras' own classes have one."""
    if "keras" not in sys.modules or not isinstance(layer_class, type):
        return None
    from kspike_energy.adapters.keras import class_kind

    return class_kind(layer_class)
