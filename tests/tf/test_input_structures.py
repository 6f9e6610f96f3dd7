"""Tests that inputs by name, in lists and of other types go where ``model.predict`` puts them."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import kspike_tf

layers = keras.layers
STEPS = 10


def difference():
    """Return a model of the inputs b and a, in this order, whose neurons fire at b - a Hz."""
    b, a = (keras.Input((None, 1), name=name) for name in "ba")
    rates = layers.Subtract()([layers.Rescaling(1.0)(b), layers.Rescaling(1.0)(a)])
    spikes = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")(rates)
    return keras.Model([b, a], layers.GlobalAveragePooling1D()(spikes))


def rate(y, outputs):
    return float(outputs.mean())


@pytest.fixture
def named():
    """Return inputs by name, in another alphabetical order than the model's."""
    return {"a": np.full((4, 1), 10, "uint8"), "b": np.full((4, 1), 90, "uint8")}


@pytest.mark.parametrize("structure", ["dictionary", "list"])
def test_inputs_of_rates_recordings_and_sweeps(named, structure):
    """uint8 arrays are cast: 10 - 90 would overflow, and layers refuse them."""
    model = difference()
    x = named if structure == "dictionary" else [named["b"], named["a"]]
    shown = keras.tree.map_structure(lambda each: np.repeat(each[:, None], STEPS, axis=1), x)
    assert model.predict(shown, verbose=0).mean() == pytest.approx(80, abs=10)
    report = kspike_tf.rate_report(model, x, timesteps=STEPS)
    assert report.layers[0].mean_rate == pytest.approx(80, abs=10)
    recording = kspike_tf.record(model, x, timesteps=STEPS)
    assert recording.spikes["spikes"].mean() == pytest.approx(80, abs=10)
    (point,) = kspike_tf.sweep(model, x, np.zeros(4), timesteps=STEPS, metric=rate)
    assert point.score == pytest.approx(80, abs=10)
    assert point.rate == pytest.approx(80, abs=10)


def test_pixels():
    """uint8 products would overflow: 20 * 20 would be 144."""
    spiking = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")
    inputs = keras.Input((None, 1), name="pixels")
    model = keras.Model(inputs, spiking(keras.ops.multiply(inputs, inputs)))
    x = np.full((2, 1), 20, "uint8")
    rates = kspike_tf.rate_report(model, x, timesteps=STEPS).layers[0]
    assert rates.mean_rate == pytest.approx(400, abs=10)
    recording = kspike_tf.record(model, {"pixels": x}, timesteps=STEPS)
    assert recording.spikes["spikes"].mean() == pytest.approx(400, abs=10)


def test_calibration_by_name():
    b, a = (keras.Input((1,), name=name) for name in "ba")
    outputs = layers.Dense(1)(layers.Activation("relu")(layers.Subtract()([b, a])))
    data = {"a": np.zeros((4, 1)), "b": np.full((4, 1), 90.0)}  # swapped, no neuron would be active
    report = kspike_tf.convert(keras.Model([b, a], outputs), calibration_data=data).report
    assert report.layers[0].active_rate == pytest.approx(250)


def test_missing_inputs(named):
    del named["a"]
    with pytest.raises(ValueError, match=r"x must hold all inputs of the model: b, a\..*without a"):
        kspike_tf.record(difference(), named, timesteps=STEPS)
    with pytest.raises(ValueError, match="x must be one array for each of the 2 inputs"):
        kspike_tf.rate_report(difference(), [named["b"]], timesteps=STEPS)


VALUES = [[60.0, 20.0], [30.0, 10.0], [5.0, 80.0]]  # 34 Hz on average
FORMS = {
    "lists": VALUES,
    "tuples": tuple(map(tuple, VALUES)),
    "integers": [[60, 20], [30, 10], [5, 80]],
    "rows": [np.array(row) for row in VALUES],
    "tensor": tf.constant(VALUES),
    "frame": pd.DataFrame(VALUES),
    "list of an array": [np.array(VALUES)],
    "lists by name": {"x": VALUES},
    "frame by name": {"x": pd.DataFrame(VALUES)},
}
OFFSETS = [[0.0, 10.0], [0.0, 10.0], [0.0, 10.0]]
PAIRS = {
    "lists": [VALUES, OFFSETS],
    "tuples": (VALUES, OFFSETS),
    "list and tensor": [VALUES, tf.constant(OFFSETS)],
    "frames": [pd.DataFrame(VALUES), pd.DataFrame(OFFSETS)],
    "lists by name": {"y": OFFSETS, "x": VALUES},
}


def of_inputs(count):
    """Return a model that spikes with the sum of its inputs."""
    inputs = [keras.Input((None, 2), name=name) for name in "xy"[:count]]
    rates = layers.Add()(inputs) if count > 1 else layers.Rescaling(1.0)(inputs[0])
    spikes = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")(rates)
    outputs = layers.GlobalAveragePooling1D()(spikes)
    return keras.Model(inputs if count > 1 else inputs[0], outputs)


def rates_of(model, x):
    """Return the mean rate that each tool finds for inputs."""
    options = {"timesteps": STEPS, "metric": rate, "devices": ()}
    return [
        kspike_tf.rate_report(model, x, timesteps=STEPS).layers[0].mean_rate,
        kspike_tf.record(model, x, timesteps=STEPS).spikes["spikes"].mean(),
        kspike_tf.sweep(model, x, np.zeros(3), **options).points[0].rate,
    ]


@pytest.mark.parametrize(("count", "forms"), [(1, FORMS), (2, PAIRS)])
def test_lists_frames_and_tensors(count, forms):
    """The public type of inputs allows nested lists, which are not structures of scalars."""
    model = of_inputs(count)
    expected = np.mean(VALUES) + (np.mean(OFFSETS) if count > 1 else 0)
    for name, x in forms.items():
        assert rates_of(model, x) == pytest.approx([expected] * 3, abs=2), name


def test_a_list_of_one_example():
    report = kspike_tf.rate_report(of_inputs(1), VALUES[:1], timesteps=STEPS)
    assert (report.examples, report.layers[0].neurons) == (1, 2)


def test_nested_inputs():
    first, second, third = (keras.Input((None, 2), name=name) for name in "xyz")
    spiking = kspike_tf.SpikingActivation("relu", dt=0.01, seed=0, name="spikes")
    outputs = layers.GlobalAveragePooling1D()(spiking(layers.Add()([first, second, third])))
    model = keras.Model([[first, second], third], outputs)
    x = [[np.array(VALUES), np.array(OFFSETS)], np.array(OFFSETS)]
    expected = np.mean(VALUES) + 2 * np.mean(OFFSETS)
    assert rates_of(model, x) == pytest.approx([expected] * 3, abs=2)


@pytest.mark.parametrize("form", ["lists", "tuples", "tensor", "frame", "list of an array"])
def test_conversions_take_lists(form):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, "relu"), layers.Dense(2)])
    conversion = kspike_tf.convert(model, calibration_data=FORMS[form], timesteps=5)
    expected = conversion.predict(np.array(VALUES), 5, verbose=0)
    assert np.array_equal(conversion.predict(FORMS[form], 5, verbose=0), expected)
