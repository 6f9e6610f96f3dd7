"""Tests of the choice of the time axis, and of counts per time step."""

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_energy import ModelEnergy

L = keras.layers


def connections(*layers, shape, **kwargs):
    model = keras.Sequential([keras.Input(shape), *layers])
    energy = ModelEnergy(model, **kwargs)
    return [layer.connections for layer in energy.network.layers[1:]]


def spiking(**kwargs):
    return kspike_tf.SpikingActivation("relu", **kwargs)


def test_no_time_without_a_temporal_layer():
    assert connections(L.Dense(5), shape=(7, 10)) == [350]


def test_axis_1_of_unknown_length_is_time():
    assert connections(L.Dense(5), shape=(None, 10)) == [50]


def test_a_temporal_layer_makes_axis_1_time_before_and_after_it():
    counted = connections(L.Dense(5), spiking(), L.ReLU(), L.Dense(4), L.Dense(3), shape=(7, 10))
    assert counted == [50, 0, 0, 20, 12]


def test_time_ends_where_a_layer_returns_the_last_step_only():
    counted = connections(spiking(return_sequences=False), L.Dense(4), shape=(7, 10))
    assert counted == [0, 40]
    counted = connections(L.LSTM(5), L.Dense(4), L.RepeatVector(3), L.Dense(2), shape=(7, 10))
    assert counted[1:] == [20, 0, 24]


def test_time_ends_at_flatten_and_pooling():
    assert connections(spiking(), L.Flatten(), L.Dense(4), shape=(7, 10))[-1] == 280
    assert connections(spiking(), L.GlobalAveragePooling1D(), L.Dense(4), shape=(7, 10)) == [
        0,
        10,  # one step at a time
        40,
    ]


def test_reshape_and_permute_keep_time_where_they_keep_axis_1():
    counted = connections(L.Reshape((7, 5, 2)), L.Dense(3), L.Reshape((7, 15)), spiking(),
                          shape=(7, 10))  # fmt: skip
    assert counted[1] == 30
    counted = connections(L.Permute((1, 3, 2)), L.Dense(3), L.Reshape((7, 30)), spiking(),
                          shape=(7, 2, 10))  # fmt: skip
    assert counted[1] == 10 * 2 * 3
    counted = connections(L.Reshape((1, 10)), spiking(), shape=(10,))
    assert counted == [0, 0]


def test_a_convolution_along_time_counts_a_step_far_from_both_ends():
    counted = connections(L.Conv1D(6, 3, padding="causal"), spiking(), shape=(None, 4))
    assert counted[0] == 3 * 4 * 6
    counted = connections(L.Conv1D(6, 4, strides=2), L.LSTM(2), shape=(None, 4))
    assert counted[0] == 4 * 4 * 6 // 2  # half of the steps have an output
    counted = connections(L.Conv1DTranspose(5, 3, strides=2), L.LSTM(2), shape=(None, 4))
    assert counted[0] == 4 * 3 * 5  # an input step writes one whole window


def test_a_convolution_over_time_and_space():
    counted = connections(
        L.Conv2D(2, 3, padding="same"), L.TimeDistributed(L.Flatten()), L.GRU(2), shape=(None, 5, 1)
    )
    inside = 5 * 3 - 2  # over the axis of length 5, without the padding
    assert counted[0] == 3 * inside * 2


@pytest.mark.parametrize(("time_axis", "wanted"), [("auto", 350), (1, 50), (None, 350)])
def test_time_axis_can_be_set(time_axis, wanted):
    assert connections(L.Dense(5), shape=(7, 10), time_axis=time_axis) == [wanted]


def test_reports_say_which_axis_was_time():
    model = keras.Sequential([keras.Input((7, 10)), L.Dense(5)])
    assert "Time axis: none (time_axis='auto')" in ModelEnergy(model).summary_string(
        line_length=200
    )
    assert "Time axis: axis 1" in ModelEnergy(model, time_axis=1).summary_string(line_length=200)


@pytest.mark.parametrize("time_axis", [0, 2, True, "time"])
def test_bad_time_axis(time_axis):
    model = keras.Sequential([keras.Input((7, 10)), L.Dense(5)])
    with pytest.raises(ValueError, match=r"time_axis must be 'auto', 1 or None. Received"):
        ModelEnergy(model, time_axis=time_axis)


def test_rates_are_means_over_time_too(rng):
    model = keras.Sequential([keras.Input((None, 3)), L.Dense(2), spiking()])
    data = rng.normal(size=(5, 4, 3)).astype(np.float32)
    energy = ModelEnergy(model, data, batch_size=2)
    # 1e-6: both sum float32 values in float64.
    assert energy.network.layers[1].rate(0.001) == pytest.approx(np.abs(data).mean(), rel=1e-6)


def test_time_major_layers_count_the_same(rng):
    data = rng.uniform(0, 500, (9, 2, 6)).astype("float32")  # time, batch, units
    counted = []
    for time_major in (True, False):
        layers = [keras.Input((None, 6)), spiking(time_major=time_major, seed=1), L.Dense(3)]
        given = data if time_major else data.transpose(1, 0, 2)
        # If batches of two were taken along time, they would cut the sequences in pieces.
        energy = ModelEnergy(keras.Sequential(layers), given, events="exact", batch_size=2)
        counted.append(energy.network.layers[2].operations)
        assert energy.network.neurons == 6
    assert counted[0] == counted[1] > 0


def test_transformer_lengths_that_einsum_forgets():
    inp = keras.Input((3, 4))
    x = L.EinsumDense("abc,cd->abd", (None, 5))(inp)  # Keras says (None, None, 5)
    energy = ModelEnergy(keras.Model(inp, L.Dense(2)(x)))
    assert [layer.connections for layer in energy.network.layers] == [0, 60, 30]
