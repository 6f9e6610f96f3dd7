"""Tests of the default time step, and of the ways to set the time step of a layer."""

import copy
import json
import pickle
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_energy
import kspike_tf
from kspike_tf.config import DefaultManager, VariableDt, dt_config, read_dt, resolve_dt


def make_variable(kind, value=0.25, **kwargs):
    return {"tf": tf.Variable, "keras": keras.Variable}[kind](value, **kwargs)


def test_default_is_one_object_for_layers_and_estimates():
    assert kspike_tf.default is kspike_energy.default
    assert kspike_tf.config.default is kspike_tf.default
    assert kspike_tf.default.dt == 0.001
    assert DefaultManager().dt == 0.001


def test_none_takes_the_default_of_the_moment(monkeypatch):
    monkeypatch.setattr(kspike_tf.default, "dt", 0.02)
    assert resolve_dt(None) == 0.02
    assert resolve_dt() == 0.02


def test_numbers_stay_numbers():
    assert type(resolve_dt(0.01)) is float
    assert resolve_dt(np.float32(0.5)) == 0.5
    assert resolve_dt(1) == 1.0
    assert dt_config(resolve_dt(0.01)) == 0.01


@pytest.mark.parametrize("dt", [0.001, 0.0007, 1 / 30])
def test_read_rounds_to_float32(dt):
    # So a number and a float32 variable give the same step.
    assert read_dt(resolve_dt(dt)) == np.float32(dt)
    assert read_dt(resolve_dt(tf.Variable(dt))).numpy() == np.float32(dt)


@pytest.mark.parametrize("kind", ["tf", "keras"])
def test_a_variable_is_followed(kind):
    variable = make_variable(kind)
    dt = resolve_dt(variable)
    variable.assign(0.125)
    assert dt.variable is variable
    assert resolve_dt(dt) is dt
    assert float(read_dt(dt)) == 0.125
    assert dt_config(dt) == 0.125
    assert dt_config(dt).variable is variable


@pytest.mark.parametrize("kind", ["tf", "keras"])
def test_a_variable_is_followed_without_retracing(kind):
    variable = make_variable(kind)
    dt = resolve_dt(variable)
    traces = []

    @tf.function
    def double():
        traces.append(1)
        return 2 * read_dt(dt)

    before = float(double())
    variable.assign(0.125)
    assert (before, float(double()), len(traces)) == (0.5, 0.25, 1)


def test_a_keras_variable_is_not_read_in_half_precision():
    variable = keras.Variable(0.001)

    class Reader(keras.layers.Layer):
        def call(self, inputs):
            self.seen = read_dt(resolve_dt(variable))
            return inputs

    layer = Reader(dtype="mixed_float16")
    layer(np.ones((1, 1), np.float32))
    assert layer.seen.numpy() == np.float32(0.001)  # 0.0010004 if cast on the way


def test_keras_does_not_track_the_variable_inside():
    layer = keras.layers.Layer()
    layer.dt = resolve_dt(keras.Variable(0.001))
    assert layer.weights == []


def test_the_value_is_saved_as_a_plain_number():
    dt = dt_config(resolve_dt(tf.Variable(0.001)))
    saved = keras.saving.serialize_keras_object({"dt": dt})
    assert json.dumps(saved) == '{"dt": 0.001}'
    assert type(pickle.loads(pickle.dumps(dt))) is float


def test_copies_share_the_variable():
    dt = VariableDt(tf.Variable(0.5))
    assert copy.copy(dt) is dt
    assert copy.deepcopy({"dt": dt})["dt"] is dt


@pytest.mark.parametrize(
    ("dt", "error", "message"),
    [
        (0, ValueError, r"dt must be positive and finite. Received: dt=0$"),
        (-0.1, ValueError, r"dt must be positive and finite. Received: dt=-0.1"),
        (float("nan"), ValueError, r"dt must be positive and finite. Received: dt=nan"),
        (float("inf"), ValueError, r"dt must be positive and finite. Received: dt=inf"),
        ("0.1", TypeError, r"dt must be a real number. Received: dt='0.1'"),
        (True, TypeError, r"dt must be a real number. Received: dt=True"),
    ],
)
def test_bad_numbers_are_rejected(dt, error, message):
    with pytest.raises(error, match=message):
        resolve_dt(dt)


@pytest.mark.parametrize("kind", ["tf", "keras"])
def test_bad_variables_are_rejected(kind):
    with pytest.raises(ValueError, match=r"dt must be a scalar variable. Received .* \(2,\)"):
        resolve_dt(make_variable(kind, [0.1, 0.2]))
    with pytest.raises(TypeError, match=r"variable of a floating point type. Received .* int32"):
        resolve_dt(make_variable(kind, 1, dtype="int32"))
    assert resolve_dt(make_variable(kind, -1.0)) == -1  # an error once a layer uses it


def test_tensors_are_numbers():
    for tensor in (tf.constant(0.01), tf.constant(0.01, tf.float64)):
        assert resolve_dt(tensor) == 0.01
        assert type(resolve_dt(tensor)) is float
    assert resolve_dt(tf.constant(1)) == 1.0
    with pytest.raises(ValueError, match="dt must be positive and finite"):
        resolve_dt(tf.constant(0.0))
    for bad in (tf.constant([0.1]), keras.KerasTensor(())):
        with pytest.raises(TypeError, match="dt must be a number, an eager scalar tensor"):
            resolve_dt(bad)


@pytest.mark.parametrize(
    "make",
    [
        lambda dt: kspike_tf.SpikingActivation("relu", dt=dt),
        lambda dt: kspike_tf.SpikingActivationCell(3, "relu", dt=dt),
    ],
    ids=["layer", "cell"],
)
@pytest.mark.parametrize("dt", [1, 1.0, np.float32(2), 5])
def test_a_time_step_in_milliseconds_gets_a_warning(make, dt):
    message = rf"dt is in seconds and rates are in Hz: .*For {float(dt):g} ms pass dt=0.00{dt:g}$"
    with pytest.warns(UserWarning, match=message) as caught:
        layer = make(dt)
    assert [each.filename for each in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        if isinstance(layer, kspike_tf.SpikingActivation):
            layer(np.ones((1, 2, 3)))  # its cell does not repeat the warning
        for good in (0.999, None, tf.Variable(1.0)):
            make(good)


FILTERS = [
    lambda tau, **k: kspike_tf.Lowpass(tau, **k),
    lambda tau, **k: kspike_tf.Alpha(tau, **k),
    lambda tau, **k: kspike_tf.LowpassCell(3, tau, **k),
    lambda tau, **k: kspike_tf.AlphaCell(3, tau, **k),
]


@pytest.mark.parametrize("make", FILTERS)
@pytest.mark.parametrize(
    ("tau", "dt", "message"),
    [
        (20, 0.001, "tau_initializer=20 with dt=0.001; for 20 ms pass 0.02"),
        ([0.1, 20.0, 0.3], None, "tau_initializer=20 with dt=0.001; for 20 ms pass 0.02"),
        (0.1, 1, "dt=1 with tau_initializer=0.1; for 1 ms pass dt=0.001"),
    ],
)
def test_filters_warn_of_times_in_two_units(make, tau, dt, message):
    with pytest.warns(UserWarning, match=f"tau and dt are both in seconds. Received: {message}"):
        layer = make(tau, dt=dt)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        if isinstance(layer, kspike_tf.layers.KerasSpikingLayer):
            layer(np.ones((1, 2, 3)))
        for tau, dt in ((0.1, 0.001), (20, 1), (4.9, None), (0.1, tf.Variable(1.0)), ("ones", 1)):
            make(tau, dt=dt)


@pytest.mark.parametrize("kind", ["layer", "cell"])
def test_a_model_that_is_saved_before_its_dt_is_set_loads(tmp_path, kind):
    dt = tf.Variable(0.0)
    if kind == "layer":
        layers = [
            kspike_tf.SpikingActivation("relu", dt=dt, seed=0),
            kspike_tf.Lowpass(0.1, dt=dt),
            kspike_tf.Alpha(0.1, dt=dt),
        ]
    else:
        cells = [
            kspike_tf.SpikingActivationCell(3, "relu", dt=dt, seed=0),
            kspike_tf.LowpassCell(3, 0.1, dt=dt),
            kspike_tf.AlphaCell(3, 0.1, dt=dt),
        ]
        layers = [keras.layers.RNN(cell, return_sequences=True) for cell in cells]
    model = keras.Sequential([keras.Input((None, 3)), *layers])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 30, (2, 5, 3)).astype(np.float32)
    with pytest.raises(ValueError, match="dt must be positive and finite when a layer uses it"):
        loaded(x)
    with pytest.raises(tf.errors.InvalidArgumentError, match="dt must be positive and finite"):
        loaded.predict(x, verbose=0)
    loaded.save(tmp_path / "again.keras")  # still without a dt
    loaded = keras.models.load_model(tmp_path / "again.keras")
    kspike_tf.config.set_dt(loaded, 0.25)
    dt.assign(0.25)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    with pytest.raises(ValueError, match=r"dt must be positive and finite. Received: dt=0"):
        kspike_tf.Lowpass(0.1, dt=0)  # without a file, a number must be valid
