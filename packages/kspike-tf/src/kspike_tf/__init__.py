"""Trainable spiking layers and synaptic filters for Keras 3."""

from kspike_tf import (
    callbacks,
    config,
    constraints,
    export,
    layers,
    metrics,
    model_energy,
    regularizers,
)
from kspike_tf.config import default
from kspike_tf.conversion import Conversion, convert
from kspike_tf.few_spikes import FewSpikesWarning
from kspike_tf.layers import (
    Alpha,
    AlphaCell,
    Lowpass,
    LowpassCell,
    SpikingActivation,
    SpikingActivationCell,
    TimeFolded,
)
from kspike_tf.model_energy import ModelEnergy
from kspike_tf.rates import RateReport, rate_report
from kspike_tf.recording import Recording, record
from kspike_tf.sweeping import Sweep, sweep

__all__ = [
    "Alpha",
    "AlphaCell",
    "Conversion",
    "FewSpikesWarning",
    "Lowpass",
    "LowpassCell",
    "ModelEnergy",
    "RateReport",
    "Recording",
    "SpikingActivation",
    "SpikingActivationCell",
    "Sweep",
    "TimeFolded",
    "callbacks",
    "config",
    "constraints",
    "convert",
    "default",
    "export",
    "layers",
    "metrics",
    "model_energy",
    "rate_report",
    "record",
    "regularizers",
    "sweep",
]


def __getattr__(name: str) -> str:
    """Return the version on demand, because looking it up takes milliseconds."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kspike-tf")
    except PackageNotFoundError:  # run from the sources, without an installation
        return "unknown"


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
