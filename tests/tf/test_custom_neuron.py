"""Tests of the example of a custom neuron."""

import pathlib
import re
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "custom_neuron.py"


@pytest.mark.slow
def test_the_example_learns():
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--epochs", "4"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    accuracy = float(re.search(r"held-out digits: ([0-9.]+)", done.stdout)[1])
    assert accuracy > 0.7  # chance is 0.1
    assert "answers the same: True" in done.stdout
    low, high = map(float, re.search(r"constants: ([0-9.]+) to ([0-9.]+) ms", done.stdout).groups())
    assert high - low > 1  # the time constants are trained separately


@pytest.fixture(scope="module")
def example():
    """Return the script's definitions."""
    return runpy.run_path(str(EXAMPLE), run_name="example")


def naive(inputs, tau, dt):
    """Compute the same neurons in NumPy, step by step."""
    voltage, spikes = np.zeros_like(inputs[:, 0]), np.zeros_like(inputs)
    for step in range(inputs.shape[1]):
        current = inputs[:, step]
        voltage = current + np.exp(-dt / tau) * (voltage - current)
        spikes[:, step] = voltage >= 1
        voltage = voltage - spikes[:, step]
    return spikes / dt


def test_spikes_are_those_of_the_equations(example):
    dt, tau = 0.25, 0.5
    x = np.random.default_rng(0).uniform(0, 3, (3, 20, 5)).astype(np.float32)
    layer = example["LIF"](tau=tau, dt=dt)
    y = layer(x)
    assert 0.1 < np.mean(np.asarray(y) > 0) < 0.9
    # no voltage of these 300 is so close to 1 that rounding to float32 decides
    np.testing.assert_array_equal(y, naive(x.astype(np.float64), tau, dt))
    in_rnn = keras.layers.RNN(example["LIFCell"](5, tau=tau, dt=dt), return_sequences=True)
    np.testing.assert_array_equal(in_rnn(x), y)


def test_gradients_reach_inputs_and_time_constants(example):
    layer = example["LIF"](tau=0.02, dt=0.005)
    x = tf.Variable(np.random.default_rng(0).uniform(0, 2, (2, 10, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x))
    to_x, to_tau = tape.gradient(loss, [x, layer.layer.cell.log_tau.value])
    assert np.count_nonzero(to_x) == to_x.shape.num_elements()
    assert np.count_nonzero(to_tau) == 3


def test_a_run_in_pieces_is_one_run(example):
    x = np.random.default_rng(1).uniform(0, 3, (2, 20, 3)).astype(np.float32)
    layer = example["LIF"](tau=0.02, dt=0.005, return_state=True)
    whole, end = layer(x)
    first, state = layer(x[:, :7])
    second, state = layer(x[:, 7:], initial_state=state)
    np.testing.assert_array_equal(np.concatenate([first, second], axis=1), whole)
    np.testing.assert_array_equal(state, end)
