"""Tests of layers in all kinds of Keras models, in training and inference."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf

X = np.random.default_rng(0).normal(0, 200, (4, 10, 5)).astype(np.float32)
Y = np.random.default_rng(1).normal(0, 100, (4, 10, 6)).astype(np.float32)


def stack(seed=0, **kwargs):
    return [
        kspike_tf.SpikingActivation("relu", seed=seed, **kwargs),
        kspike_tf.Lowpass(0.02),
        kspike_tf.Alpha(0.03),
    ]


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotUniform(1))
        self.filters = stack()

    def call(self, inputs, training=None):
        x = self.dense(inputs)
        for layer in self.filters:
            x = layer(x, training=training)
        return x


def dense():
    return keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotUniform(1))


def sequential():
    return keras.Sequential([keras.Input((None, 5)), dense(), *stack()])


def deferred():
    return keras.Sequential([dense(), *stack()])


def functional():
    inputs = x = keras.Input((None, 5))
    for layer in [dense(), *stack()]:
        x = layer(x)
    return keras.Model(inputs, x)


def nested():
    inner = keras.Sequential([keras.Input((None, 6)), *stack()])
    inputs = keras.Input((None, 5))
    return keras.Model(inputs, inner(dense()(inputs)))


def time_distributed():
    layers = [keras.layers.TimeDistributed(dense()), *stack()]
    return keras.Sequential([keras.Input((None, 5)), *layers])


KINDS = [sequential, deferred, functional, nested, time_distributed, Subclassed]


@pytest.fixture(scope="module")
def expected():
    """Return the first kind of model's outputs before and after training, and its losses."""
    return answers(sequential())


def answers(model, **kwargs):
    model.compile(keras.optimizers.SGD(1e-6), "mse", **kwargs)
    before = model.predict(X, verbose=0)
    losses = model.fit(X, Y, epochs=2, batch_size=2, shuffle=False, verbose=0).history["loss"]
    return before, losses, model.predict(X, verbose=0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_model_gives_the_same(kind, expected):
    for mine, theirs in zip(answers(kind()), expected, strict=True):
        # matrix products of another shape round differently: a spike may move by one step, which
        # is at most a hundredth of the range after two filters
        np.testing.assert_allclose(mine, theirs, atol=0.01 * np.abs(theirs).max(), rtol=1e-3)
    assert np.abs(expected[0]).max() > 1
    assert expected[1][1] < expected[1][0]


def test_eager_training_gives_the_same(expected):
    for mine, theirs in zip(answers(sequential(), run_eagerly=True), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=1e-5)


def test_compiled_training_gives_the_same(expected):
    for mine, theirs in zip(answers(sequential(), jit_compile=True), expected, strict=True):
        # XLA's matrix product may move a spike
        np.testing.assert_allclose(mine, theirs, atol=0.01 * np.abs(theirs).max(), rtol=1e-3)


def test_several_inputs_and_outputs():
    left, right = keras.Input((None, 5), name="left"), keras.Input((None, 5), name="right")
    spiking = kspike_tf.SpikingActivation("relu", seed=0)
    a, b = spiking(left), spiking(right)  # one layer used twice
    model = keras.Model([left, right], [kspike_tf.Lowpass(0.01)(a - b), b])
    model.compile("sgd", ["mse", "mae"])
    model.fit([X, -X], [X, X], verbose=0)
    low, spikes = model.predict([X, -X], verbose=0)
    assert low.shape == spikes.shape == X.shape
    np.testing.assert_array_equal(spikes, spiking(-X))


def test_a_layer_wrapped_in_time_distributed():
    # (batch, windows, time, units): each window starts anew
    windows = np.stack([X, X[:, ::-1]], axis=1)
    for layer in stack():
        wrapped = keras.layers.TimeDistributed(layer)
        for time in (None, 10):
            model = keras.Sequential([keras.Input((2, time, 5)), wrapped])
            y = model.predict(windows, verbose=0)
            np.testing.assert_allclose(y[:, 0], layer(X), rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(y[:, 1], layer(X[:, ::-1]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("units", [(1,), (5,), (2, 3), (4, 4, 2)])
@pytest.mark.parametrize("steps", [1, 7])
def test_any_units_in_a_model_of_unknown_batch_and_time(units, steps):
    x = np.random.default_rng(2).normal(0, 300, (3, steps, *units)).astype(np.float32)
    model = keras.Sequential([keras.Input((None, *units)), *stack()])
    y = model.predict(x, verbose=0)
    assert y.shape == x.shape
    assert model.output_shape == (None, None, *units)
    flat = keras.Sequential([keras.Input((None, int(np.prod(units)))), *stack()])
    np.testing.assert_array_equal(
        y.reshape(3, steps, -1), flat.predict(x.reshape(3, steps, -1), verbose=0)
    )


def test_convolutions_train():
    model = keras.Sequential(
        [
            keras.Input((None, 6, 6, 1)),
            keras.layers.TimeDistributed(keras.layers.Conv2D(2, 3)),
            *stack(),
            keras.layers.TimeDistributed(keras.layers.Flatten()),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    x = np.random.default_rng(3).normal(0, 50, (4, 5, 6, 6, 1)).astype(np.float32)
    before = [np.array(each) for each in model.get_weights()]
    model.fit(x, np.ones((4, 1)), verbose=0)
    after = model.get_weights()
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


# Training and inference.


def call_in_every_way(layer, training):
    yield layer(X, training=training)
    yield tf.function(lambda: layer(X, training=training))()
    tensor = tf.constant(training)
    yield layer(X, training=tensor)
    yield tf.function(lambda flag: layer(X, training=flag))(tensor)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("aware", [False, True])
def test_training_of_spikes_as_bool_and_tensor(training, aware):
    layer = kspike_tf.SpikingActivation("relu", seed=0, spiking_aware_training=aware)
    spikes = np.asarray(layer(X, training=False))
    rates = np.maximum(X, 0)
    assert set(np.unique(spikes)) == {0, np.float32(1 / np.float32(0.001))}
    for y in call_in_every_way(layer, training):
        np.testing.assert_array_equal(y, rates if training and not aware else spikes)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("apply", [False, True])
@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_training_of_filters_as_bool_and_tensor(training, apply, name):
    layer = getattr(kspike_tf, name)(0.02, apply_during_training=apply)
    filtered = np.asarray(layer(X, training=False))
    for y in call_in_every_way(layer, training):
        np.testing.assert_allclose(y, X if training and not apply else filtered, rtol=1e-6)


def test_training_left_to_keras():
    class Recorder(keras.layers.Layer):
        seen = ()

        def call(self, inputs):
            tf.py_function(lambda y: self.seen.append(y.numpy()), [inputs], [])
            return inputs

    spiking = kspike_tf.SpikingActivation("relu", seed=0, spiking_aware_training=False)
    recorder = Recorder()
    inputs = keras.Input((None, 5))
    model = keras.Model(inputs, recorder(spiking(inputs)))
    model.compile("sgd", "mse", run_eagerly=True)
    rates, spikes = np.maximum(X, 0), np.asarray(spiking(X))
    for run, expected in [
        (lambda: model.fit(X, X, shuffle=False, verbose=0), rates),
        (lambda: model.evaluate(X, X, verbose=0), spikes),
        (lambda: model.predict(X, verbose=0), spikes),
        (lambda: model(X), spikes),
        (lambda: model(X, training=True), rates),
    ]:
        recorder.seen = []
        run()
        np.testing.assert_array_equal(recorder.seen[-1], expected)


def test_parameters_of_a_filter_that_is_not_applied_stay():
    model = keras.Sequential(
        [
            keras.Input((None, 5)),
            keras.layers.Dense(6),
            kspike_tf.Lowpass(0.1, apply_during_training=False),
            kspike_tf.Alpha(0.1),
        ]
    )
    low, alpha = model.layers[1:]
    before = [[np.array(w) for w in layer.get_weights()] for layer in (low, alpha)]
    model.compile(keras.optimizers.SGD(1e-4), "mse")
    model.fit(X, Y, verbose=0)
    for old, new in zip(before[0], low.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(before[1], alpha.get_weights(), strict=True):
        assert (old != new).any()


def test_code_that_reaches_for_the_cell():
    layer = kspike_tf.Lowpass(0.1)
    layer(X)
    cell = layer.layer.cell
    assert cell.tau.shape == cell.initial_level.shape == (1, 5)
    assert {id(w) for w in layer.weights} == {id(cell.tau), id(cell.initial_level)}
    cell.tau.assign(np.full((1, 5), 1e-8))
    np.testing.assert_array_equal(layer(X), X)  # a filter so fast that it does nothing
    alpha = kspike_tf.Alpha(0.1)
    alpha(X)
    assert alpha.layer.cell.tau.shape == alpha.layer.cell.initial_level.shape == (1, 5)


@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_constraints_hold_after_training(name):
    layer = getattr(kspike_tf, name)(
        keras.initializers.RandomUniform(0.01, 0.1, seed=0),
        level_initializer=keras.initializers.RandomNormal(stddev=100, seed=1),
        initial_level_constraint="non_neg",
        tau_constraint=kspike_tf.constraints.Mean(),
    )
    model = keras.Sequential([keras.Input((None, 5)), layer])
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    level = layer.layer.cell.initial_level
    assert (level.numpy() < 0).any()
    assert (level.numpy() > 0).any()
    model.fit(X, X[:, ::-1], verbose=0)
    assert (level.numpy() >= 0).all()
    assert (level.numpy() > 0).any()
    assert np.ptp(layer.layer.cell.tau.numpy()) == 0


@pytest.mark.parametrize("layer", [kspike_tf.Lowpass, kspike_tf.Alpha])
def test_a_frozen_filter_keeps_its_weights(layer):
    model = keras.Sequential([keras.Input((None, 5)), layer(0.02, trainable=False)])
    model.add(keras.layers.Dense(5))
    assert len(model.trainable_weights) == 2
    before = [w.numpy().copy() for w in model.layers[0].weights]
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    model.fit(X, X, verbose=0)
    assert len(before) == 2
    after = [w.numpy() for w in model.layers[0].weights]
    assert all((a == b).all() for a, b in zip(after, before, strict=True))
    model.layers[0].trainable = True
    assert len(model.trainable_weights) == 4


# Activations.


@pytest.mark.parametrize("aware", [False, True])
def test_an_activation_with_weights_trains(aware):
    activation = keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=[1])
    layer = kspike_tf.SpikingActivation(activation, seed=0, spiking_aware_training=aware)
    model = keras.Sequential([keras.Input((None, 5)), layer])
    assert len(model.trainable_weights) == 1
    before = model.get_weights()[0].copy()
    assert (before == 0.25).all()
    model.compile(keras.optimizers.SGD(1e-6), "mse")
    model.fit(X, np.maximum(X, 0), verbose=0)
    assert (model.get_weights()[0] != before).all()


@pytest.mark.parametrize("time", [None, 10, 1])
@pytest.mark.parametrize("units", [(5,), (1,), (4, 4, 2)])
def test_prelu_trains_over_any_steps_and_feature_maps(time, units):
    shared = [1, 2] if len(units) == 3 else None
    activation = keras.layers.PReLU(keras.initializers.Constant(0.25), shared_axes=shared)
    layer = kspike_tf.SpikingActivation(activation, seed=0, dt=0.01)
    model = keras.Sequential([keras.Input((time, *units)), layer])
    assert model.output_shape == (None, time, *units)
    (alpha,) = model.trainable_weights
    assert tuple(alpha.shape) == ((1, 1, 2) if shared else units)
    x = np.random.default_rng(4).normal(0, 200, (8, time or 7, *units)).astype(np.float32)
    # the slope differs between units and steps, so a mix-up would show
    alpha.assign(np.linspace(0.1, 0.9, alpha.shape.num_elements()).reshape(alpha.shape))
    leaky = np.where(x > 0, x, x * alpha.numpy())
    linear = kspike_tf.SpikingActivation("linear", seed=0, dt=0.01)
    np.testing.assert_array_equal(model.predict(x, verbose=0), linear(leaky))

    given = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = tf.reduce_sum(layer(given, training=True) * x)
    to_x, to_alpha = tape.gradient(loss, [given, alpha.value])
    np.testing.assert_array_equal(to_x, np.where(x > 0, x, x * alpha.numpy()))
    exact = np.where(x > 0, 0, x.astype("float64") ** 2)
    exact = exact.sum(axis=(0, 1, 2, 3) if shared else (0, 1))
    np.testing.assert_allclose(np.ravel(to_alpha), exact, rtol=1e-5)  # float32 sums

    before = alpha.numpy().copy()
    model.compile(keras.optimizers.SGD(1e-5), "mse")
    model.fit(x, np.abs(x), verbose=0)
    assert (alpha.numpy() < before).all()  # negative inputs lower the slopes


@pytest.mark.parametrize(
    "activation",
    ["relu", keras.activations.relu, tf.nn.relu, keras.layers.ReLU(), lambda x: tf.maximum(x, 0)],
    ids=["name", "keras", "tensorflow", "layer", "lambda"],
)
def test_activations_of_every_kind(activation):
    expected = kspike_tf.SpikingActivation("relu", seed=0)(X)
    np.testing.assert_array_equal(kspike_tf.SpikingActivation(activation, seed=0)(X), expected)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "float64"])
@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_relu_within_the_loop_is_relu_before_it(policy, aware, masked):
    x = np.stack([X, -X, 3 * X, X], axis=-1)  # two unit axes
    mask = tf.constant(np.arange(x.shape[1]) % 3 > 0) & tf.ones(x.shape[:2], bool)

    def results(activation):
        layer = kspike_tf.SpikingActivation(
            activation, seed=0, spiking_aware_training=aware, dtype=policy
        )

        @tf.function
        def step(x, training):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training, mask=mask if masked else None)
                # This loss has a gradient even if there are no spikes.
                value = tf.reduce_sum(tf.cast(y, "float32") * tf.range(1.0, 5.0))
            return y, tape.gradient(value, x)

        return [step(tf.constant(x), tf.constant(each)) for each in (True, False)]

    for mine, its in zip(results("relu"), results(tf.nn.relu), strict=True):
        for found, expected in zip(mine, its, strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)


def test_cells_take_sequences_of_other_types():
    for dtype in ("float16", "float64", "int32"):
        cell = kspike_tf.SpikingActivationCell(3, "relu", dt=0.1, dtype="mixed_float16")
        x = tf.cast(tf.fill([1, 4, 3], 20), dtype)
        y, _ = cell.call_sequence(x, [tf.zeros([1, 3], "float64")])
        np.testing.assert_array_equal(y, np.full((1, 4, 3), 20))


def test_no_activation_is_linear():
    y = kspike_tf.SpikingActivation(None, seed=0)(X)
    np.testing.assert_array_equal(y, kspike_tf.SpikingActivation("linear", seed=0)(X))
    assert y.numpy().min() < 0


# Time steps.


@pytest.mark.parametrize("kind", ["float", "None", "tf.Variable", "keras.Variable"])
def test_dt_of_every_kind(kind, monkeypatch):
    monkeypatch.setattr(kspike_tf.default, "dt", 0.003)
    dt = {
        "float": 0.003,
        "None": None,
        "tf.Variable": tf.Variable(0.003),
        "keras.Variable": keras.Variable(0.003),
    }[kind]
    for make in (
        lambda dt: kspike_tf.SpikingActivation("relu", dt=dt, seed=0),
        lambda dt: kspike_tf.Lowpass(0.02, dt=dt),
        lambda dt: kspike_tf.Alpha(0.02, dt=dt),
    ):
        np.testing.assert_array_equal(make(dt)(X), make(0.003)(X))
        assert make(dt).get_config()["dt"] == 0.003


@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
def test_a_changed_dt_takes_effect_without_retracing(make_variable):
    dt = make_variable(0.001)
    layers = [
        kspike_tf.SpikingActivation("relu", dt=dt, seed=0),
        kspike_tf.Lowpass(0.02, dt=dt),
        kspike_tf.Alpha(0.02, dt=dt),
    ]
    expected = [
        kspike_tf.SpikingActivation("relu", dt=0.002, seed=0),
        kspike_tf.Lowpass(0.02, dt=0.002),
        kspike_tf.Alpha(0.02, dt=0.002),
    ]
    for layer in layers:
        layer.build(X.shape)  # otherwise TensorFlow traces again, for the new weights
    traces = []

    @tf.function
    def run(x):
        traces.append(1)
        return [layer(x) for layer in layers]

    before = run(X)
    dt.assign(0.002)
    after = run(X)
    assert len(traces) == 1
    for one, other, layer in zip(before, after, expected, strict=True):
        assert (one.numpy() != other.numpy()).any()
        np.testing.assert_allclose(other, layer(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
def test_a_changed_dt_takes_effect_in_predict_and_fit(make_variable):
    dt = make_variable(0.001)
    layer = kspike_tf.SpikingActivation("relu", dt=dt, seed=0)
    model = keras.Sequential([keras.Input((None, 5)), keras.layers.Dense(5), layer])
    model.compile("sgd", "mse")
    model.predict(X, verbose=0)
    model.fit(X, X, verbose=0)
    dt.assign(0.25)
    assert (model.predict(X, verbose=0) % 4 == 0).all()
    with_new = model.evaluate(X, X, verbose=0)
    rates = np.asarray(layer(model.layers[0](X)))
    assert with_new == pytest.approx(np.mean((rates - X) ** 2), rel=1e-5)  # float32 means


# Activity regularizers.


class Values(keras.regularizers.Regularizer):
    """Regularizer that records its inputs."""

    def __init__(self):
        self.seen = []

    def __call__(self, x):
        self.seen.append(x)
        return keras.ops.sum(x)


@pytest.mark.parametrize("return_state", [False, True])
@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_activity_regularizers_see_the_output_only(return_state, time_major, dtype):
    x = np.swapaxes(X, 0, 1) if time_major else X
    for make in (
        lambda **kwargs: kspike_tf.SpikingActivation("relu", seed=0, **kwargs),
        lambda **kwargs: kspike_tf.Lowpass(0.02, **kwargs),
        lambda **kwargs: kspike_tf.Alpha(0.02, **kwargs),
    ):
        regularizer = Values()
        layer = make(
            activity_regularizer=regularizer,
            return_state=return_state,
            time_major=time_major,
            dtype=dtype,
        )
        y = layer(x)
        y = y[0] if return_state else y
        assert len(regularizer.seen) == 1
        assert regularizer.seen[0].dtype == "float32"
        # before rounding to the policy's type
        np.testing.assert_array_equal(keras.ops.cast(regularizer.seen[0], y.dtype), y)
        assert len(layer.losses) == 1
        expected = np.asarray(regularizer.seen[0], np.float64).sum() / len(X)  # the batch size
        assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)  # float32 sums


def test_activity_regularizers_of_tall_spikes_stay_finite_in_half_precision():
    for regularizer in ("l2", kspike_tf.regularizers.Percentile(90, axis=(0, 1), l2=0.01)):
        layer = kspike_tf.SpikingActivation(
            "relu", seed=0, activity_regularizer=regularizer, dtype="mixed_float16"
        )
        y = np.asarray(layer(X), np.float64)
        assert np.isfinite(float(layer.losses[0]))
        if regularizer == "l2":
            expected = 0.01 * np.square(y).sum() / len(X)
            assert float(layer.losses[0]) == pytest.approx(expected, rel=1e-5)  # float32 sums


def test_activity_regularizers_change_training():
    losses = {}
    for weight in (0.0, 1.0):
        model = keras.Sequential(
            [
                keras.Input((None, 5)),
                keras.layers.Dense(6, kernel_initializer=keras.initializers.GlorotUniform(1)),
                kspike_tf.SpikingActivation(
                    "relu",
                    seed=0,
                    activity_regularizer=kspike_tf.regularizers.L1(weight, target=(0, 50)),
                ),
            ]
        )
        model.compile(keras.optimizers.SGD(1e-4), "mae")
        model.fit(X, Y, epochs=5, verbose=0)
        losses[weight] = np.maximum(model.layers[0](X), 0).mean()
    assert losses[1.0] < losses[0.0]
