"""Train a neuron of your own: leaky integrate-and-fire, with trainable membrane time constants.

`kspike_tf.layers.KerasSpikingCell` computes one time step; `KerasSpikingLayer` runs it over time.
TensorFlow differentiates the steps. Run as ``python examples/custom_neuron.py [--epochs N]``.
"""

import argparse
import math
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import kspike_tf
from kspike_tf.layers import KerasSpikingCell, KerasSpikingLayer

DT = 0.005  # seconds
STEPS = 12
SLOPE = 10.0


@tf.custom_gradient
def threshold(excess):
    """Return spikes where the voltage reaches the threshold, with a surrogate gradient.

    The surrogate is the fast sigmoid's, 1 / (1 + slope·|excess|)² (Zenke and Ganguli, SuperSpike,
    Neural Computation 30(6), 2018).
    """
    spikes = tf.cast(excess >= 0, excess.dtype)
    return spikes, lambda d_spikes: d_spikes / tf.square(1 + SLOPE * tf.abs(excess))


@keras.saving.register_keras_serializable("custom_neuron")
class LIFCell(KerasSpikingCell):
    """One time step of leaky integrate-and-fire neurons.

    For an input J that is constant within a step, the voltage follows τ·dv/dt = J − v exactly. At
    1 the neuron spikes, and its voltage drops by 1.
    """

    def __init__(self, size, tau=0.02, **kwargs):
        super().__init__(size=size, **kwargs)
        self.initial_tau = tau

    def build(self, input_shape):
        """Create one time constant per neuron. Its logarithm is trained, so it stays positive."""
        self.log_tau = self.add_weight(
            shape=self.size,
            initializer=keras.initializers.Constant(math.log(self.initial_tau)),
            name="log_tau",
        )

    @property
    def tau(self):
        """Membrane time constants, in seconds."""
        return tf.exp(self.log_tau)

    def call_inference(self, inputs, states):
        """Return the outputs and the states after one step; `call` uses it in training too."""
        decay = tf.exp(-self.step_length() / self.tau)
        voltage = inputs + decay * (states[0] - inputs)
        spikes = threshold(voltage - 1)
        return spikes / self.step_length(), [voltage - spikes]

    def get_config(self):
        """Return the configuration that recreates the cell."""
        return {**super().get_config(), "tau": self.initial_tau}


@keras.saving.register_keras_serializable("custom_neuron")
class LIF(KerasSpikingLayer):
    """Leaky integrate-and-fire neurons over time."""

    def __init__(self, tau=0.02, **kwargs):
        super().__init__(**kwargs)
        self.tau = tau

    def build_cell(self, input_shape):
        """Create the cell, now that the number of neurons is known."""
        return LIFCell(input_shape[2:], tau=self.tau, dt=self.dt)

    def get_config(self):
        """Return the configuration that recreates the layer."""
        return {**super().get_config(), "tau": self.tau}


def make_model():
    """Return a classifier with a hidden layer of integrate-and-fire neurons."""
    return keras.Sequential(
        [
            keras.Input((None, 64)),
            keras.layers.Dense(64),
            LIF(dt=DT, name="lif"),
            kspike_tf.Lowpass(0.05, dt=DT, return_sequences=False),
            keras.layers.Rescaling(DT),  # spikes of height 1 instead of 1/dt
            keras.layers.Dense(10),
        ]
    )


def main():
    """Train on handwritten digits, save, load, and print the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    epochs = parser.parse_args().epochs

    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    images = np.tile(images[:, None].astype(np.float32) / 16, (1, STEPS, 1))
    train, test = slice(0, 1400), slice(1400, None)

    model = make_model()
    model.compile(
        keras.optimizers.Adam(5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(images[train], labels[train], epochs=epochs, verbose=2)
    _, accuracy = model.evaluate(images[test], labels[test], verbose=0)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lif.keras"
        model.save(path)
        loaded = keras.models.load_model(path)
    same = np.array_equal(
        model.predict(images[test], verbose=0), loaded.predict(images[test], verbose=0)
    )

    tau = 1000 * model.get_layer("lif").layer.cell.tau.numpy()
    print(f"accuracy on held-out digits: {accuracy:.3f}")
    print(f"membrane time constants: {tau.min():.1f} to {tau.max():.1f} ms (20 ms before)")
    print(f"the loaded model answers the same: {same}")


if __name__ == "__main__":
    main()
