"""Worker of the same network without spikes: a ReLU in place of neurons and filter."""

from __future__ import annotations

import keras

from benchmarks.peers import _keras
from benchmarks.worker import serve


class LastStep(keras.layers.Layer):
    """Keep the last step of a sequence."""

    def call(self, inputs):
        """Return ``inputs`` at the last step."""
        return inputs[:, -1]


LAYERS = _keras.Layers(
    spiking=lambda dt, units: keras.layers.ReLU(),
    lowpass=lambda tau, dt, sequences, units: LastStep(),
    alpha=lambda tau, dt, sequences, units: LastStep(),
)

if __name__ == "__main__":
    serve({"fit": _keras.offers(LAYERS)["fit"]}, ["keras", "tensorflow", "numpy"])
