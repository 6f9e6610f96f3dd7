"""Trainer of the small digits model that tests and documentation of the command use.

Run ``python tests/golden/digits/make.py`` to train it again.
"""

from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits

import kspike_tf

HERE = Path(__file__).parent
TEST = 297  # the last images are held out
MAX_RATE = 100.0  # Hz, of a white pixel


def model():
    x = inputs = keras.Input((None, 64), name="pixels")
    x = keras.layers.Dense(32, name="hidden")(x)
    x = kspike_tf.SpikingActivation("relu", dt=0.005, seed=0, name="spikes")(x)
    x = kspike_tf.Lowpass(0.05, dt=0.005, return_sequences=False, name="filtered")(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="scores")(x), name="digits")


def main():
    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    rates = (images * (MAX_RATE / 16)).astype("float32")
    x, y = rates[:-TEST, None].repeat(20, axis=1), labels[:-TEST]
    network = model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(2e-3), loss=loss, metrics=["accuracy"])
    network.fit(x, y, epochs=20, batch_size=32, verbose=2)
    network.save(HERE / "digits.keras", include_optimizer=False)
    images = images[-TEST:].astype("uint8")
    np.savez_compressed(HERE / "digits.npz", images=images, y=labels[-TEST:])


if __name__ == "__main__":
    main()
