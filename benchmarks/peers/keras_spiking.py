"""Worker of KerasSpiking, which kspike replaces."""

from __future__ import annotations

import keras_spiking

from benchmarks.peers import _keras
from benchmarks.worker import serve

LAYERS = _keras.Layers(
    spiking=lambda dt, units: keras_spiking.SpikingActivation("relu", dt=dt, seed=0),
    lowpass=lambda tau, dt, sequences, units: keras_spiking.Lowpass(
        tau, dt=dt, return_sequences=sequences
    ),
    alpha=lambda tau, dt, sequences, units: keras_spiking.Alpha(
        tau, dt=dt, return_sequences=sequences
    ),
)
OFFERS = {
    **_keras.offers(LAYERS),
    "energy": {"": _keras.energy(LAYERS, keras_spiking.ModelEnergy)},
}

if __name__ == "__main__":
    serve(OFFERS, ["keras-spiking", "tensorflow", "keras", "numpy"])
