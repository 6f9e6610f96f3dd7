"""Options of a conversion."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

_CHOICES = {
    "max_pooling": ("keep", "average", "refuse"),
    "other_activations": ("spike", "keep", "refuse"),
    "readout": (None, "last", "mean", "sequence"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `kspike_tf.convert`; ``reading`` is the readout that is built."""

    dt: float
    max_rate: float
    percentile: float
    synapse: float | None
    trainable_rates: bool
    scale: float | Mapping[str, float] | None
    max_pooling: str
    other_activations: str
    readout: str | None
    timesteps: int | None
    spiking_aware_training: bool
    seed: int | None

    @property
    def reading(self) -> str:
        """Reduction of time after the last neurons: ``readout``, or its default."""
        return self.readout or ("mean" if self.synapse is None else "last")

    def check(self) -> None:
        """Raise a ValueError or TypeError that names the first invalid option."""
        _check_positive(self.dt, "dt")
        _check_positive(self.max_rate, "max_rate")
        _check_positive(self.percentile, "percentile")
        if self.percentile > 100:
            raise ValueError(f"percentile must be at most 100. Received: {self.percentile!r}")
        optional = {"synapse": self.synapse, "scale": self.scale}
        if isinstance(self.scale, Mapping):
            del optional["scale"]
            optional |= {f"scale[{layer!r}]": value for layer, value in self.scale.items()}
        for name, value in optional.items():
            if value is not None:
                _check_positive(value, name)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {known}. Received: {name}={getattr(self, name)!r}"
                )
        steps = self.timesteps
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int)):
            raise TypeError(f"timesteps must be an integer or None. Received: {steps!r}")
        if steps is not None and steps < 1:
            raise ValueError(f"timesteps must be positive. Received: timesteps={steps!r}")
        if self.readout == "last" and self.synapse is None:
            raise ValueError(
                "readout='last' needs a synapse: the last step of unfiltered spikes carries little "
                "information. Use readout='mean'"
            )


def _check_positive(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} must be a number. Received: {name}={value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be positive and finite. Received: {name}={value!r}")
