"""Converted networks on real data: what they lose, and that kspike_ref agrees."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest

import kspike_tf

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "convert_digits.py"
layers = keras.layers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("convert_digits", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def multilayer_perceptron():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def convolution(x, filters, strides=1, kernel=3):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def residual_network():
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(convolution(inputs, 16))
    for filters, strides in ((16, 1), (32, 2)):
        inner = layers.ReLU()(convolution(x, filters, strides))
        inner = convolution(inner, filters)
        x = convolution(x, filters, strides, kernel=1) if strides > 1 else x
        x = layers.ReLU()(layers.Add()([inner, x]))
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs)


# The operating points that the guide names: Hz of the busiest neurons, steps of 1 ms, readout.
POINTS = {
    "multilayer perceptron": (500.0, 60, "mean"),
    "convolutional": (500.0, 100, "last"),
    "residual": (500.0, 100, "last"),
}


@pytest.mark.parametrize("name", POINTS)
def test_loses_half_a_point_at_most(name, example):
    make = {
        "multilayer perceptron": multilayer_perceptron,
        "convolutional": example.ordinary_model,
        "residual": residual_network,
    }[name]
    max_rate, timesteps, readout = POINTS[name]
    keras.utils.set_random_seed(0)
    digits, model = example.load(), make()
    example.train(model, digits, 30)
    ordinary = model.predict(digits.held_out, verbose=0)
    conversion = kspike_tf.convert(
        model,
        calibration_data=digits.images[:500],
        max_rate=max_rate,
        readout=readout,
        timesteps=1,
    )
    reference = example.in_reference(conversion.model)
    scores = reference.predict(digits.held_out, timesteps=timesteps)
    correct = [example.accuracy(each, digits.held_out_labels) for each in (ordinary, scores)]
    assert correct[0] > 0.96  # there is something to lose
    assert correct[1] >= correct[0] - 0.005
    in_keras = conversion.predict(digits.held_out, timesteps, verbose=0)
    assert np.mean(in_keras.argmax(-1) == scores.argmax(-1)) >= 0.999
