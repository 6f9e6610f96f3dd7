"""Train a spiking network on handwritten digits, run it without TensorFlow, estimate its energy.

The whole workflow in one script: kspike_tf trains the network and saves it, a second process that
cannot import TensorFlow runs the file with kspike_ref, and kspike_energy estimates the energy of an
inference. The script checks every claim; the exit status is 1 if one of them fails.

Usage: python examples/digits.py [--out FOLDER] [--epochs N] [--docs [--times]]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
from digits_docs import publish
from digits_figures import draw_figures
from digits_report import Point, Results, print_report
from digits_timing import timed
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import kspike_tf
from kspike_energy import ModelEnergy

DT = 0.005  # seconds per step
DURATION = 0.1  # seconds for which an image is shown
TIMESTEPS = round(DURATION / DT)
STEPS = (1, 2, 3, 5, 10, 20, 40)  # lengths of presentations in the figure of accuracy and energy
MAX_RATE = 100.0  # Hz, of a pixel at full brightness
SEED = 0
BATCH = 32
DEVICES = ("cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2")


def digits_as_rates() -> list[np.ndarray]:
    """Return training images, held-out images, and their labels; pixels are rates in Hz."""
    images, labels = load_digits(return_X_y=True)
    rates = (images * (MAX_RATE / images.max())).astype("float32")
    return train_test_split(rates, labels, test_size=450, random_state=SEED, stratify=labels)


def show(images: np.ndarray, timesteps: int) -> np.ndarray:
    """Present every image for a number of steps: (images, pixels) to (images, time, pixels)."""
    return np.repeat(images[:, None], timesteps, axis=1)


def build_model(dt: float = DT) -> keras.Model:
    """Return Dense → SpikingActivation → Lowpass → Dense, on inputs of any length."""
    inputs = x = keras.Input((None, 64), name="pixels")
    x = keras.layers.Dense(128, name="hidden")(x)
    x = kspike_tf.SpikingActivation(
        "relu",
        dt=dt,
        seed=SEED,
        # Firing costs energy: keep mean rates low, but above those of silent neurons.
        activity_regularizer=kspike_tf.regularizers.MeanRates(target=(5, 20), l2=1e-3),
        name="spikes",
    )(x)
    x = kspike_tf.Lowpass(0.05, dt=dt, return_sequences=False, name="filtered")(x)
    scores = keras.layers.Dense(10, kernel_initializer="zeros", name="scores")(x)
    return keras.Model(inputs, scores, name="digits")


def train(model: keras.Model, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Train with spikes in the forward pass, and the gradient of the rates in the backward pass."""
    steps = epochs * -(-len(images) // BATCH)
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(show(images, TIMESTEPS), labels, epochs=epochs, batch_size=BATCH)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of images whose label has the highest score."""
    return float(np.mean(scores.argmax(axis=-1) == labels))


def run_in_keras(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray | float]:
    """Return scores, rates and spikes of the held-out digits, and the time per image."""
    shown = show(images, TIMESTEPS)
    scores, seconds = timed(lambda: model.predict(shown, batch_size=len(shown), verbose=0))
    inside = keras.Model(
        model.inputs, [model.get_layer("hidden").output, model.get_layer("spikes").output]
    )
    rates, spikes = inside.predict(shown, batch_size=len(shown), verbose=0)
    return {
        "scores": scores,
        "rates": np.maximum(rates, 0),
        "spikes": spikes,
        "seconds_per_image": seconds / len(images),
    }


def run_without_tensorflow(
    model_path: pathlib.Path, images: np.ndarray, rates: np.ndarray
) -> dict[str, np.ndarray]:
    """Run the saved model in a second process, which cannot import TensorFlow."""
    inputs, results = (model_path.with_name(f"digits-{name}.npz") for name in ("inputs", "results"))
    np.savez(
        inputs,
        images=show(images, TIMESTEPS),
        rates=rates,
        timesteps=TIMESTEPS,
        dt=DT,
        seed=SEED,
        devices=DEVICES,
    )
    script = pathlib.Path(__file__).with_name("digits_reference.py")
    subprocess.run([sys.executable, script, model_path, inputs, results], check=True)
    with np.load(results) as found:
        return dict(found)


def by_steps(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> list[Point]:
    """Return accuracy and energy for images that are shown for different numbers of steps."""
    points = []
    for steps in STEPS:
        shown = show(images, steps)
        with warnings.catch_warnings():  # the shortest presentations show what too few spikes cost
            warnings.simplefilter("ignore", kspike_tf.FewSpikesWarning)
            scores = model.predict(shown, batch_size=len(shown), verbose=0)
        energy = ModelEnergy(model, example_data=shown)
        joules = {
            device: energy.total_energy(device, timesteps_per_inference=steps, dt=DT)
            for device in DEVICES
        }
        points.append(Point(steps, accuracy(scores, labels), joules))
    return points


def ordinary_accuracy(model: keras.Model, rates: np.ndarray, labels: np.ndarray) -> float:
    """Return the accuracy of the same weights without spikes: rates go straight to the scores."""
    return accuracy(model.get_layer("scores")(rates[:, -1]).numpy(), labels)


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--docs", action="store_true", help="write README and docs from this run")
    parser.add_argument("--times", action="store_true", help="with --docs: write the times, too")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(SEED)
    images, held_out, labels, held_out_labels = digits_as_rates()
    model = build_model()
    train(model, images, labels, arguments.epochs)
    model_path = arguments.out / "digits.keras"
    model.save(model_path)
    print(f"Saved {model_path}")

    in_keras = run_in_keras(model, held_out)
    print("Running it in a process that cannot import TensorFlow ...")
    in_reference = run_without_tensorflow(model_path, held_out, in_keras["rates"])
    energy = ModelEnergy(model, example_data=show(held_out, TIMESTEPS))
    results = Results(
        labels=held_out_labels,
        keras=in_keras,
        reference=in_reference,
        keras_joules={
            device: energy.total_energy(device, timesteps_per_inference=TIMESTEPS, dt=DT)
            for device in DEVICES
        },
        reference_joules=json.loads(str(in_reference["joules"])),
        dt=DT,
        ordinary_accuracy=ordinary_accuracy(model, in_keras["rates"], held_out_labels),
        by_steps=by_steps(model, held_out, held_out_labels),
    )
    all_hold, table = print_report(results)
    figures = draw_figures(arguments.out, results, held_out)
    for figure in figures:
        print(f"Figure: {figure}")
    if arguments.docs:
        publish(table, figures, arguments.times)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
