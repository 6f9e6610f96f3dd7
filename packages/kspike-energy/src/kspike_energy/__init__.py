"""Energy estimates for spiking and ordinary networks, from documented counting rules."""

from kspike_energy import model_energy
from kspike_energy.adapters import Adapter, register_adapter
from kspike_energy.calibration import fit_device
from kspike_energy.config import DefaultManager, default
from kspike_energy.counting.nodes import LayerSpec, Node
from kspike_energy.devices import Device
from kspike_energy.model_energy import ModelEnergy
from kspike_energy.network import Layer, Network
from kspike_energy.neurobench import metrics
from kspike_energy.presentation.comparison import Comparison

Application = Node  # the name that adapters use

__all__ = [
    "Adapter",
    "Application",
    "Comparison",
    "DefaultManager",
    "Device",
    "Layer",
    "LayerSpec",
    "ModelEnergy",
    "Network",
    "Node",
    "default",
    "fit_device",
    "metrics",
    "model_energy",
    "register_adapter",
]


def __getattr__(name: str) -> str:
    """Return the version. The lookup takes milliseconds, so it runs only on request."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kspike-energy")
    except PackageNotFoundError:  # a source tree without an installation
        return "unknown"


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
