"""Tests of `Mean`."""

import json

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_tf.constraints import Mean


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_mean_equals_the_golden_values(golden, axis):
    data = json.loads((golden / "training.json").read_text())
    x = np.array(data["mean_input"], np.float32)
    y = np.asarray(Mean(axis)(x))
    np.testing.assert_allclose(y, data["mean"][str(axis)], rtol=1e-5)  # float32 sums


@pytest.mark.parametrize("axis", [-1, 0, 1, 2])
def test_mean_keeps_shape_and_mean(axis):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    y = np.asarray(Mean(axis)(x))
    assert y.shape == x.shape
    assert (np.ptp(y, axis=axis) == 0).all()
    np.testing.assert_allclose(y.mean(axis), x.mean(axis), rtol=1e-5)  # float32 sums


def test_mean_is_serialisable():
    constraint = keras.constraints.get(keras.constraints.serialize(Mean(axis=0)))
    assert type(constraint) is Mean
    assert constraint.axis == 0
    assert keras.constraints.serialize(constraint)["registered_name"] == "kspike_tf>Mean"


def test_mean_keeps_a_weight_shared_in_training():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, kernel_constraint=Mean(0))])
    model.compile("sgd", "mse")
    rng = np.random.default_rng(1)
    model.fit(rng.normal(size=(8, 3)), rng.normal(size=(8, 4)), verbose=0)
    kernel = model.layers[0].get_weights()[0]
    assert (np.ptp(kernel, axis=0) == 0).all()
    assert np.ptp(kernel, axis=1).min() > 0


@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
@pytest.mark.parametrize("units", [(4,), (2, 3), (2, 2, 2)])
def test_mean_shares_one_tau_among_all_units(name, units):
    layer = getattr(kspike_tf, name)(
        keras.initializers.RandomUniform(0.01, 0.5, seed=0),
        dt=0.1,
        tau_constraint=Mean(),
        initial_level_constraint=Mean(),
    )
    model = keras.Sequential([keras.Input((None, *units)), layer])
    model.compile("adam", "mse")
    rng = np.random.default_rng(1)
    model.fit(rng.normal(size=(4, 6, *units)), rng.normal(size=(4, 6, *units)), verbose=0)
    for weight in model.get_weights():
        assert np.unique(weight).size == 1
    copy = type(layer).from_config(layer.get_config())
    assert type(copy.tau_constraint) is Mean


def test_mean_along_one_unit_axis():
    tau = keras.initializers.RandomUniform(0.01, 0.5, seed=0)
    layer = kspike_tf.Lowpass(tau, tau_constraint=Mean(axis=2))
    layer(np.zeros((1, 2, 3, 4), np.float32))
    constrained = np.asarray(layer.layer.cell.tau.constraint(layer.layer.cell.tau))
    assert np.unique(constrained).size == 3


@pytest.mark.parametrize("axis", [1.0, True, None, "0"])
def test_axis_must_be_an_integer(axis):
    with pytest.raises(TypeError, match=r"axis must be an integer. Received: axis="):
        Mean(axis)


@pytest.mark.parametrize("axis", [-3, 2])
def test_axis_must_exist(axis):
    message = rf"axis must be one of the 2 axes .* Received: axis={axis} .* \(2, 3\)"
    with pytest.raises(ValueError, match=message):
        Mean(axis)(np.ones((2, 3)))


def test_mean_stands_where_code_for_keras_spiking_expects_it():
    assert kspike_tf.constraints.Mean is Mean
