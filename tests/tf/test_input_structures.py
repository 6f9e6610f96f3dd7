"""Tests that inputs by name, in lists and of other types go where ``model.predict`` puts them."""

import keras
import numpy as np
import pytest

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
