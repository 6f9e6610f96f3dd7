"""Tests that loading with another time step in kspike_ref equals setting it in Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_ref
import kspike_tf

layers = keras.layers


def model():
    inner = keras.Sequential(
        [keras.Input((None, 5)), kspike_tf.SpikingActivation("relu", seed=3, name="inner")]
    )
    inputs = keras.Input((None, 5))
    x = inner(inputs)
    x = kspike_tf.Alpha(0.02, name="alpha")(x)
    x = layers.RNN(kspike_tf.LowpassCell(5, 0.05), return_sequences=True)(x)
    x = kspike_tf.SpikingActivation("relu", dt=0.002, seed=4)(x)  # unlike the other layers
    return keras.Model(inputs, kspike_tf.Lowpass(0.1, return_sequences=False)(x))


@pytest.mark.parametrize("dt", [0.004, np.float32(0.0007), 1 / 3])
def test_same_bits_as_keras_with_that_dt(dt, tmp_path):
    spiking = model()
    spiking.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(-20, 200, (3, 40, 5)).astype("float32")
    saved = kspike_ref.load_model(tmp_path / "model.keras").predict(x)
    np.testing.assert_array_equal(saved, spiking.predict(x, verbose=0))
    kspike_tf.config.set_dt(spiking, dt)
    found = kspike_ref.load_model(tmp_path / "model.keras", dt=dt)
    np.testing.assert_array_equal(found.predict(x), spiking.predict(x, verbose=0))
    assert not np.array_equal(found.predict(x), saved)
    assert {node.layer.cell.dt for node in found.nodes if hasattr(node.layer, "cell")} == {
        float(np.float32(dt))
    }


def test_bad_time_steps(tmp_path):
    model().save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="dt must be positive and finite"):
        kspike_ref.load_model(tmp_path / "model.keras", dt=0.0)
    with pytest.raises(TypeError, match="dt must be a real number of seconds"):
        kspike_ref.load_model(tmp_path / "model.keras", dt="1 ms")
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save(tmp_path / "plain.keras")
    with pytest.raises(ValueError, match=r"no layer has a time step\. Received: dt=0.01"):
        kspike_ref.load_model(tmp_path / "plain.keras", dt=0.01)
    with pytest.raises(ValueError, match="rate_scale"):
        kspike_ref.load_model(tmp_path / "model.keras", rate_scale=-2.0)
    with pytest.raises(ValueError, match="rate_scale must be finite"):
        kspike_ref.load_model(tmp_path / "model.keras", rate_scale=float("inf"))
    filters = keras.Sequential([keras.Input((None, 3)), kspike_tf.Lowpass(0.1)])
    filters.save(tmp_path / "filters.keras")
    for name in ("plain", "filters"):
        with pytest.raises(ValueError, match="rate_scale must be left out: no layer has neurons"):
            kspike_ref.load_model(tmp_path / f"{name}.keras", rate_scale=2.0)


@pytest.mark.parametrize("dt", [None, 0.004])
def test_scaled_rates(dt, tmp_path):
    """Neurons fire twice as often, and spikes are half as high; filters keep their step."""
    spiking = model()
    spiking.save(tmp_path / "model.keras")
    kspike_tf.config.set_dt(spiking, dt or 0.001)
    neurons = [spiking.layers[1].layers[0], spiking.layers[4]]
    for layer, step in zip(neurons, (0.001, 0.002), strict=True):
        layer.dt = 2 * (dt or step)
    x = np.random.default_rng(0).uniform(-20, 200, (3, 40, 5)).astype("float32")
    found = kspike_ref.load_model(tmp_path / "model.keras", dt=dt, rate_scale=2.0)
    np.testing.assert_array_equal(found.predict(x), spiking.predict(x, verbose=0))


def test_reports_take_the_current_value_of_a_variable():
    dt = tf.Variable(0.01)
    spiking = kspike_tf.SpikingActivation("relu", dt=dt, seed=0, name="spiking")
    readout = kspike_tf.Lowpass(0.01, dt=dt, return_sequences=False)
    model = keras.Sequential([keras.Input((None, 4)), spiking, readout])
    dt.assign(0.001)
    x = np.full((2, 100, 4), 50.0, "float32")
    (layer,) = kspike_tf.rate_report(model, x).layers
    assert (layer.seconds, layer.spikes) == pytest.approx((0.1, 5))
    spikes = kspike_tf.record(model, x).spikes["spiking"].sum() * 0.001 / 2
    (point,) = kspike_tf.sweep(model, x[:, 0], np.zeros(2, int), timesteps=[100], workers=1)
    assert (point.dt, point.spikes) == pytest.approx((0.001, spikes))
    energy = kspike_tf.ModelEnergy(model, example_data=x)
    assert [each.dt for each in energy.network.layers][1:] == [0.001, 0.001]
