"""Tests of analytic gradients against autodiff of a float64 loop, and finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf.scan.cpu import kernels
from kspike_tf.scan.spikes import integrate, integrate_step

DT = 0.002
# Gradients come back in float32; the layers promise 1e-4 of the largest element.
TOLERANCE = 1e-4


def close(found, expected):
    found, expected = (np.asarray(a, "float64").ravel() for a in (found, expected))
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def plain_lowpass(x, tau, state):
    d = tf.exp(-DT32 / tau)
    outputs, y = [], state[:, 0]
    for t in range(x.shape[1]):
        y = d * y + (1 - d) * x[:, t]
        outputs.append(y)
    return tf.stack(outputs, 1)


def plain_alpha(x, tau, state):
    s = DT32 / tau
    e = tf.exp(-s)
    outputs, y, p = [], state[:, 0], state[:, 1]
    for t in range(x.shape[1]):
        u = x[:, t]
        y, p = (
            e * (s * p + (1 + s) * y) + (1 - e * (1 + s)) * u,
            e * ((1 - s) * p - s * y + s * u),
        )
        outputs.append(y)
    return tf.stack(outputs, 1)


DT32 = float(np.float32(DT))
PLAIN = {"lowpass": (plain_lowpass, 1), "alpha": (plain_alpha, 2)}
LAYERS = {"lowpass": kspike_tf.Lowpass, "alpha": kspike_tf.Alpha}


def data(steps, parts):
    rng = np.random.default_rng(steps)
    x = rng.normal(size=(3, steps, 4)).astype("float32")
    g = rng.normal(size=(3, steps, 4)).astype("float32")
    tau = np.float32([0.001, 0.01, 0.1, 1.0])
    return x, g, tau, rng.normal(size=(3, parts, 4))


def built(name, x, tau, **options):
    layer = LAYERS[name](0.1, dt=DT, **options)
    layer(x)
    layer.layer.cell.tau.assign(tau.reshape(layer.layer.cell.tau.shape))
    return layer


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mode", ["eager", "graph", "any length", "jit_compile"])
@pytest.mark.parametrize("steps", [1, 7, 200])
def test_filters_against_autodiff(name, mode, steps):
    plain, parts = PLAIN[name]
    x, g, tau, state = data(steps, parts)
    layer = built(name, x, tau)
    cell = layer.layer.cell

    def gradients(x, state):
        with tf.GradientTape() as tape:
            tape.watch([x, state])
            y = layer(x, initial_state=state)
            loss = tf.reduce_sum(y * tf.constant(g))
        return tape.gradient(loss, [x, cell.tau.value, state])

    shape = state.shape if parts == 2 else (3, 4)
    given = tf.constant(x), tf.constant(state.reshape(shape))
    if mode == "any length":
        signature = [tf.TensorSpec([3, None, 4]), tf.TensorSpec(shape, tf.float64)]
        gradients = tf.function(gradients, input_signature=signature)
    elif mode != "eager":
        gradients = tf.function(gradients, jit_compile=mode == "jit_compile")
    found = gradients(*given)

    exact = [tf.constant(a, tf.float64) for a in (x, tau, state)]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        loss = tf.reduce_sum(plain(*exact) * tf.cast(g, tf.float64))
    for mine, its in zip(found, tape.gradient(loss, exact), strict=True):
        close(mine, its)


@pytest.mark.parametrize("name", LAYERS)
def test_initial_level_and_tau_against_finite_differences(name):
    x, g, tau, _ = data(30, PLAIN[name][1])
    layer = built(name, x.astype("float64"), tau.astype("float64"), dtype="float64")
    cell = layer.layer.cell

    def loss():
        return tf.reduce_sum(layer(x.astype("float64")) * g)

    with tf.GradientTape() as tape:
        value = loss()
    for variable, gradient in zip(
        (cell.tau, cell.initial_level),
        tape.gradient(value, [cell.tau.value, cell.initial_level.value]),
        strict=True,
    ):
        numeric = np.zeros(variable.shape).ravel()
        original = variable.numpy().copy()
        for i in range(numeric.size):
            # Central differences are exact to h², and float64 leaves 1e-16 / h of noise.
            h = 1e-5 * max(abs(original.ravel()[i]), 1e-2)
            ends = []
            for sign in (1, -1):
                moved = original.copy().ravel()
                moved[i] += sign * h
                variable.assign(moved.reshape(original.shape))
                ends.append(float(loss()))
            numeric[i] = (ends[0] - ends[1]) / (2 * h)
        variable.assign(original)
        close(gradient, numeric)


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus", "elu"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_spiking_aware_gradients_are_those_of_the_activation(activation, jit_compile):
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(0, 100, (3, 20, 5)), tf.float32)
    g = tf.constant(rng.normal(size=(3, 20, 5)), tf.float32)
    layer = kspike_tf.SpikingActivation(activation, dt=0.01, seed=0)
    base = keras.activations.get(activation)

    def gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(function(x) * g)
        return tape.gradient(loss, x)

    compiled = tf.function(gradient, jit_compile=jit_compile)
    np.testing.assert_array_equal(
        compiled(lambda x: layer(x, training=True)), compiled(lambda x: base(x))
    )


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("wrapped", ["layer", "mask", "cell in keras.layers.RNN"])
def test_training_brings_a_negative_tau_back(name, wrapped):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 20, 3)).astype("float32")
    target = LAYERS[name](0.02, dt=DT)(x)
    if wrapped == "cell in keras.layers.RNN":
        cell = getattr(kspike_tf.layers, f"{name.capitalize()}Cell")(3, 0.1, dt=DT)
        layer = keras.layers.RNN(cell, return_sequences=True)
    else:
        layer = LAYERS[name](0.1, dt=DT)
    layer(x)
    cell = cell if wrapped == "cell in keras.layers.RNN" else layer.layer.cell
    cell.tau.assign(np.reshape([-0.1, 0.0, 1e-8], cell.tau.shape))
    mask = {"mask": np.arange(20) < np.arange(13, 21)[:, None]} if wrapped == "mask" else {}
    # The layer passes inputs unchanged, as with the shortest time constant.
    if not mask:
        np.testing.assert_array_equal(layer(x), x)
    optimizer = keras.optimizers.Adam(0.01)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            difference = (layer(x, **mask) - target)[:, :13]
            loss = tf.reduce_mean(tf.square(difference))
        gradient = tape.gradient(loss, cell.tau.value)
        optimizer.apply([gradient], [cell.tau])
        return gradient, loss

    gradient, before = step()
    assert (np.asarray(gradient) < 0).all()  # so the weights grow
    for _ in range(80):
        _, after = step()
    assert (np.asarray(cell.tau) > 0.01).all()
    assert after < before / 2


@pytest.mark.parametrize("name", LAYERS)
def test_a_tau_below_zero_is_not_pushed_further_down(name):
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype("float32")
    layer = built(name, x, np.float32([-0.1, -0.1, -0.1]))
    with tf.GradientTape() as tape:
        # Slower filters pass less of these inputs, so the loss grows with tau.
        loss = tf.reduce_sum(tf.square(layer(x) - 1.5 * x))
    gradient = np.asarray(tape.gradient(loss, layer.layer.cell.tau.value))
    assert (gradient == 0).all()


def test_a_step_of_rectified_spikes_has_the_gradient_of_relu():
    x, weight = tf.constant([[-3.0, 0.0, 5.0]]), tf.constant([[1.0, 2.0, 3.0]])
    voltage, dt = tf.zeros((1, 3), tf.float64), np.float64(0.01)

    def gradient(integrate, x, weight):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(integrate(kernels.RECTIFIED_SPIKES, x, voltage, dt)[0] * weight)
        return tape.gradient(total, x)

    by_step = gradient(integrate_step, x, weight)
    np.testing.assert_array_equal(by_step, [[0, 0, 3]])
    np.testing.assert_array_equal(by_step, gradient(integrate, x[:, None], weight[:, None])[:, 0])
