"""Preparation of the data that all contestants share: digits, a trained model and its weights.

Runs in the driver's environment, which has scikit-learn, TensorFlow and kspike.
"""

from __future__ import annotations

import os
import pathlib
import sys
from typing import Any

import numpy as np

from benchmarks import models, works

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SEED = 0
PIXEL_RATE = 100.0  # Hz, of a pixel at full brightness


def large_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 1,797 digits on 28×28 pixels as rates in Hz, and their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8), np.ones((3, 3)))
    framed = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    return (framed.reshape(-1, 784) * (PIXEL_RATE / 16)).astype(np.float32), labels


def small_digits() -> dict[str, np.ndarray]:
    """Return scikit-learn's digits, split as in the demo, for the training recipe."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images * (PIXEL_RATE / 16)).astype(np.float32)
    parts = train_test_split(images, labels, test_size=450, random_state=SEED, stratify=labels)
    return dict(zip(("images", "test_images", "labels", "test_labels"), parts, strict=True))


def classifier(dt: float, tau: float, sequences: bool) -> Any:
    """Return 784→128→spiking→lowpass→10 with untrained weights.

    Parameters
    ----------
    dt, tau : float
        Length of a step, and time constant of the filter, in seconds.
    sequences : bool
        Whether it returns scores at every step, or only at the last one.
    """
    import keras

    import kspike_tf

    inputs = x = keras.Input((None, 784))
    x = keras.layers.Dense(128, name="hidden")(x)
    x = kspike_tf.SpikingActivation("relu", dt=dt, seed=SEED)(x)
    x = kspike_tf.Lowpass(tau, dt=dt, return_sequences=sequences, trainable=False)(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="scores")(x))


def train(images: np.ndarray, labels: np.ndarray) -> Any:
    """Return the classifier, trained on its scores at the last step."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = classifier(works.MODEL_DT, works.TAU, sequences=False)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss)
    model.fit(works.shown(images, works.STATIC_STEPS), labels, epochs=3, batch_size=32, verbose=0)
    return model


def convolutional(channels: int) -> Any:
    """Return spiking layer → 3×3 convolution with random weights."""
    import keras

    import kspike_tf

    keras.utils.set_random_seed(SEED)
    inputs = keras.Input((None, works.CONV_SIDE, works.CONV_SIDE, channels))
    spikes = kspike_tf.SpikingActivation("relu", dt=works.DT, seed=SEED)(inputs)
    convolution = keras.layers.Conv2D(works.CONV_FILTERS, 3)
    return keras.Model(inputs, keras.layers.TimeDistributed(convolution)(spikes))


def prepare(folder: pathlib.Path) -> None:
    """Write the shared files into a folder."""
    import kspike_ref

    folder.mkdir(parents=True, exist_ok=True)
    images, labels = large_digits()
    model = train(images, labels)
    model.save(folder / "digits.keras")
    convolutional(32).save(folder / "conv.keras")
    for name in models.NAMES:
        models.make(name).save(folder / f"{name}.keras")
    np.savez(folder / "recipe.npz", **small_digits())
    hidden, scores = model.get_layer("hidden"), model.get_layer("scores")
    np.savez(
        folder / "digits.npz",
        images=images,
        labels=labels,
        hidden_kernel=np.asarray(hidden.kernel),
        hidden_bias=np.asarray(hidden.bias),
        scores_kernel=np.asarray(scores.kernel),
        scores_bias=np.asarray(scores.bias),
        voltage=kspike_ref.initial_voltage((128,), SEED),
    )


if __name__ == "__main__":
    prepare(pathlib.Path(sys.argv[1]))
