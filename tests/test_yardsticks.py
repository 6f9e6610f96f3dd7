"""Tests of converted networks on real data: their loss of accuracy, and kspike_ref's agreement."""

import importlib.util
import pathlib
import re
import sys

import keras
import numpy as np
import pytest

import kspike_tf

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
layers = keras.layers

pytestmark = pytest.mark.slow


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def example():
    return loaded("convert_digits")


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


# The guide's operating points: Hz of the busiest neurons, steps of 1 ms, readout.
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
    assert correct[0] > 0.96  # otherwise there would be nothing to lose
    assert correct[1] >= correct[0] - 0.005
    in_keras = conversion.predict(digits.held_out, timesteps, verbose=0)
    assert np.mean(in_keras.argmax(-1) == scores.argmax(-1)) >= 0.999


def test_fine_tuning_halves_the_spikes(example):
    """Five epochs keep the conversion's accuracy at the guide's rates, with half its spikes."""
    keras.utils.set_random_seed(0)
    digits, model = example.load(), example.ordinary_model()
    example.train(model, digits, 30)
    converted = kspike_tf.convert(
        model, calibration_data=digits.images[:500], max_rate=example.MAX_RATE, timesteps=1
    ).model
    fewer = example.to_fine_tune(model, digits)
    example.fine_tune(fewer, digits, epochs=5)
    at = example.TIMESTEPS.index(example.FINE_TUNING_STEPS)
    before, after = (example.points(each, digits).points[at] for each in (converted, fewer))
    assert after.spikes <= 0.5 * before.spikes
    # Two images of 450 are within chance: on two processors, the conversion alone classified 444
    # and 446 of them correctly.
    assert after.score >= before.score - 0.005
    assert after.energy["loihi"] < before.energy["loihi"]


def test_penalty_brings_rates_into_their_range(tmp_path, monkeypatch, capsys):
    """The figure in the training guide, and the rates that it shows."""
    monkeypatch.setattr(sys, "argv", ["rate_distribution.py", "--out", f"{tmp_path}/rates.png"])
    loaded("rate_distribution").main()
    without, within = (int(part) for part in re.findall(r"(\d+)% of", capsys.readouterr().out))
    assert without < 20
    assert within > 60
    assert (tmp_path / "rates.png").stat().st_size > 10_000
