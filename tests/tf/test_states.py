"""Tests of layer states: passed in, returned, kept between calls, reset."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf

LAYERS = {
    "spiking": lambda **kwargs: kspike_tf.SpikingActivation("linear", seed=0, dt=0.01, **kwargs),
    "lowpass": lambda **kwargs: kspike_tf.Lowpass(0.02, dt=0.01, **kwargs),
    "alpha": lambda **kwargs: kspike_tf.Alpha(0.02, dt=0.01, **kwargs),
}
X = np.random.default_rng(0).normal(50, 200, (3, 12, 4)).astype(np.float32)
STATE = {"spiking": (3, 4), "lowpass": (3, 4), "alpha": (3, 2, 4)}


def agree(name, found, expected):
    if name == "spiking":
        np.testing.assert_array_equal(found, expected)
    else:  # rounded to float32 once, from the same float64
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
def test_returned_states_go_on(name, time_major, return_sequences):
    def turned(x):
        return np.swapaxes(x, 0, 1) if time_major else x

    layer = LAYERS[name](
        return_state=True, time_major=time_major, return_sequences=return_sequences
    )
    whole, end = layer(turned(X))
    assert end.dtype == tf.float64
    assert tuple(end.shape) == STATE[name]
    _, state = layer(turned(X[:, :5]))
    y, state = layer(turned(X[:, 5:]), initial_state=state)
    agree(name, y, turned(turned(whole)[:, 5:]) if return_sequences else whole)
    agree(name, state, end)


@pytest.mark.parametrize("name", LAYERS)
def test_states_in_a_functional_model(name):
    inputs, start = keras.Input((None, 4)), keras.Input(STATE[name][1:], dtype="float64")
    layer = LAYERS[name](return_state=True)
    y, end = layer(inputs, initial_state=start)
    assert tuple(end.shape) == (None, *STATE[name][1:])
    assert end.dtype == "float64"
    model = keras.Model([inputs, start], [y, end])
    _, state = model([tf.constant(X[:, :5]), layer.get_initial_state(3)[0]])
    y, state = model([tf.constant(X[:, 5:]), state])
    expected, end = layer(X)
    agree(name, y, expected[:, 5:])
    agree(name, state, end)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_symbolic_shapes_are_those_of_arrays(name, time_major, return_sequences, known):
    options = {"time_major": time_major, "return_sequences": return_sequences}
    shape = (12, 3, 4) if time_major else (3, 12, 4)
    inputs = keras.Input(batch_shape=shape if known else (None, None, 4))
    for return_state in (False, True):
        layer = LAYERS[name](**options, return_state=return_state)
        symbolic = keras.tree.flatten(layer(inputs))
        arrays = keras.tree.flatten(layer(X.reshape(shape)))
        for one, other in zip(symbolic, arrays, strict=True):
            assert one.dtype == other.dtype.name
            assert tf.TensorShape(one.shape).is_compatible_with(other.shape)
            assert (None not in one.shape) == known
            assert one.shape[-1] == 4


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("time_major", [False, True])
def test_a_stateful_layer_goes_on_until_it_is_reset(name, time_major):
    def turned(x):
        return np.swapaxes(x, 0, 1) if time_major else x

    layer = LAYERS[name](stateful=True, time_major=time_major)
    assert layer.states is None
    whole = LAYERS[name]()(X)
    for reset in (layer.reset_states, layer.reset_state):
        run = tf.function(layer)
        parts = [turned(run(turned(X[:, a:b]))) for a, b in ((0, 5), (5, 12))]
        agree(name, np.concatenate(parts, axis=1), whole)
        reset()
    assert [tuple(each.shape) for each in layer.states] == [STATE[name]]


@pytest.mark.parametrize("name", LAYERS)
def test_a_stateful_layer_is_reset_to_given_states(name):
    layer = LAYERS[name](stateful=True)
    layer(X)
    plain = LAYERS[name](return_state=True)
    _, state = plain(X[:, :5])
    for given in (state, [state], np.asarray(state), [np.asarray(state)]):
        layer.reset_states(given)
        agree(name, layer(X[:, 5:]), plain(X)[0][:, 5:])
    layer.reset_states(np.zeros(STATE[name], np.float32))
    agree(name, layer(X), plain(X, initial_state=np.zeros(STATE[name]))[0])


@pytest.mark.parametrize("name", LAYERS)
def test_a_stateful_layer_refuses_the_partial_batch_of_predict(name):
    model = keras.Sequential([keras.Input((None, 4), batch_size=3), LAYERS[name](stateful=True)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="must keep its batch size"):
        model.predict(np.ones((5, 7, 4), np.float32), batch_size=3, verbose=0)


@pytest.mark.parametrize("name", LAYERS)
def test_a_stateful_layer_in_predict(name):
    model = keras.Sequential([keras.Input((None, 4), batch_size=3), LAYERS[name](stateful=True)])
    parts = [model.predict(X[:, a:b], verbose=0) for a, b in ((0, 5), (5, 12))]
    agree(name, np.concatenate(parts, axis=1), LAYERS[name]()(X))
    for layer in model.layers:
        layer.reset_states()
    agree(name, model.predict(X, verbose=0), LAYERS[name]()(X))
    # states are not weights
    assert len(model.weights) == (0 if name == "spiking" else 2)
    assert all(each.trainable for each in model.weights)


def test_without_a_seed_a_reset_draws_anew():
    layer = kspike_tf.SpikingActivation("linear", stateful=True, return_state=True)
    rates = np.zeros((3, 2, 50), np.float32)
    first = layer(rates)[1]
    np.testing.assert_array_equal(layer(rates)[1], first)
    layer.reset_states()
    again = layer(rates)[1]
    assert (again != first).numpy().all()
    assert (again[0] != again[1]).numpy().all()


def in_one_go(rates, voltage, dt):
    """Compute the dynamics on the grid step by step, in NumPy."""
    seconds, scale = np.float64(np.float32(dt)), 2.0**32
    voltage = np.rint(np.float64(voltage) * scale) / scale
    height, spikes = np.float32(1 / seconds), np.zeros_like(rates)
    for step in range(rates.shape[1]):
        a = voltage + np.rint(np.float64(rates[:, step]) * (seconds * scale)) / scale
        spikes[:, step] = np.floor(a).astype(np.float32) * height
        voltage = a - np.floor(a)
    return spikes, voltage


VOLTAGE = np.array([[-3.25, -0.5, 0.0, 0.999], [1.0, 1.5, 7.0, 1000.3], [-1e5, 1e5, 0.3, -1e-12]])


@pytest.mark.parametrize("mode", ["eager", "any length", "jit_compile", "stateful"])
@pytest.mark.parametrize("steps", [1, 12])
def test_given_voltages_outside_the_unit_interval_spike_at_the_first_step(mode, steps):
    layer = LAYERS["spiking"](return_state=True, stateful=mode == "stateful")
    x = X[:, :steps]
    if mode == "stateful":
        layer(x)
        layer.reset_states(VOLTAGE)
        found = layer(x)
    else:
        call = lambda x: layer(x, initial_state=VOLTAGE)  # noqa: E731
        if mode == "any length":
            call = tf.function(call, input_signature=[tf.TensorSpec([3, None, 4])])
        if mode == "jit_compile":
            call = tf.function(call, jit_compile=True)
        found = call(x)
    for mine, theirs in zip(found, in_one_go(x, VOLTAGE, 0.01), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_gradients_go_past_owed_spikes():
    layer = kspike_tf.SpikingActivation("softplus", seed=0, dt=0.01)
    x = tf.constant(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = tf.reduce_sum(layer(x, initial_state=VOLTAGE) * X)
        base = tf.reduce_sum(tf.nn.softplus(x) * X)
    np.testing.assert_array_equal(tape.gradient(y, x), tape.gradient(base, x))


# Refused states and resets.


@pytest.mark.parametrize("name", LAYERS)
def test_resets_that_cannot_be(name):
    layer = LAYERS[name](name="plain")
    layer(X)
    with pytest.raises(AttributeError, match=r"layer with stateful=True. Received: 'plain'"):
        layer.reset_states()
    layer = LAYERS[name](stateful=True, name="kept")
    with pytest.raises(ValueError, match="needs a built layer: call 'kept' on an input first"):
        layer.reset_states()
    layer(X)
    with pytest.raises(ValueError, match=r"states must hold 1 state.* 'kept'. Received: 2"):
        layer.reset_states([np.zeros(STATE[name])] * 2)
    shape = ", ".join(map(str, STATE[name]))
    message = rf"states must have the shape \({shape}\) for layer 'kept'. Received: \(3, 5\)"
    with pytest.raises(ValueError, match=message):
        layer.reset_states(np.zeros((3, 5)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_stateful_layer_needs_a_static_batch_size(name):
    message = r"stateful=True needs a static batch size: .*batch_shape=\.\.\.\). Received: .* None"
    with pytest.raises(ValueError, match=message):
        LAYERS[name](stateful=True)(keras.Input((7, 4)))
    with pytest.raises(ValueError, match=message):
        keras.Sequential([keras.Input((7, 4)), LAYERS[name](stateful=True)])
    hint = r"batch_shape=\.\.\.\); with time_major=True inputs are \(time, batch, \*units\)"
    with pytest.raises(ValueError, match=hint):
        LAYERS[name](stateful=True, time_major=True)(keras.Input((None, 4), batch_size=3))


@pytest.mark.parametrize("name", LAYERS)
def test_a_stateful_layer_keeps_its_batch_size(name):
    layer = LAYERS[name](stateful=True, name="kept")
    layer(X)
    with pytest.raises(ValueError, match=r"'kept' was built for a batch of 3. Received: .* of 2"):
        layer(X[:2])
    layer = LAYERS[name](stateful=True, time_major=True)
    layer(X)  # read as 3 steps of a batch of 12
    with pytest.raises(ValueError, match=r"batch of 12; with time_major=True .* of 3"):
        layer(np.swapaxes(X, 0, 1))


@pytest.mark.parametrize("name", LAYERS)
def test_initial_states_of_other_shapes(name):
    layer = LAYERS[name](name="given")
    with pytest.raises(ValueError, match=r"initial_state must hold 1 state.*'given'. Received: 2"):
        layer(X, initial_state=[np.zeros(STATE[name])] * 2)
    with pytest.raises(ValueError, match=r"initial_state must have the shape \(3, .*\(2, 4\)"):
        layer(X, initial_state=np.zeros((2, 4)))
    # also when a model is built, before there is any input
    with pytest.raises(ValueError, match=r"initial_state must have the shape \(None, .*, 5\)"):
        layer(keras.Input((None, 4)), initial_state=keras.Input((5,)))


@pytest.mark.parametrize("name", LAYERS)
def test_time_major_misuse_that_shapes_reveal(name):
    layer = LAYERS[name](time_major=True)
    hint = r"with time_major=True inputs are \(time, batch, \*units\)"
    with pytest.raises(ValueError, match=hint):  # batch-major inputs: 12 is read as the batch
        layer(X, initial_state=np.zeros(STATE[name]))
    layer = LAYERS[name](time_major=True, unroll=True)
    with pytest.raises(ValueError, match=rf"unroll=True needs a known number .*{hint}"):
        layer(keras.Input((12, 4)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("symbolic", [False, True])
def test_constants_are_refused(name, symbolic):
    x = keras.Input((12, 4)) if symbolic else X
    with pytest.raises(ValueError, match=r"constants are not supported by layer 'fed'"):
        LAYERS[name](name="fed")(x, constants=[np.zeros(3)])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("time_major", [False, True])
def test_inputs_that_do_not_fit(name, time_major):
    axes = r"\(time, batch, \*units\)" if time_major else r"\(batch, time, \*units\)"
    layer = LAYERS[name](time_major=time_major, name="fed")
    with pytest.raises(ValueError, match=rf"'fed' must have at least three axes, {axes}.*\(3, 12"):
        layer(X[:, :, 0])
    with pytest.raises(ValueError, match=rf"'fed' must have known units in {axes}.*12, None\)"):
        layer(keras.Input((12, None)))
    layer(X)
    message = r"inputs must have the units \(4,\) that layer 'fed' was built for.*\(3, 12, 2\)"
    with pytest.raises(ValueError, match=message):
        layer(X[:, :, :2])
    with pytest.raises(ValueError, match=r"inputs must have the units \(4,\)"):
        layer(keras.Input((12, 4, 1)))


@pytest.mark.parametrize("name", LAYERS)
def test_unrolling_needs_a_known_number_of_steps(name):
    with pytest.raises(ValueError, match=r"unroll=True needs a known number .*\(None, None, 4\)"):
        LAYERS[name](unroll=True)(keras.Input((None, 4)))
    agree(name, LAYERS[name](unroll=True)(X), LAYERS[name]()(X))
