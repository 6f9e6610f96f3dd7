"""kspike_ref: exact spike and filter dynamics, and trained Keras models, without TensorFlow."""

from kspike_ref.layers.base import Layer
from kspike_ref.layers.errors import UnsupportedLayerError
from kspike_ref.layers.registry import register_layer
from kspike_ref.layers.stateful import StatefulLayer
from kspike_ref.loading import load_model
from kspike_ref.model import Model
from kspike_ref.running.few_spikes import FewSpikesWarning
from kspike_ref.running.recording import Recording
from kspike_ref.saved.archive import ArchiveError
from kspike_ref.spiking import initial_voltage, spiking_activation
from kspike_ref.synapses import alpha, lowpass

__all__ = [
    "ArchiveError",
    "FewSpikesWarning",
    "Layer",
    "Model",
    "Recording",
    "StatefulLayer",
    "UnsupportedLayerError",
    "alpha",
    "initial_voltage",
    "load_model",
    "lowpass",
    "register_layer",
    "spiking_activation",
]


def __getattr__(name: str) -> str:
    """Return the version on demand, because the lookup takes milliseconds."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kspike-ref")
    except PackageNotFoundError:  # run from the sources, without an installation
        return "unknown"


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
