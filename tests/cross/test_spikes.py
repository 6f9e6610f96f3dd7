"""Tests that layers spike as in kspike_ref, bit for bit, in every TensorFlow execution mode."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_ref
import kspike_tf
from kspike_tf.tracing import plain_operations

SEED = 7


def rates_of(shape, low=-500.0, high=2000.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype("float32")


def run(layer, x, mode):
    if mode == "plain operations":
        with plain_operations():
            return tf.function(layer)(tf.constant(x)).numpy()
    call = {
        "eager": layer,
        "graph": tf.function(layer),
        "graph, any length": tf.function(
            layer, input_signature=[tf.TensorSpec([None, None, *x.shape[2:]], x.dtype)]
        ),
        "jit_compile": tf.function(layer, jit_compile=True),
    }[mode]
    return call(tf.constant(x)).numpy()


# Kernels three times; XLA with kernels or blocks; a loop of TensorFlow operations, as in exports.
MODES = ["eager", "graph", "graph, any length", "jit_compile", "plain operations"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_ten_million_neuron_steps(mode, policy):
    x = rates_of((16, 625, 1024))
    assert x.size >= 10**7
    expected, _ = kspike_ref.spiking_activation(x, dt=0.001, seed=SEED)
    layer = kspike_tf.SpikingActivation("linear", dt=0.001, seed=SEED, dtype=policy)
    found = run(layer, x, mode)
    expected = tf.cast(expected, layer.compute_dtype).numpy()
    assert found.dtype == expected.dtype
    assert np.count_nonzero(found != expected) == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dt", [0.001, 0.0007, 0.003, 1 / 30])
@pytest.mark.parametrize("high", [50.0, 2000.0, 2e5])
def test_time_steps_and_many_spikes_a_step(mode, dt, high):
    # At 2e5 Hz there are 140 to 6,667 spikes in a step; no block size divides the lengths.
    x = rates_of((3, 61, 17), low=-high / 4, high=high)
    expected, _ = kspike_ref.spiking_activation(x, dt=dt, seed=SEED)
    layer = kspike_tf.SpikingActivation("linear", dt=dt, seed=SEED)
    np.testing.assert_array_equal(run(layer, x, mode), expected)


@pytest.mark.parametrize("mode", ["eager", "jit_compile"])
def test_float64(mode):
    x = rates_of((2, 50, 9)).astype("float64")
    expected, _ = kspike_ref.spiking_activation(x, dt=0.003, seed=SEED)
    layer = kspike_tf.SpikingActivation("linear", dt=0.003, seed=SEED, dtype="float64")
    np.testing.assert_array_equal(run(layer, x, mode), expected)


# Filter weights come from two libraries' exp: outputs up to 100 differ in the last places.
@pytest.mark.parametrize(
    ("make", "tolerance"), [("SpikingActivation", 0), ("Lowpass", 1e-13), ("Alpha", 1e-13)]
)
def test_float64_layers_of_a_saved_model(make, tolerance, tmp_path):
    options = {"tau_initializer": 0.1} if tolerance else {"activation": "linear", "seed": SEED}
    # 0.003 s is not a float32: rounded to one, all spikes would differ by 9e-9 of their height.
    layer = getattr(kspike_tf, make)(dt=0.003, dtype="float64", **options)
    model = keras.Sequential([keras.Input((None, 9), dtype="float64"), layer])
    model.save(tmp_path / "model.keras")
    x = rates_of((2, 50, 9), low=0, high=100).astype("float64")
    found = kspike_ref.load_model(tmp_path / "model.keras").predict(x)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, model(x), rtol=0, atol=tolerance)


@pytest.mark.parametrize("units", [(), (5,), (4, 3, 2)])
def test_unit_axes_and_both_layouts(units):
    x = rates_of((3, 20, *(units or (1,))))
    expected, _ = kspike_ref.spiking_activation(x, seed=SEED)
    layer = kspike_tf.SpikingActivation("linear", seed=SEED)
    np.testing.assert_array_equal(layer(x), expected)
    layer = kspike_tf.SpikingActivation("linear", seed=SEED, time_major=True)
    np.testing.assert_array_equal(layer(x.swapaxes(0, 1)), expected.swapaxes(0, 1))


def test_chunks_of_a_stateful_layer():
    x = rates_of((2, 100, 6))
    expected, voltage = kspike_ref.spiking_activation(x, seed=SEED)
    layer = kspike_tf.SpikingActivation("linear", seed=SEED, stateful=True, return_state=True)
    chunks = [layer(x[:, a:b]) for a, b in ((0, 1), (1, 8), (8, 71), (71, 100))]
    np.testing.assert_array_equal(np.concatenate([y for y, _ in chunks], axis=1), expected)
    np.testing.assert_array_equal(chunks[-1][1], voltage)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 20, 21, 101])
def test_lengths(steps):
    x = rates_of((2, steps, 3))
    expected, voltage = kspike_ref.spiking_activation(x, seed=SEED)
    found, state = kspike_tf.SpikingActivation("linear", seed=SEED, return_state=True)(x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(state, voltage)


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**64 - 1])
@pytest.mark.parametrize("size", [1, 5, (3, 4), 1000])
def test_initial_voltages(seed, size):
    cell = kspike_tf.SpikingActivationCell(size, "relu", seed=seed)
    expected = kspike_ref.initial_voltage(size, seed)
    for voltage in cell.get_initial_state(batch_size=2)[0]:
        np.testing.assert_array_equal(voltage, expected)


def test_the_cell_in_keras_own_loop():
    x = rates_of((2, 40, 5))
    expected, _ = kspike_ref.spiking_activation(x, seed=SEED)
    cell = kspike_tf.SpikingActivationCell(5, "linear", seed=SEED)
    np.testing.assert_array_equal(keras.layers.RNN(cell, return_sequences=True)(x), expected)
