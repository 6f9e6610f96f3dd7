"""Tests of half precision: the same rates give the same spikes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf

POLICIES = ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"]
DTYPES = {"mixed_float16": tf.float16, "mixed_bfloat16": tf.bfloat16}
DTYPES |= {"float16": tf.float16, "bfloat16": tf.bfloat16}


def half_rates(dtype, shape=(3, 400, 6)):
    """Return rates that half precision holds exactly, down to a spike in four seconds."""
    rng = np.random.default_rng(0)
    rates = np.exp(rng.uniform(np.log(0.25), np.log(2000), shape)).astype(np.float32)
    return tf.cast(rates, dtype)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dt", [0.001, 0.0007, 1 / 30])
def test_the_same_spikes_as_in_single_precision(policy, dt):
    rates = half_rates(DTYPES[policy])
    layer = kspike_tf.SpikingActivation("linear", dt=dt, seed=0, dtype=policy)
    single = kspike_tf.SpikingActivation("linear", dt=dt, seed=0)
    expected = single(tf.cast(rates, tf.float32))
    height = np.float32(1 / np.float64(np.float32(dt)))
    for y in (layer(rates), tf.function(layer)(rates)):
        assert y.dtype == DTYPES[policy]
        # the height of a spike may be rounded, but not the number of spikes
        np.testing.assert_array_equal(np.rint(tf.cast(y, tf.float32) / height), expected / height)
        np.testing.assert_array_equal(y, tf.cast(expected, y.dtype))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
def test_a_variable_dt_is_read_exactly(policy, make_variable):
    # 0.001 is 0.0010004 in float16 and 0.00099945 in bfloat16
    keras.config.set_dtype_policy(policy)
    rates = half_rates(DTYPES[policy])
    for make in (
        lambda dt: kspike_tf.SpikingActivation("linear", dt=dt, seed=0),
        lambda dt: kspike_tf.Lowpass(0.02, dt=dt),
        lambda dt: kspike_tf.Alpha(0.02, dt=dt),
    ):
        layer, expected = make(make_variable(0.25)), make(0.001)(rates)
        layer.build(rates.shape)
        run = tf.function(layer)
        assert (run(rates) != expected).numpy().any()
        layer.dt.variable.assign(0.001)
        for y in (layer(rates), run(rates), keras.layers.TimeDistributed(layer)(rates[None])[0]):
            assert y.dtype == DTYPES[policy]
            np.testing.assert_array_equal(y, expected)
        assert run.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("policy", POLICIES)
def test_slow_neurons_fire(policy):
    # a voltage in half precision gets stuck at 0.25 Hz: 0.00025 is lost beside 0.5
    layer = kspike_tf.SpikingActivation("linear", seed=0, dtype=policy)
    spikes = tf.function(layer)(tf.fill((1, 12_000, 2), tf.constant(0.25, DTYPES[policy])))
    np.testing.assert_array_equal(tf.math.count_nonzero(spikes, axis=1), 3)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_filters_round_their_output_and_nothing_else(policy, name):
    # half precision holds neither the time constants nor the levels
    weights = {"level_initializer": keras.initializers.Constant(77.7)}
    x = half_rates(DTYPES[policy])
    make = getattr(kspike_tf, name)
    expected = tf.cast(make(0.02, **weights)(tf.cast(x, tf.float32)), DTYPES[policy])
    layer = make(0.02, **weights, dtype=policy)
    keras.config.set_dtype_policy(policy)
    for call in (layer, tf.function(layer), keras.Sequential([layer])):
        y = call(x)
        assert y.dtype == DTYPES[policy]
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_filters_of_half_precision_weights(policy, name):
    x = half_rates(DTYPES[policy])
    make = getattr(kspike_tf, name)
    y = make(0.125, dtype=policy)(x)  # a time constant that every type holds
    assert y.dtype == DTYPES[policy]
    np.testing.assert_array_equal(y, tf.cast(make(0.125)(tf.cast(x, tf.float32)), y.dtype))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_cells_in_an_rnn_spike_the_same(policy):
    x = half_rates(DTYPES[policy])[:, :60]
    expected = kspike_tf.SpikingActivation("linear", dt=0.01, seed=0)(tf.cast(x, tf.float32))
    keras.config.set_dtype_policy(policy)
    rnn = keras.layers.RNN(
        kspike_tf.SpikingActivationCell(6, "linear", dt=0.01, seed=0), return_sequences=True
    )
    y = tf.function(rnn)(x)
    assert y.dtype == DTYPES[policy]
    np.testing.assert_array_equal(y, tf.cast(expected, y.dtype))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_weights_stay_in_single_precision_and_train(policy):
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input((None, 5)),
            keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotUniform(0)),
            kspike_tf.SpikingActivation("relu", seed=0),
            kspike_tf.Lowpass(0.02),
            kspike_tf.Alpha(0.03),
            keras.layers.Dense(
                2, kernel_initializer=keras.initializers.GlorotUniform(0), dtype="float32"
            ),
        ]
    )
    assert {each.dtype for each in model.weights} == {"float32"}
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 100, (8, 20, 5)), rng.normal(0, 1, (8, 20, 2))
    before = [np.array(each) for each in model.get_weights()]
    # Enough steps to train on after those that float16's loss scaling may skip.
    losses = model.fit(x, y, epochs=6, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]
    for old, new, weight in zip(before, model.get_weights(), model.weights, strict=True):
        assert (old != new).any(), weight.path


def test_double_precision_stays_double():
    x = np.random.default_rng(2).normal(0, 300, (2, 50, 4))
    single = x.astype(np.float32)
    for make in (
        lambda **kwargs: kspike_tf.SpikingActivation("linear", dt=0.25, seed=0, **kwargs),
        lambda **kwargs: kspike_tf.Lowpass(0.125, dt=0.25, **kwargs),
        lambda **kwargs: kspike_tf.Alpha(0.125, dt=0.25, **kwargs),
    ):
        y = make(dtype="float64")(x)
        assert y.dtype == tf.float64
        # equals single precision if that is exact, otherwise to its rounding
        np.testing.assert_allclose(
            make(dtype="float64")(single.astype(np.float64)), make()(single), rtol=1e-6, atol=1e-4
        )
