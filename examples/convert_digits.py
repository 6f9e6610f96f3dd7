"""Convert a trained convolutional network into a spiking one, then train it to spike less.

An ordinary Keras model with batch normalisation and max pooling learns scikit-learn's handwritten
digits. `kspike_tf.convert` converts it to a spiking model, and kspike_ref runs the saved file for
several numbers of steps. A second conversion has half the firing rates, and loses accuracy. Five
epochs of spiking-aware training with a penalty on rates restore it, with even fewer spikes.

Usage: python examples/convert_digits.py [--epochs N]
"""

import argparse
import pathlib
import tempfile
from typing import NamedTuple

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kspike_ref
import kspike_tf
from kspike_tf.regularizers import MeanRates

SEED = 0
MAX_RATE = 500.0  # Hz of the busiest neurons
TIMESTEPS = (20, 40, 60, 100)  # of 1 ms
FINE_TUNING_RATE = 250.0  # Hz of the busiest neurons, before training
FINE_TUNING_STEPS = 40
PENALTY = 3e-4  # per Hz and neuron


class Digits(NamedTuple):
    """Images (examples, 8, 8, 1) from 0 to 1, and labels."""

    images: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    held_out_labels: np.ndarray


def load() -> Digits:
    """Return the digits, 450 of 1,797 held out."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    train, test, train_labels, test_labels = train_test_split(
        images, labels, test_size=450, random_state=SEED, stratify=labels
    )
    return Digits(train, train_labels, test, test_labels)


def ordinary_model(shape: tuple[int, ...] = (8, 8, 1)) -> keras.Model:
    """Return an ordinary convolutional network, for images of one shape."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(16, 3, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same"),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def train(model: keras.Model, digits: Digits, epochs: int) -> None:
    """Train without spikes."""
    steps = epochs * -(-len(digits.images) // 64)
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    model.fit(digits.images, digits.labels, batch_size=64, epochs=epochs, verbose=0)


def fine_tune(model: keras.Model, digits: Digits, epochs: int = 5) -> None:
    """Train with spikes, and with a penalty on mean rates."""
    for layer in model.layers:
        if isinstance(layer, kspike_tf.SpikingActivation):
            layer.activity_regularizer = MeanRates(target=0.0, l1=PENALTY)
    shown = np.repeat(digits.images[:, None], FINE_TUNING_STEPS, axis=1)
    steps = epochs * -(-len(shown) // 64)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    model.fit(shown, digits.labels, batch_size=64, epochs=epochs, verbose=0)


def in_reference(model: keras.Model) -> kspike_ref.Model:
    """Save a model and load it in kspike_ref."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "spiking.keras"
        model.save(path)
        return kspike_ref.load_model(path)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of images whose label has the highest score."""
    return float(np.mean(scores.argmax(axis=-1) == labels))


def to_fine_tune(model: keras.Model, digits: Digits) -> keras.Model:
    """Return a conversion with few spikes, and with weights of the scale that optimisers expect."""
    return kspike_tf.convert(
        model,
        calibration_data=digits.images[:500],
        max_rate=FINE_TUNING_RATE,
        timesteps=FINE_TUNING_STEPS,
        trainable_rates=True,
    ).model


def points(model: keras.Model, digits: Digits) -> kspike_tf.Sweep:
    """Return accuracy, spikes and energy for different numbers of steps."""
    return kspike_tf.sweep(
        in_reference(model),
        digits.held_out,
        digits.held_out_labels,
        timesteps=TIMESTEPS,
        devices=("loihi", "cpu"),
    )


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    epochs = parser.parse_args().epochs
    keras.utils.set_random_seed(SEED)
    digits = load()
    model = ordinary_model()
    train(model, digits, epochs)
    scores = model.predict(digits.held_out, verbose=0)
    print(f"Without spikes: {accuracy(scores, digits.held_out_labels):.2%}")

    conversion = kspike_tf.convert(
        model, calibration_data=digits.images[:500], max_rate=MAX_RATE, timesteps=max(TIMESTEPS)
    )
    print(conversion.report)
    print(f"Converted:\n{points(conversion.model, digits)}")
    fewer = to_fine_tune(model, digits)
    print(f"Half the rates:\n{points(fewer, digits)}")
    fine_tune(fewer, digits)
    print(f"After fine-tuning:\n{points(fewer, digits)}")


if __name__ == "__main__":
    main()
