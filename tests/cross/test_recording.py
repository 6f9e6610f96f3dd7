"""Tests of both packages' recordings: spikes and voltages bit for bit, levels to last digits."""

import pathlib
import runpy

import keras
import numpy as np
import pytest

import kspike_ref
import kspike_tf

DT = 0.005


def build(kind):
    """Return a model of a kind, and inputs for it."""
    inputs = x = keras.Input((None, 6))
    values = np.random.default_rng(0).uniform(0, 200, (4, 100, 6)).astype("float32")
    if kind == "masked":
        values[1, 60:] = values[2, 20:30] = 0
        x = keras.layers.Masking()(x)
    elif kind != "direct":
        # Sums of products of powers of two have the same bits in any order.
        kernel = keras.initializers.Constant(np.eye(6) + 0.5 * np.eye(6, k=1))
        x = keras.layers.Dense(6, kernel_initializer=kernel)(x)
        values = np.round(values)
    reduces = kind == "last"
    x = kspike_tf.SpikingActivation("relu", dt=DT, seed=2, name="first")(x)
    x = kspike_tf.Lowpass(0.03, dt=DT, name="filtered")(x)
    x = kspike_tf.Alpha(0.02, dt=DT, name="smooth", return_sequences=not reduces)(x)
    return keras.Model(inputs, x), values


@pytest.mark.parametrize("kind", ["direct", "dense", "last", "masked"])
def test_recordings_agree(kind, tmp_path):
    model, x = build(kind)
    model.save(tmp_path / "model.keras")
    theirs = kspike_tf.record(model, x)
    ours = kspike_ref.load_model(tmp_path / "model.keras").record(x)
    assert ours.dt == theirs.dt
    assert repr(ours) == repr(theirs)
    for name in ("spikes", "voltages"):
        found, expected = getattr(ours, name), getattr(theirs, name)
        assert list(found) == list(expected) == ["first"]
        assert found["first"].dtype == expected["first"].dtype
        np.testing.assert_array_equal(found["first"], expected["first"])
    assert np.count_nonzero(ours.spikes["first"]) > 100
    assert list(ours.levels) == list(theirs.levels) == ["filtered", "smooth"]
    for name, level in ours.levels.items():
        # exp(-dt/τ) may differ between NumPy and TensorFlow in the last digit of float64.
        np.testing.assert_allclose(level, theirs.levels[name], rtol=1e-12, atol=1e-12)


def test_steps_of_an_image_that_is_shown_longer(tmp_path):
    model, x = build("direct")
    model.save(tmp_path / "model.keras")
    loaded = kspike_ref.load_model(tmp_path / "model.keras")
    ours, theirs = (
        loaded.record(x[:, 0], timesteps=30),
        kspike_tf.record(model, x[:, 0], timesteps=30),
    )
    np.testing.assert_array_equal(ours.voltages["first"], theirs.voltages["first"])


def test_neurons_of_ones_own(tmp_path):
    examples = pathlib.Path(__file__).parents[2] / "examples"
    own = runpy.run_path(str(examples / "custom_neuron.py"), run_name="example")
    runpy.run_path(str(examples / "custom_neuron_reference.py"), run_name="example")
    inputs = keras.Input((None, 4))
    neurons = own["LIF"](dt=DT, name="lif", return_sequences=False)
    model = keras.Model(inputs, neurons(inputs))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 3, (3, 20, 4)).astype("float32")
    theirs = kspike_tf.record(model, x)
    ours = kspike_ref.load_model(tmp_path / "model.keras").record(x)
    assert ours.dt == theirs.dt == {"lif": float(np.float32(DT))}
    assert 0.1 < np.mean(ours.spikes["lif"] > 0) < 0.9
    np.testing.assert_array_equal(ours.spikes["lif"], theirs.spikes["lif"])
    np.testing.assert_allclose(ours.voltages["lif"], theirs.voltages["lif"], atol=1e-5)
    np.testing.assert_array_equal(ours.spikes["lif"][:, -1], model.predict(x, verbose=0))
