"""Statistics and devices that users registered; one registry for the process."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kspike_energy.counting.nodes import Node
from kspike_energy.devices.table import built_in_devices

__all__ = [
    "DEVICES",
    "STATISTICS",
    "Statistics",
    "check_layer_class",
    "find_statistics",
    "forget_statistics",
    "set_statistics",
]

Statistics: TypeAlias = Callable[[Node], Mapping[str, Any]]

DEVICES = built_in_devices()

# By class, or by the name under which Keras saves the class.
STATISTICS: dict[type | str, Statistics] = {}


def check_layer_class(layer_class: object) -> None:
    """Raise if statistics cannot be registered for this."""
    if not isinstance(layer_class, (type, str)):
        raise TypeError(f"layer_class must be a class. Received: layer_class={layer_class!r}")


def set_statistics(layer_class: type | str, function: Statistics, *, warn: bool = False) -> None:
    """Register how a layer is counted.

    Parameters
    ----------
    layer_class : type or str
        Its class, or the name under which Keras saves the class.
    function : callable
        From a node to a dictionary of statistics.
    warn : bool, optional
        Whether to warn if another function is replaced.

    Raises
    ------
    TypeError
        If ``layer_class`` is neither a class nor text, or the function cannot be called.
    """
    check_layer_class(layer_class)
    if not callable(function):
        raise TypeError(f"statistics must be a function of a node. Received: {function!r}")
    known = STATISTICS.get(layer_class)
    if warn and known is not None and known is not function:
        name = layer_class if isinstance(layer_class, str) else layer_class.__name__
        warnings.warn(
            f"layer {name!r} was registered already; the new function replaces the old one",
            stacklevel=3,
        )
    for key in _keys(layer_class):
        STATISTICS[key] = function


def forget_statistics(layer_class: type | str) -> None:
    """Take back what was registered for a class, or for the name under which it is saved.

    Raises
    ------
    KeyError
        If nothing was.
    """
    function = STATISTICS.pop(layer_class)
    for key in _keys(layer_class):
        if STATISTICS.get(key) is function:
            del STATISTICS[key]


def _keys(layer_class: type | str) -> list[type | str]:
    """Return the class, and for Keras' own classes their name, for adapters without Keras."""
    own = isinstance(layer_class, type) and layer_class.__module__.startswith("keras.")
    return [layer_class, layer_class.__name__] if own else [layer_class]  # type: ignore[union-attr]


def find_statistics(cls: type | None, kind: str | None) -> Statistics | None:
    """Return what was registered for a class, or for the name under which it is saved."""
    if cls is not None and cls in STATISTICS:
        return STATISTICS[cls]
    return STATISTICS.get(kind) if kind is not None else None
