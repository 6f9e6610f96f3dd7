"""The registry of devices and counting functions, one per process."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from kspike_energy.checks import level_of_user, told_options
from kspike_energy.counting.nodes import Node
from kspike_energy.devices import Device, published_devices

__all__ = [
    "DEVICES",
    "STATISTICS",
    "Statistics",
    "find_statistics",
    "forget_statistics",
    "register_device",
    "register_layer",
    "set_statistics",
]

Statistics: TypeAlias = Callable[[Node], Mapping[str, Any]]

DEVICES = published_devices()

# By class, or by the name under which Keras saves the class.
STATISTICS: dict[type | str, Statistics] = {}


@told_options
def register_device(
    device_name: str,
    energy_per_synop: float,
    energy_per_neuron: float | None,
    spiking: bool,
    *,
    source: str = "",
    description: str = "",
    synop_range: tuple[float, float] | None = None,
    neuron_range: tuple[float, float] | None = None,
    energy_per_call: float = 0.0,
    energy_per_kernel: float = 0.0,
    energy_per_op: float | None = None,
    replace: bool = False,
) -> None:
    """Register a device.

    Parameters
    ----------
    device_name : str
        Name of the device.
    energy_per_synop, energy_per_neuron, spiking, source, description, synop_range, neuron_range, \
    energy_per_call, energy_per_kernel, energy_per_op
        As in `Device`.
    replace : bool, optional
        Whether to replace a device that has other figures without a warning.

    Raises
    ------
    TypeError, ValueError
        If a figure is negative, not finite, or not a number.

    Examples
    --------
    >>> register_device("example-chip", 1e-12, None, spiking=True)
    >>> DEVICES["example-chip"].energy_per_synop
    1e-12
    >>> DEVICES.remove("example-chip")
    """
    device = Device(
        device_name,
        energy_per_synop,
        energy_per_neuron,
        spiking,
        source,
        description,
        synop_range,
        neuron_range,
        energy_per_call,
        energy_per_kernel,
        energy_per_op,
    )
    DEVICES.add(device, replace=replace)


def register_layer(layer_class: type | str) -> Callable[[Statistics], Statistics]:
    """Return a decorator that registers a counting function for a layer.

    The function takes a `Node` and returns a dictionary with any of "connections" (0 by default),
    "neurons" (0) and "spiking" (True). Replacing a registered function causes a warning.

    Parameters
    ----------
    layer_class : type or str
        The layer's class, or the name under which Keras saves it (such as
        ``"mypackage>MyLayer"``), which works with every adapter.

    Raises
    ------
    TypeError
        If ``layer_class`` is neither a class nor a string, or the function is not callable.

    Examples
    --------
    >>> @register_layer("mypackage>Repeat")
    ... def repeat_stats(node):
    ...     return {"connections": 2 * node.input_shapes[-1]}
    """
    _check_layer_class(layer_class)

    def register(function: Statistics) -> Statistics:
        set_statistics(layer_class, function, warn=True)
        return function

    return register


def _check_layer_class(layer_class: object) -> None:
    if not isinstance(layer_class, (type, str)):
        raise TypeError(f"layer_class must be a class. Received: layer_class={layer_class!r}")


def set_statistics(layer_class: type | str, function: Statistics, *, warn: bool = False) -> None:
    """Register a counting function; if ``warn``, warn when it replaces another one."""
    _check_layer_class(layer_class)
    if not callable(function):
        raise TypeError(f"statistics must be a function of a node. Received: {function!r}")
    known = STATISTICS.get(layer_class)
    if warn and known is not None and known is not function:
        name = layer_class if isinstance(layer_class, str) else layer_class.__name__
        warnings.warn(
            f"layer {name!r} was registered already; the new function replaces the old one",
            stacklevel=level_of_user(),
        )
    for key in _keys(layer_class):
        STATISTICS[key] = function


def forget_statistics(layer_class: type | str) -> None:
    """Remove the function of a class, or of the name under which it is saved.

    Raises
    ------
    KeyError
        If there is none.
    """
    function = STATISTICS.pop(layer_class)
    for key in _keys(layer_class):
        if STATISTICS.get(key) is function:
            del STATISTICS[key]


def _keys(layer_class: type | str) -> list[type | str]:
    """Return the class; for Keras' own classes also the name, which other adapters look up."""
    own = isinstance(layer_class, type) and layer_class.__module__.startswith("keras.")
    return [layer_class, layer_class.__name__] if own else [layer_class]  # type: ignore[union-attr]


def find_statistics(cls: type | None, kind: str | None) -> Statistics | None:
    """Return the function of a class, or of the name under which it is saved."""
    if cls is not None and cls in STATISTICS:
        return STATISTICS[cls]
    return STATISTICS.get(kind) if kind is not None else None
