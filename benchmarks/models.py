"""Variations of the trained spiking model that users build from the same parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SEED = 0
DT, TAU = 0.001, 0.1  # seconds

NAMES = ("dense", "reshape", "skip", "tanh", "normalised", "convolutions")
TITLES = {
    "dense": "Dense, spiking, Lowpass, Dense",
    "reshape": "the same behind `Reshape((-1, 784))`",
    "skip": "a second spiking layer with a skip connection",
    "tanh": "tanh instead of ReLU",
    "normalised": "batch normalisation, softmax",
    "convolutions": "two strided convolutions in TimeDistributed, spiking between",
}


def shape(name: str) -> tuple[int, ...]:
    """Return the shape of an image that the named model takes."""
    return {"reshape": (28, 28), "convolutions": (28, 28, 1)}.get(name, (784,))


def make(name: str) -> Any:
    """Return the named model, with weights that make its neurons fire at about 50 Hz."""
    import keras

    keras.utils.set_random_seed(SEED)
    inputs = keras.Input((None, *shape(name)))
    model = keras.Model(inputs, _OUTPUTS[name](inputs))
    _assign(model)
    return model


def _spikes(x: Any, activation: str = "relu") -> Any:
    import kspike_tf

    return kspike_tf.SpikingActivation(activation, dt=DT, seed=SEED)(x)


def _end(x: Any, activation: str | None = None) -> Any:
    """Filter, and return scores at every step."""
    import keras

    import kspike_tf

    filtered = kspike_tf.Lowpass(TAU, dt=DT, trainable=False)(x)
    return keras.layers.Dense(10, activation=activation)(filtered)


def _dense(x: Any) -> Any:
    import keras

    return _end(_spikes(keras.layers.Dense(128)(x)))


def _reshape(x: Any) -> Any:
    import keras

    return _dense(keras.layers.Reshape((-1, 784))(x))


def _skip(x: Any) -> Any:
    import keras

    first = keras.layers.Dense(128)(x)
    second = keras.layers.Dense(128)(_spikes(first))
    return keras.layers.Dense(10)(_spikes(keras.layers.Add()([first, second])))


def _tanh(x: Any) -> Any:
    import keras

    return _end(_spikes(keras.layers.Dense(128)(x), "tanh"))


def _normalised(x: Any) -> Any:
    import keras

    rates = keras.layers.BatchNormalization()(keras.layers.Dense(128)(x))
    return _end(_spikes(rates), "softmax")


def _convolutions(x: Any) -> Any:
    from keras import layers

    first = layers.TimeDistributed(layers.Conv2D(16, 3, strides=2))(x)
    second = layers.TimeDistributed(layers.Conv2D(32, 3, strides=2))(_spikes(first))
    return _end(layers.TimeDistributed(layers.Flatten())(_spikes(second)))


_OUTPUTS: dict[str, Callable[[Any], Any]] = {
    "dense": _dense,
    "reshape": _reshape,
    "skip": _skip,
    "tanh": _tanh,
    "normalised": _normalised,
    "convolutions": _convolutions,
}


def _assign(model: Any) -> None:
    """Give the kernels and the batch normalisation weights like those of a trained model."""
    rng = np.random.default_rng(SEED)
    for layer in model.layers:
        kernel = getattr(getattr(layer, "layer", layer), "kernel", None)
        if kernel is not None:
            scale = 20 if len(kernel.shape) == 4 else 3 if kernel.shape[0] == 784 else 1
            kernel.assign(rng.normal(0, scale, kernel.shape))
        if hasattr(layer, "moving_variance"):
            units = layer.moving_variance.shape
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, units))
            layer.gamma.assign(rng.uniform(0, 20, units))
