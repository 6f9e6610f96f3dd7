"""Tests of second derivatives and forward mode against autodiff of a float64 loop."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_gradients import DT, LAYERS, PLAIN

import kspike_tf
from kspike_tf import scan
from kspike_tf.scan import choose

MODES = ["eager", "graph", "jit_compile"]
MODES += [
    pytest.param(each, marks=pytest.mark.slow)
    for each in ("any length", "blocks", "xla blocks", "plain")
]


def in_mode(function, mode, args, monkeypatch):
    """Run a function of tensors in one of the modes."""
    args = [tf.constant(each) for each in args]
    if mode == "eager":
        return function(*args)
    if "blocks" in mode:
        monkeypatch.setattr(choose, "only_processors", lambda: False)
    signature = None
    if mode == "any length":
        signature = [tf.TensorSpec([None] * each.shape.rank, each.dtype) for each in args]
    compiled = tf.function(
        function, input_signature=signature, jit_compile=mode in ("jit_compile", "xla blocks")
    )
    if mode == "plain":
        with kspike_tf.tracing.plain_operations():
            return compiled(*args)
    return compiled(*args)


def plain(name):
    """Return the filter as a float64 loop that TensorFlow differentiates."""
    filtered, parts = PLAIN[name]

    def run(x, state, tau):
        y = filtered(x, tau, state)
        if parts == 1:
            return y, y[:, -1:]
        # p = τ·dy/dt, from the equation of y, with one more step on which the input is zero:
        # y' = e·((1 + s)·y + s·p).
        s = float(np.float32(DT)) / tau
        e = tf.exp(-s)
        longer = filtered(tf.concat([x, tf.zeros_like(x[:, :1])], 1), tau, state)
        after = (longer[:, -1] / e - (1 + s) * y[:, -1]) / s
        return y, tf.stack([y[:, -1], after], 1)

    return run


def ours(name):
    return lambda x, state, tau: getattr(scan, name)(x, state, tau, np.float64(np.float32(DT)))


def data(name, steps=9, dtype=np.float64):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, steps, 3)).astype(dtype)
    state = rng.normal(size=(2, PLAIN[name][1], 3))
    return x, state, np.array([0.001, 0.004, 0.1], dtype)


def penalty(run):
    """Return a function that differentiates a loss and then a sum of functions of its gradients."""

    def loss(*args):
        y, end = run(*args)
        # The loss is nonlinear, so that its gradients depend on the outputs.
        return tf.reduce_sum(tf.cast(tf.sin(y), tf.float64)) + tf.reduce_sum(tf.sin(2 * end))

    def differentiated(*args):
        with tf.GradientTape() as outer:
            outer.watch(args)
            with tf.GradientTape() as tape:
                tape.watch(args)
                value = loss(*args)
            first = tape.gradient(value, args)
            weighed = [tf.reduce_sum(tf.cast(tf.square(each), tf.float64)) for each in first]
            total = tf.add_n(weighed)
        return outer.gradient(total, args)

    return differentiated


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mode", MODES)
def test_second_derivatives_against_autodiff(name, mode, monkeypatch):
    args = data(name)
    found = in_mode(penalty(ours(name)), mode, args, monkeypatch)
    monkeypatch.undo()
    expected = penalty(plain(name))(*map(tf.constant, args))
    for mine, its in zip(found, expected, strict=True):
        # float64; blocks and loops sum in other orders, and cancel where e and 1 − e do
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-9 * np.abs(its).max())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_second_derivatives_against_finite_differences(name, jit_compile):
    x, state, tau = data(name)

    def first(x, state, tau):
        with tf.GradientTape() as tape:
            tape.watch(tau)
            y, end = ours(name)(x, state, tau)
            value = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(tf.sin(2 * end))
        return tape.gradient(value, tau)

    def second(x, state, tau):
        with tf.GradientTape() as outer:
            outer.watch([x, state, tau])
            value = tf.reduce_sum(first(x, state, tau) * [1.0, -2.0, 3.0])
        return outer.gradient(value, [x, state, tau])

    found = tf.function(second, jit_compile=jit_compile)(x, state, tau)
    args = [x, state, tau]
    for number, gradient in enumerate(found):
        direction = np.random.default_rng(number).normal(size=args[number].shape)
        # Central differences are exact to h², with noise of 1e-16 / h from values up to 1e5.
        h = 1e-5 * np.abs(args[number]).min()
        ends = []
        for sign in (1, -1):
            moved = list(args)
            moved[number] = args[number] + sign * h * direction
            ends.append(float(np.sum(first(*map(tf.constant, moved)) * [1.0, -2.0, 3.0])))
        numeric = (ends[0] - ends[1]) / (2 * h)
        along = float(np.sum(gradient * direction))
        assert abs(along - numeric) <= 1e-4 * np.sum(np.abs(gradient * direction))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mode", ["eager", "graph", "jit_compile"])
def test_forward_mode(name, mode, monkeypatch):
    args = data(name)
    tangents = [np.cos(np.arange(each.size)).reshape(each.shape) for each in args]

    def pushed(run):
        def forward(*both):
            args, tangents = both[:3], both[3:]
            with tf.autodiff.ForwardAccumulator(list(args), list(tangents)) as accumulator:
                outputs = run(*args)
            return [accumulator.jvp(each) for each in outputs]

        return forward

    found = in_mode(pushed(ours(name)), mode, (*args, *tangents), monkeypatch)
    expected = pushed(plain(name))(*map(tf.constant, (*args, *tangents)))
    for mine, its in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-9 * np.abs(its).max())


@pytest.mark.parametrize("name", LAYERS)
def test_third_derivatives(name):
    x, state, tau = map(tf.constant, data(name, 4))

    def third(run):
        with tf.GradientTape() as outer:
            outer.watch([x, state, tau])
            value = tf.reduce_sum(tf.square(penalty(run)(x, state, tau)[0]))
        return outer.gradient(value, [x, state, tau])

    for mine, its in zip(third(ours(name)), third(plain(name)), strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-9 * np.abs(its).max())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_tapes_and_accumulators_outside_of_a_function(name, jit_compile):
    x, state, tau = map(tf.constant, data(name))
    compiled = tf.function(lambda x: ours(name)(x, state, tau)[0], jit_compile=jit_compile)

    def both(run):
        with tf.autodiff.ForwardAccumulator(x, tf.cos(x)) as accumulator:
            y = run(x)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.reduce_sum(tf.sin(run(x)))
            total = tf.reduce_sum(tf.square(tape.gradient(value, x)))
        return accumulator.jvp(y), outer.gradient(total, x)

    expected = both(lambda x: plain(name)(x, state, tau)[0])
    for mine, its in zip(both(compiled), expected, strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=1e-9 * np.abs(its).max())


OPTIONS = {
    "mask": {},
    "time_major": {"time_major": True},
    "return_state": {"return_state": True},
    "stateful": {"stateful": True},
    "several axes": {},
    "float32": {},
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "option",
    [
        "mask",
        "stateful",
        *[
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("time_major", "return_state", "several axes", "float32")
        ],
    ],
)
def test_a_gradient_penalty_through_a_layer(name, option):
    dtype = "float32" if option == "float32" else "float64"
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(dtype)
    mask = np.arange(7) < np.array([[4], [7]]) if option == "mask" else None
    if option == "several axes":
        x = x.reshape(2, 7, 3, 1)
    layer = LAYERS[name](0.01, dt=DT, dtype=dtype, **OPTIONS[option])
    given = np.swapaxes(x, 0, 1) if option == "time_major" else x
    layer(given)
    cell = layer.layer.cell
    cell.initial_level.assign(np.reshape([0.5, -1, 2], cell.initial_level.shape))
    # Keras' loop over the cell's steps, which TensorFlow differentiates.
    loop = keras.layers.RNN(cell, return_sequences=True, return_state=True, dtype=dtype)
    weights = cell.trainable_variables

    def by_layer(x):
        out = layer(x if option != "time_major" else tf.transpose(x, [1, 0, 2]), mask=mask)
        if option == "return_state":
            return out
        return (tf.transpose(out, [1, 0, 2]) if option == "time_major" else out,)

    def by_loop(x):
        y, state = loop(x, mask=mask)
        return (y, state) if option == "return_state" else (y,)

    def penalized(run, x):
        variables = [x, *[each.value for each in weights]]
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.add_n([tf.reduce_sum(tf.sin(tf.cast(y, x.dtype))) for y in run(x)])
            gradients = tape.gradient(value, variables)
            total = tf.add_n([tf.reduce_sum(tf.square(each)) for each in gradients])
        return outer.gradient(total, variables)

    if option == "stateful":
        layer.reset_states()
    jit_compile = option != "stateful"  # XLA functions cannot assign variables of their own
    found = tf.function(lambda x: penalized(by_layer, x), jit_compile=jit_compile)(tf.constant(x))
    expected = tf.function(lambda x: penalized(by_loop, x))(tf.constant(x))
    # float32 rounds the outputs, and sums a thousand of their products
    tolerance = 1e-3 if dtype == "float32" else 1e-9
    for mine, its in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, its, rtol=0, atol=tolerance * np.abs(its).max())


@pytest.mark.parametrize("activation", ["softplus", "tanh", "relu"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_second_derivatives_of_spikes_are_those_of_the_activation(activation, jit_compile):
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 3)), tf.float32)
    layer = kspike_tf.SpikingActivation(activation, dt=DT, seed=0)
    layer(x)

    def derivatives(run):
        with tf.autodiff.ForwardAccumulator(x, tf.cos(x)) as accumulator:
            y = run(x)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = tf.reduce_sum(run(x) * x)
            total = tf.reduce_sum(tf.sin(tape.gradient(value, x) - run(x)))
        return accumulator.jvp(y), outer.gradient(total, x)

    function = keras.activations.get(activation)
    found = tf.function(lambda: derivatives(layer), jit_compile=jit_compile)()
    # The outputs cancel: the differentiated term is x·f′.
    expected = tf.function(lambda: derivatives(function), jit_compile=jit_compile)()
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-4)
