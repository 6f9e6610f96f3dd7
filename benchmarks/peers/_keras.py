"""Common code of the Keras contestants, for TensorFlow 2.10 and 2.21.

All are measured in a plain `tf.function` and under XLA (`jit_compile=True`); the report shows the
faster mode.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import works
from benchmarks.worker import Builder, Job

Layer = Any
MODES = {"tf.function": False, "XLA": True}


@dataclasses.dataclass(frozen=True)
class Layers:
    """Functions that make a contestant's layers.

    Parameters
    ----------
    spiking : callable
        ``(dt, units) -> layer`` with a ReLU as base activation.
    lowpass, alpha : callable
        ``(tau, dt, return_sequences, units) -> layer``.
    """

    spiking: Callable[..., Layer]
    lowpass: Callable[..., Layer]
    alpha: Callable[..., Layer]

    def layer(self, work: works.Work) -> Layer:
        """Return the layer of a piece of work, for whole sequences."""
        if work.kind.startswith("spiking"):
            return self.spiking(works.DT, work.units)
        make = self.lowpass if work.kind.startswith("lowpass") else self.alpha
        return make(works.TAU, works.DT, True, work.units)


def forward(layers: Layers, xla: bool) -> Builder:
    """Return a builder of a layer's forward pass."""

    def build(work: works.Work, _: pathlib.Path) -> Job:
        x = tf.constant(works.rates(work))
        layer = layers.layer(work)
        layer(x[:1, :2])  # builds it
        run = tf.function(lambda x: layer(x, training=False), jit_compile=xla)
        return Job(lambda: run(x), lambda y: works.check_forward(work, y.numpy()))

    return build


def gradient(layers: Layers, xla: bool) -> Builder:
    """Return a builder of a forward and backward pass of the loss Σ y², to inputs and weights."""

    def build(work: works.Work, _: pathlib.Path) -> Job:
        x = tf.constant(works.rates(work))
        layer = layers.layer(work)
        layer(x[:1, :2])

        @tf.function(jit_compile=xla)
        def step(x: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(tf.square(layer(x, training=True)))
            return tape.gradient(loss, [x, *layer.trainable_variables])

        return Job(lambda: step(x), lambda g: works.check_gradient(work, g[0].numpy()))

    return build


def model(layers: Layers, found: dict[str, np.ndarray], repeat: int = 0) -> tf.keras.Model:
    """Return 784→128→spiking→lowpass→10 with the prepared weights.

    With ``repeat``, the input is one image, and the first layer runs before it is repeated.
    """
    hidden = tf.keras.layers.Dense(found["hidden_bias"].size)
    scores = tf.keras.layers.Dense(found["scores_bias"].size)
    size = found["images"].shape[-1]
    inputs = tf.keras.Input((size,) if repeat else (None, size))
    x = hidden(inputs)
    if repeat:
        x = tf.keras.layers.RepeatVector(repeat)(x)
    x = layers.spiking(works.MODEL_DT, hidden.units)(x)
    x = layers.lowpass(works.TAU, works.MODEL_DT, False, hidden.units)(x)
    built = tf.keras.Model(inputs, scores(x))
    hidden.set_weights([found["hidden_kernel"], found["hidden_bias"]])
    scores.set_weights([found["scores_kernel"], found["scores_bias"]])
    return built


def predict(layers: Layers, batch_size: int, repeat: bool = False, xla: bool = False) -> Builder:
    """Return a builder of Keras' own ``predict``."""

    def build(work: works.Work, data: pathlib.Path) -> Job:
        found = works.digits(data, work)
        made = model(layers, found, work.steps if repeat else 0)
        made.compile(jit_compile=xla)
        x = found["images"] if repeat else works.frames(data, work)
        return Job(
            lambda: made.predict(x, batch_size=batch_size, verbose=0),
            lambda y: works.check_scores(work, data, y),
        )

    return build


def one_image(layers: Layers, xla: bool) -> Builder:
    """Return a builder of the model in a function, for one image."""

    def build(work: works.Work, data: pathlib.Path) -> Job:
        found = works.digits(data, work)
        made = model(layers, found)
        x = works.frames(data, work)
        run = tf.function(lambda x: made(x, training=False), jit_compile=xla)
        return Job(lambda: run(tf.constant(x)).numpy(), lambda y: works.check_scores(work, data, y))

    return build


class StepTimes(tf.keras.callbacks.Callback):
    """A record of the times at which training steps began and the last one ended.

    Whole epochs are less informative: at their end Keras waits while TensorFlow tunes its input
    pipeline, which takes a variable time, at times more than half a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[float] = []
        self.ended = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Record the time."""
        self.begun.append(time.perf_counter())

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Record the time."""
        self.ended = time.perf_counter()


def fit(layers: Layers, xla: bool) -> Builder:
    """Return a builder of an epoch of training, whose time is the median time of a step."""

    def build(work: works.Work, data: pathlib.Path) -> Job:
        found = works.digits(data, work)
        made = model(layers, found)
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        made.compile(optimizer="adam", loss=loss, jit_compile=xla)
        x = works.frames(data, work)

        def epoch() -> tuple[float, float]:
            times = StepTimes()
            options = {"batch_size": 32, "verbose": 0, "callbacks": [times]}
            history = made.fit(x, found["labels"], **options).history
            return history["loss"][-1], float(np.median(np.diff(times.begun)))

        return Job(epoch, lambda told: {"loss": told[0]}, lambda told: told[1])

    return build


def recipe(layers: Layers) -> Builder:
    """Return a builder of the same training from the same weights, once per seed."""

    def build(work: works.Work, data: pathlib.Path) -> Job:
        with np.load(data / "recipe.npz") as stored:
            found = dict(stored)
        return Job(
            lambda: [trained(layers, found, seed, work.steps) for seed in range(work.batch)],
            lambda accuracies: {"accuracies": accuracies},
        )

    return build


def trained(layers: Layers, found: dict[str, np.ndarray], seed: int, steps: int) -> float:
    """Train 64→128→spiking→lowpass→10 with Adam; return the accuracy on held-out digits."""
    tf.keras.utils.set_random_seed(seed)
    generator = np.random.default_rng(seed)
    hidden = generator.uniform(-0.18, 0.18, (64, 128)).astype(np.float32)  # Glorot's range
    weights = {
        "images": found["images"],
        "hidden_kernel": hidden,
        "hidden_bias": np.zeros(128, np.float32),
        "scores_kernel": np.zeros((128, 10), np.float32),
        "scores_bias": np.zeros(10, np.float32),
    }
    made = model(layers, weights)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    made.compile(optimizer="adam", loss=loss)
    shown = works.shown(found["images"], steps)
    made.fit(shown, found["labels"], epochs=works.RECIPE_EPOCHS, batch_size=32, verbose=0)
    scores = made.predict(works.shown(found["test_images"], steps), verbose=0)
    return float((scores.argmax(axis=-1) == found["test_labels"]).mean())


def energy(layers: Layers, make: Callable[..., Any]) -> Builder:
    """Return a builder of an energy estimate: construct it, run the data, total six devices."""

    def build(work: works.Work, data: pathlib.Path) -> Job:
        found = works.digits(data, work)
        made = model(layers, found)
        x = works.frames(data, work)
        return Job(lambda: totals(make(made, example_data=x), work.steps), dict)

    return build


def totals(estimate: Any, steps: int) -> dict[str, float]:
    """Return joules per inference on the six devices that all contestants know."""
    return {
        device: float(
            estimate.total_energy(device, timesteps_per_inference=steps, dt=works.MODEL_DT)
        )
        for device in works.DEVICES
    }


def offers(layers: Layers, repeat: bool = True) -> dict[str, dict[str, Builder]]:
    """Return all work that a set of Keras layers offers."""
    sizes = (256, 1000, 10_000)
    static = {f"batches of {size}": predict(layers, size) for size in sizes}
    static["batches of 1000, XLA"] = predict(layers, 1000, xla=True)
    if repeat:
        static["RepeatVector after the first layer"] = predict(layers, 1000, repeat=True)
    varying = {f"batches of {size}": predict(layers, size) for size in sizes}
    varying["batches of 1000, XLA"] = predict(layers, 1000, xla=True)
    found: dict[str, dict[str, Builder]] = {
        "predict-static": static,
        "predict-varying": varying,
        "one-image": {mode: one_image(layers, xla) for mode, xla in MODES.items()},
        "fit": {mode: fit(layers, xla) for mode, xla in MODES.items()},
        "recipe": {"": recipe(layers)},
    }
    for kind in works.DYNAMICS:
        found[kind] = {mode: forward(layers, xla) for mode, xla in MODES.items()}
        found[f"{kind}-gradient"] = {mode: gradient(layers, xla) for mode, xla in MODES.items()}
    return found
