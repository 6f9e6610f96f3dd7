"""Tests that filter layers give the same outputs as kspike_ref."""

import numpy as np
import pytest
import tensorflow as tf

import kspike_ref
import kspike_tf

FILTERS = {
    "lowpass": (kspike_tf.Lowpass, kspike_ref.lowpass),
    "alpha": (kspike_tf.Alpha, kspike_ref.alpha),
}
# Both keep float64 states and round each output to float32 once: half a unit in the last place is
# 6e-8 of an output. The packages promise 1e-6.
TOLERANCE = 1e-6


def close(found, expected):
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def layer_with(name, x, dt, **options):
    """Return a built layer with random time constants and levels, and both arrays."""
    layer = FILTERS[name][0](0.1, dt=dt, **options)
    layer(x)
    rng = np.random.default_rng(1)
    units = x.shape[-1]
    tau = rng.uniform(0.3 * dt, 300 * dt, units).astype("float32")
    level = rng.normal(0, 100, units).astype("float32")
    cell = layer.layer.cell
    cell.tau.assign(tau.reshape(cell.tau.shape))
    cell.initial_level.assign(level.reshape(cell.tau.shape))
    return layer, tau, level


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("mode", ["eager", "any length", "jit_compile"])
@pytest.mark.parametrize("dt", [0.001, 1 / 30])
def test_ten_thousand_steps(name, mode, dt):
    x = np.random.default_rng(0).uniform(-500, 2000, (2, 10_000, 7)).astype("float32")
    layer, tau, level = layer_with(name, x[:, :5], dt)
    call = {
        "eager": layer,
        "any length": tf.function(layer, input_signature=[tf.TensorSpec([None, None, 7])]),
        "jit_compile": tf.function(layer, jit_compile=True),
    }[mode]
    expected, _ = FILTERS[name][1](x, tau, float(np.float32(dt)), level)
    close(call(tf.constant(x)).numpy(), expected)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("steps", [1, 2, 5, 21])
def test_lengths_layouts_and_states(name, steps):
    x = np.random.default_rng(0).normal(size=(3, steps, 4)).astype("float32")
    layer, tau, level = layer_with(name, x, 0.001, return_state=True)
    expected, state = FILTERS[name][1](x, tau, float(np.float32(0.001)), level)
    y, found = layer(x)
    close(y.numpy(), expected)
    # A layer's state is the filter's output; an alpha filter has a second number.
    close(np.reshape(found, (3, -1, 4))[:, 0], np.reshape(state, (3, -1, 4))[:, 0])
    layer, *_ = layer_with(name, x.swapaxes(0, 1), 0.001, time_major=True)
    close(layer(x.swapaxes(0, 1)).numpy(), expected.swapaxes(0, 1))


@pytest.mark.parametrize("name", FILTERS)
def test_chunks_of_a_stateful_layer(name):
    x = np.random.default_rng(0).normal(size=(2, 60, 4)).astype("float32")
    whole, tau, level = layer_with(name, x, 0.001)
    layer, *_ = layer_with(name, x[:, :1], 0.001, stateful=True)
    layer.reset_states()
    chunks = [layer(x[:, a:b]) for a, b in ((0, 1), (1, 23), (23, 60))]
    expected, _ = FILTERS[name][1](x, tau, float(np.float32(0.001)), level)
    close(np.concatenate(chunks, axis=1), expected)
    close(whole(x).numpy(), expected)
