"""Tests against KerasSpiking 0.3.0's own results for eight models (see golden/energy.json)."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_energy import ModelEnergy

CASES = json.loads((Path(__file__).parents[1] / "golden/energy.json").read_text())
STEPS = 10


def _ones(layer, units, **kwargs):
    return layer(units, kernel_initializer="ones", **kwargs)


def dense_relu():
    inp = keras.Input((784,))
    return keras.Model(inp, keras.layers.Dense(128, "relu")(inp)), np.full((4, 784), 3.0)


def convolutional():
    layers = keras.layers
    inp = keras.Input((28, 28, 1))
    x = layers.ReLU()(_ones(layers.Conv2D, 2, kernel_size=7)(inp))
    x = layers.ReLU()(_ones(layers.Dense, 128)(layers.Flatten()(x)))
    return keras.Model(inp, _ones(layers.Dense, 10)(x)), np.ones((3, 28, 28, 1))


def convolutional_in_time():
    layers = keras.layers
    inp = keras.Input((None, 28, 28, 1))
    x = layers.TimeDistributed(_ones(layers.Conv2D, 2, kernel_size=7))(inp)
    x = layers.TimeDistributed(layers.Flatten())(layers.ReLU()(x))
    x = layers.ReLU()(_ones(layers.Dense, 128)(x))
    return keras.Model(inp, _ones(layers.Dense, 10)(x)), np.ones((3, 5, 28, 28, 1))


def spiking():
    inp = keras.Input((None, 32))
    x = _ones(keras.layers.Dense, 64)(inp)
    x = kspike_tf.SpikingActivation("relu", dt=1)(x)
    return keras.Model(inp, x), np.ones((2, 10, 32))


def dense_ten():
    inp = keras.Input((10,))
    x = _ones(keras.layers.Dense, 10, activation="relu")(inp)
    return keras.Model(inp, x), np.full((5, 10), 2.0)


def dense_on_seven_steps():
    inp = keras.Input((7, 10))
    return keras.Model(inp, keras.layers.Dense(5)(inp)), np.ones((2, 7, 10))


def time_distributed():
    inp = keras.Input((7, 10))
    layer = keras.layers.TimeDistributed(keras.layers.Dense(5, "relu"))
    return keras.Model(inp, layer(inp)), np.ones((2, 7, 10))


def padded():
    inp = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", strides=2)(inp)
    return keras.Model(inp, x), np.ones((2, 12, 12, 3))


MODELS = [
    dense_relu,
    convolutional,
    convolutional_in_time,
    spiking,
    dense_ten,
    dense_on_seven_steps,
    time_distributed,
    padded,
]


@pytest.mark.filterwarnings("ignore:the estimate uses dt")  # one model sets its own dt
@pytest.mark.parametrize(
    "options",
    # At most the first difference applies to these models: connections over the padding.
    [{"padding": "counted"}, {"convention": "keras-spiking"}],
    ids=["padding", "convention"],
)
@pytest.mark.parametrize(("case", "build"), list(zip(CASES, MODELS, strict=True)))
def test_answers_of_keras_spiking(case, build, options):
    model, data = build()
    assert case["timesteps_per_inference"] == STEPS
    energy = ModelEnergy(model, data, **options)
    assert len(energy.network.layers) == len(case["layers"])
    for layer, wanted in zip(energy.network.layers, case["layers"], strict=True):
        assert layer.type_name == wanted["type"]
        assert layer.connections == wanted["connections"]
        assert layer.neurons == wanted["neurons"]
        assert layer.spiking == wanted["spiking"]
        # 1e-5, from the README of the golden files: KerasSpiking measured in float32.
        assert layer.rate(0.001) == pytest.approx(wanted["rate"], rel=1e-5)
        for device, pair in wanted["energy"].items():
            got = energy.layer_energy(layer, device, STEPS, 0.001)
            assert got == pytest.approx(pair, rel=1e-5)
    for device, total in case["total"].items():
        assert energy.total_energy(device, STEPS, 0.001) == pytest.approx(total, rel=1e-5)


def test_padding_is_the_only_difference_in_the_padded_model():
    model, data = padded()
    # On each axis 6 windows cross the border at one end only: 5·3 + 2 = 17 inside of 18.
    assert ModelEnergy(model, data).network.connections == 17 * 17 * 3 * 4
    assert ModelEnergy(model, data, padding="counted").network.connections == 18 * 18 * 3 * 4


def test_a_layer_used_twice_is_summed_node_by_node():
    # The second named difference: KerasSpiking would multiply (2 · connections) by (1 + 10) Hz.
    inp = keras.Input((10,))
    layer = _ones(keras.layers.Dense, 10, name="shared")
    model = keras.Model(inp, layer(layer(inp)))
    energy = ModelEnergy(model, np.ones((3, 10)))
    synop, neuron = energy.layer_energy(layer, "loihi", timesteps_per_inference=10)
    assert synop == pytest.approx(27.1e-12 * (100 * 1 + 100 * 10) * 0.001 * 10, rel=1e-6)
    assert neuron == 0
    row = energy.network.layers[1]
    assert row.connections == 200
    assert row.rate(0.001) == pytest.approx(5.5)
