"""Tests of layers against results of KerasSpiking 0.3.0 for the same inputs."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.signal
import tensorflow as tf

import kspike_tf

FOLDER = Path(__file__).parents[1] / "golden"
FILTERS = json.loads((FOLDER / "filters.json").read_text())
SPIKING = json.loads((FOLDER / "spiking.json").read_text())
NAME = "{0[name]}".format
# KerasSpiking computes 1 − e·(1 + s), about s²/2, in float32 from numbers near 1. With dt 1 ms and
# τ 0.1 s for all units (s = 0.01), the errors add up to 1.17e-5 of the largest output.
OUTPUT_TOLERANCE = {"case4": 1.2e-5}


@pytest.fixture(scope="module")
def filters(golden):
    with np.load(golden / "filters.npz") as data:
        return dict(data)


@pytest.fixture(scope="module")
def spiking(golden):
    with np.load(golden / "spiking.npz") as data:
        return dict(data)


def assert_close(actual, expected, part_of_largest):
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=part_of_largest * np.abs(expected).max()
    )


@pytest.mark.parametrize("case", FILTERS, ids=NAME)
def test_filters(filters, case):
    layer = getattr(kspike_tf, case["layer"])(
        keras.initializers.Constant(case["tau"]),
        dt=case["dt"],
        level_initializer=keras.initializers.Constant(case["initial_level"]),
    )
    x = tf.Variable(filters["x"])
    layer.build(x.shape)
    cell = layer.layer.cell
    # KerasSpiking's lowpass weights are (1, *units); those of an alpha filter are flat.
    units = tuple(filters["x"].shape[2:])
    assert tuple(cell.tau.shape) == tuple(cell.initial_level.shape) == (1, *units)
    layer.set_weights([np.reshape(each, case["tau_shape"]) for each in layer.get_weights()])
    with tf.GradientTape() as tape:
        y = layer(x, training=True)
        loss = tf.reduce_sum(y * filters["grad_output"])
    to_x, to_tau, to_level = tape.gradient(loss, [x, cell.tau.value, cell.initial_level.value])
    expected = {key: filters[f"{case['name']}_{key}"] for key in ("y", "grad_x")}
    # KerasSpiking computes in float32, accurate to 1e-5 and, in gradients, 1e-3.
    assert_close(y, expected["y"], OUTPUT_TOLERANCE.get(case["name"], 1e-5))
    assert_close(to_x, expected["grad_x"], 1e-3)
    assert_close(np.ravel(to_tau), filters[f"{case['name']}_grad_tau"], 1e-3)
    assert_close(np.ravel(to_level), filters[f"{case['name']}_grad_level"], 1e-3)


def test_the_golden_case_that_is_off_and_not_this_layer(filters):
    (case,) = [each for each in FILTERS if each["name"] in OUTPUT_TOLERANCE]
    (tau,) = set(case["tau"])
    assert set(case["initial_level"]) == {0}
    # y and p = τ·dy/dt of 1/(τs + 1)², discretised by SciPy in float64
    system = np.array([[0, 1], [-1, -2]]) / tau, np.array([[0], [1]]) / tau, np.eye(2)
    a, b, *_ = scipy.signal.cont2discrete((*system, np.zeros((2, 1))), case["dt"], "zoh")
    x, state = filters["x"].astype("float64"), np.zeros((2, *filters["x"][:, 0].shape))
    exact = np.zeros_like(x)
    for step in range(x.shape[1]):
        state = np.tensordot(a, state, 1) + b[..., None] * x[:, step]
        exact[:, step] = state[0]
    layer = kspike_tf.Alpha(tau, dt=case["dt"])
    assert_close(layer(filters["x"]), exact, 1e-6)
    with pytest.raises(AssertionError):
        assert_close(filters[f"{case['name']}_y"], exact, 1e-5)


@pytest.mark.parametrize("case", SPIKING, ids=NAME)
def test_spiking(spiking, case):
    layer = kspike_tf.SpikingActivation(
        case["activation"],
        dt=case["dt"],
        spiking_aware_training=case["spiking_aware_training"],
        return_state=True,
    )
    x = tf.Variable(spiking["x"] * np.float32(case["input_scale"]))
    with tf.GradientTape() as tape:
        y, voltage = layer(x, initial_state=spiking["voltage"], training=case["training"])
        loss = tf.reduce_sum(y * spiking["x"])
    to_x = tape.gradient(loss, x)
    expected = {key: spiking[f"{case['name']}_{key}"] for key in ("y", "voltage", "grad_x")}
    if case["training"] and not case["spiking_aware_training"]:
        np.testing.assert_array_equal(y, expected["y"])
        np.testing.assert_array_equal(voltage, expected["voltage"])
    else:
        # KerasSpiking adds in float32: a spike may come a step earlier or later
        counts, theirs = (
            np.cumsum(np.rint(np.asarray(each) * np.float32(case["dt"])), axis=1)
            for each in (y, expected["y"])
        )
        assert np.abs(counts).max() > 5
        assert np.abs(counts - theirs).max() <= 1
        # spikes plus voltage are the integral, up to the rounding of 60 additions
        np.testing.assert_allclose(
            counts[:, -1] + voltage, theirs[:, -1] + expected["voltage"], atol=60 * 2.0**-23
        )
    if case["activation"] == "tanh":
        # The gradient is that of tanh, x·(1 − tanh²), exactly as in this TensorFlow
        # (test_gradients.py). Its float32 tanh is off by at most 4.5 units of 2⁻²⁴, and TensorFlow
        # 2.10 has another approximation: the square doubles both errors.
        apart = np.abs(to_x - expected["grad_x"]) / np.abs(spiking["x"])
        assert apart.max() <= 2 * (4.5 + 4.5) * 2.0**-24
    else:
        np.testing.assert_array_equal(to_x, expected["grad_x"])
