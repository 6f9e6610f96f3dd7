"""Statistics and devices that users registered; one registry for the process."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kspike_energy.devices import built_in_devices
from kspike_energy.nodes import Node

__all__ = ["DEVICES", "STATISTICS", "Statistics", "find_statistics"]

Statistics: TypeAlias = Callable[[Node], Mapping[str, Any]]

DEVICES = built_in_devices()

# By class, or by the name under which Keras saves the class.
STATISTICS: dict[type | str, Statistics] = {}


def find_statistics(cls: type | None, kind: str | None) -> Statistics | None:
    """Return what was registered for a class, or for the name under which it is saved."""
    if cls is not None and cls in STATISTICS:
        return STATISTICS[cls]
    return STATISTICS.get(kind) if kind is not None else None
