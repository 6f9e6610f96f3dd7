"""Draw the firing rates of a network trained with and without a penalty on them.

Two networks learn scikit-learn's handwritten digits with spikes, one of them with `MeanRates`.

Usage: python examples/rate_distribution.py [--out FIGURE.png]
"""

import argparse
import pathlib
import sys

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import kspike_tf
from kspike_ref import plot

SEED = 0
DT = 0.005  # seconds
TIMESTEPS = 20
TARGET = (10.0, 40.0)  # Hz
NEURONS = 128


def trained(images: np.ndarray, labels: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    """Train a network; return the mean rate of every hidden neuron in Hz, and the accuracy."""
    keras.utils.set_random_seed(SEED)
    regularizer = kspike_tf.regularizers.MeanRates(TARGET, l2=penalty) if penalty else None
    spiking = kspike_tf.SpikingActivation(
        "relu", dt=DT, seed=SEED, activity_regularizer=regularizer, name="hidden"
    )
    model = keras.Sequential(
        [
            keras.Input((None, 64)),
            keras.layers.Rescaling(100.0),
            keras.layers.Dense(NEURONS),
            spiking,
            kspike_tf.Lowpass(0.05, dt=DT, return_sequences=False),
            keras.layers.Rescaling(0.01),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(5e-3), loss, metrics=["accuracy"])
    shown = np.repeat(images[:, None], TIMESTEPS, axis=1)
    model.fit(shown[:-450], labels[:-450], epochs=20, batch_size=64, verbose=0)
    _, accuracy = model.evaluate(shown[-450:], labels[-450:], verbose=0)
    spikes = keras.Model(model.inputs, spiking.output).predict(shown[-450:], verbose=0)
    return spikes.mean(axis=(0, 1)), float(accuracy)


def draw(rates: dict[str, tuple[np.ndarray, float]]) -> Figure:
    """Return histograms of the rates of all neurons, on one scale."""
    with plot.style():
        figure = Figure(figsize=(4.5, 4.2))
        axes = figure.subplots(2, sharex=True, sharey=True)
    highest = max(float(each.max()) for each, _ in rates.values())
    bins = np.linspace(0, highest, 41)
    for place, (name, (each, accuracy)) in zip(axes, rates.items(), strict=True):
        place.axvspan(*TARGET, color="0.9")
        place.hist(each, bins, color=plot.COLORS[0])
        silent = np.mean(each == 0)
        place.set_title(
            f"{name}: accuracy {accuracy:.1%},\nmean {each.mean():.0f} Hz, {silent:.0%} silent",
            fontsize=10, loc="left",
        )  # fmt: skip
        place.set_ylabel("neurons")
    axes[1].set_xlabel("mean firing rate (Hz); grey: the target")
    return figure


def main() -> None:
    """Train both networks, and draw their rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("rates.png"))
    out = parser.parse_args().out
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    rates = {
        "without a penalty": trained(images, labels, 0.0),
        "with MeanRates": trained(images, labels, 2e-4),
    }
    draw(rates).savefig(out, dpi=200)
    inside = {
        name: float(np.mean((each >= TARGET[0]) & (each <= TARGET[1])))
        for name, (each, _) in rates.items()
    }
    for name, part in inside.items():
        sys.stdout.write(f"{name}: {part:.0%} of the neurons are within {TARGET} Hz\n")


if __name__ == "__main__":
    main()
