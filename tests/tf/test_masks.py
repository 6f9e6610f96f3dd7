"""Tests that a masked step holds the state and repeats the output."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf

BATCH, STEPS, UNITS = 6, 9, 4
LAYERS = {
    "spiking": lambda **kwargs: kspike_tf.SpikingActivation("relu", seed=0, dt=0.01, **kwargs),
    "lowpass": lambda **kwargs: kspike_tf.Lowpass(0.02, dt=0.01, level_initializer=LEVEL, **kwargs),
    "alpha": lambda **kwargs: kspike_tf.Alpha(0.02, dt=0.01, level_initializer=LEVEL, **kwargs),
}
LEVEL = keras.initializers.Constant(70.0)


def data():
    """Return inputs and masks: none, all, padding at the end and start, gaps, a single step."""
    rng = np.random.default_rng(0)
    x = rng.normal(50, 200, (BATCH, STEPS, UNITS)).astype(np.float32)
    mask = np.ones((BATCH, STEPS), bool)
    mask[1] = False
    mask[2, 6:] = False
    mask[3, :4] = False
    mask[4] = rng.random(STEPS) < 0.5
    mask[5] = np.arange(STEPS) == 5
    return x, mask


def one_by_one(layer, x, mask, states=None, training=False):
    """Run each example without its masked steps, and put the outputs back in place.

    Keras gives zeros before the first unmasked step.
    """
    outputs, ends = [], []
    for i in range(len(x)):
        start = [s[i : i + 1] for s in states] if states else layer.get_initial_state(1)
        output, end = np.zeros(x.shape[1:], np.float32), start
        if mask[i].any():
            steps = tf.gather(x[i : i + 1], np.flatnonzero(mask[i]), axis=1)
            y, *end = layer(steps, initial_state=start, training=training)
            last = np.cumsum(mask[i]) - 1
            output = tf.where((last >= 0)[:, None], tf.gather(y[0], np.maximum(last, 0)), 0)
        outputs.append(output)
        ends.append(end)
    return tf.stack(outputs), *[tf.concat(each, 0) for each in zip(*ends, strict=True)]


def agree(name, found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    if name == "spiking":
        np.testing.assert_array_equal(found, expected)
    else:  # the same numbers in float64, summed in two orders, rounded once to float32
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mode", ["eager", "any length", "jit_compile", "unroll"])
def test_masked_steps_hold_state_and_repeat_output(name, mode):
    x, mask = data()
    expected = one_by_one(built(name), x, mask)
    layer = LAYERS[name](return_state=True, unroll=mode == "unroll")
    call = lambda x, mask: layer(x, mask=mask)  # noqa: E731
    if mode == "any length":
        signature = [tf.TensorSpec([None, None, UNITS]), tf.TensorSpec([None, None], tf.bool)]
        call = tf.function(call, input_signature=signature)
    elif mode == "jit_compile":
        call = tf.function(call, jit_compile=True)
    for mine, theirs in zip(call(x, mask), expected, strict=True):
        agree(name, mine, theirs)
    assert (np.asarray(expected[0])[3, :4] == 0).all()
    assert (np.asarray(expected[0])[3, 4:] != 0).any()


def built(name, **kwargs):
    layer = LAYERS[name](return_state=True, **kwargs)
    layer.build((None, None, UNITS))
    return layer


@pytest.mark.parametrize("name", LAYERS)
def test_the_last_output_is_that_of_the_last_step_that_counts(name):
    x, mask = data()
    whole = one_by_one(built(name), x, mask)[0]
    agree(name, LAYERS[name](return_sequences=False)(x, mask=mask), whole[:, -1])


@pytest.mark.parametrize("name", LAYERS)
def test_masks_of_time_major_layers(name):
    x, mask = data()
    expected = one_by_one(built(name), x, mask)
    y, state = built(name, time_major=True)(x.swapaxes(0, 1), mask=mask.T)
    agree(name, y, np.swapaxes(expected[0], 0, 1))
    agree(name, state, expected[1])


@pytest.mark.parametrize("name", LAYERS)
def test_masks_of_a_stateful_layer(name):
    x, mask = data()
    layer = LAYERS[name](stateful=True, return_state=True)
    reference = built(name)
    states = None
    for _ in range(2):
        expected, *states = one_by_one(reference, x, mask, states)
        y, *mine = layer(x, mask=mask)
        agree(name, y, expected)
        agree(name, mine[0], states[0])
    assert (states[0][0] != states[0][1]).numpy().any()  # one example has all steps masked


@pytest.mark.parametrize("name", LAYERS)
def test_masks_of_feature_maps(name):
    x, mask = data()
    maps = np.repeat(x[..., None], 3, axis=-1).reshape(BATCH, STEPS, 2, 6)
    y = LAYERS[name]()(maps, mask=mask)
    flat = LAYERS[name]()(maps.reshape(BATCH, STEPS, 12), mask=mask)
    np.testing.assert_array_equal(np.reshape(y, flat.shape), flat)


@pytest.mark.parametrize("name", LAYERS)
def test_as_keras_own_rnn(name):
    x, mask = data()
    layer = built(name)
    y, _ = layer(x, mask=mask)
    rnn = keras.layers.RNN(layer.layer.cell, return_sequences=True)
    agree(name, y, rnn(x, mask=tf.constant(mask)))


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_skip_masked_steps(name):
    x, mask = data()
    g = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    layer = built(name)
    states = layer.get_initial_state(BATCH)
    x = tf.constant(x)

    def gradients(call):
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            y, *ends = call()
            loss = tf.reduce_sum(y * g)
            if name != "spiking":  # no gradient flows through voltages
                loss += sum(tf.reduce_sum(tf.cast(end, y.dtype)) for end in ends)
        weights = [each.value for each in layer.trainable_weights]
        return tape.gradient(loss, [x, *weights, *states], unconnected_gradients="zero")

    found = gradients(lambda: layer(x, mask=mask, initial_state=states))
    expected = gradients(lambda: one_by_one(layer, x, mask, states))
    for mine, theirs in zip(found, expected, strict=True):
        mine, theirs = np.asarray(mine), np.asarray(theirs)
        # the layers promise 1e-4 of the largest
        assert np.abs(mine - theirs).max() <= 1e-4 * np.abs(theirs).max()
    assert (np.asarray(found[0])[~mask] == 0).all()
    assert (np.asarray(found[0])[mask] != 0).any()


@pytest.mark.parametrize("name", LAYERS)
def test_what_stands_in_masked_steps_does_not_matter(name):
    x, mask = data()
    layer = built(name)
    expected = layer(x, mask=mask)
    x = tf.constant(np.where(mask[..., None], x, np.nan))
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = layer(x, mask=mask)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert np.isfinite(tape.gradient(found[0], x)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: kspike_tf.SpikingActivation("relu", spiking_aware_training=False),
        lambda: kspike_tf.Lowpass(0.1, apply_during_training=False),
        lambda: kspike_tf.Alpha(0.1, apply_during_training=False),
    ],
    ids=LAYERS,
)
@pytest.mark.parametrize("tensor", [False, True])
def test_masks_where_training_does_not_run_the_cell(make, tensor):
    x, mask = data()
    x = np.abs(x)
    layer = make()
    expected = np.zeros_like(x)
    for i, t in np.ndindex(mask.shape):
        expected[i, t] = x[i, t] if mask[i, t] else expected[i, t - 1] if t else 0
    training = tf.constant(True) if tensor else True
    np.testing.assert_array_equal(layer(x, mask=mask, training=training), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_voltages_that_owe_spikes_wait_for_a_step_that_counts(name):
    x, mask = data()
    layer = built(name)
    states = [tf.ones_like(each) * 2.5 for each in layer.get_initial_state(BATCH)]
    expected = one_by_one(layer, x, mask, states)
    for mine, theirs in zip(layer(x, mask=mask, initial_state=states), expected, strict=True):
        agree(name, mine, theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_masks_come_through_models(name):
    x, mask = data()
    x = np.where(mask[..., None], x, 0)
    model = keras.Sequential(
        [keras.Input((None, UNITS)), keras.layers.Masking(), LAYERS[name](), LAYERS[name]()]
    )
    first = LAYERS[name]()(x, mask=mask)
    agree(name, model.predict(x, verbose=0), LAYERS[name]()(first, mask=mask))
    assert built(name, return_sequences=False).compute_mask(x, mask) == [None, None]
    assert built(name).compute_mask(x, mask)[0] is mask
    assert LAYERS[name](return_sequences=False).compute_mask(x, mask) is None


def test_masks_of_neurons_of_ones_own():
    class Sum(kspike_tf.layers.KerasSpikingCell):
        def call_inference(self, inputs, states):
            return states[0] + inputs, [states[0] + inputs]

    class SumLayer(kspike_tf.layers.KerasSpikingLayer):
        def build_cell(self, input_shape):
            return Sum(input_shape[2:], dt=self.dt)

    x, mask = data()
    x = np.round(x)  # makes sums exact
    expected = np.cumsum(np.where(mask[..., None], x, 0), axis=1)
    y, state = SumLayer(return_state=True)(x, mask=mask)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(state, expected[:, -1])


@pytest.mark.parametrize("name", LAYERS)
def test_masks_of_numbers(name):
    x, mask = data()
    layer = LAYERS[name]()
    np.testing.assert_array_equal(layer(x, mask=mask.astype("float32")), layer(x, mask=mask))


def test_a_mask_of_another_layout_is_refused():
    x, mask = data()
    layer = kspike_tf.Lowpass(0.1)
    with pytest.raises(ValueError, match=r"mask must have .*\(6, 9\) .*=False. Received: \(9, 6\)"):
        layer(x, mask=mask.T)
    layer = kspike_tf.Lowpass(0.1, time_major=True)
    with pytest.raises(ValueError, match=r"mask must have .*\(9, 6\) .*=True. Received: \(6, 9\)"):
        layer(x.swapaxes(0, 1), mask=mask)


def test_a_mask_of_unknown_rank():
    x, mask = np.ones((2, 4, 3), np.float32), np.array([[1, 1, 0, 1], [0, 1, 1, 0]], bool)
    layer = kspike_tf.Lowpass(0.1)
    expected = layer(x, mask=mask)

    @tf.function
    def masked(x):
        return layer(x, mask=tf.numpy_function(lambda: mask, [], tf.bool))

    np.testing.assert_array_equal(masked(x), expected)
