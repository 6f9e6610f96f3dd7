"""Tests of the cells in Keras' own RNN: alone, in a list, beside other cells."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf

X = np.random.default_rng(0).normal(50, 200, (3, 12, 4)).astype(np.float32)
G = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
LEVEL = keras.initializers.RandomNormal(stddev=50, seed=1)
TAU = keras.initializers.RandomUniform(0.01, 0.1, seed=2)
FILTER = {"dt": 0.01, "level_initializer": LEVEL}
KINDS = {
    "spiking": ("SpikingActivation", "relu", {"dt": 0.01, "seed": 0}),
    "spiking, rates in training": (
        "SpikingActivation",
        "relu",
        {"dt": 0.01, "seed": 0, "spiking_aware_training": False},
    ),
    "lowpass": ("Lowpass", TAU, FILTER),
    "lowpass, not in training": ("Lowpass", TAU, FILTER | {"apply_during_training": False}),
    "alpha": ("Alpha", TAU, FILTER),
    "alpha, not in training": ("Alpha", TAU, FILTER | {"apply_during_training": False}),
}


def layer_of(kind, **options):
    name, argument, kwargs = KINDS[kind]
    return getattr(kspike_tf, name)(argument, **kwargs, **options)


def cell_of(kind, size=4):
    name, argument, kwargs = KINDS[kind]
    return getattr(kspike_tf, f"{name}Cell")(size, argument, **kwargs)


def agree(kind, found, expected):
    found, expected = np.asarray(found), np.asarray(expected)
    if kind.startswith("spiking"):
        np.testing.assert_array_equal(found, expected)
    else:  # sums in another order in float64, rounded to float32
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [None, False, True, "tensor"])
@pytest.mark.parametrize("unroll", [False, True])
def test_a_layer_alone_and_its_cell_in_an_rnn_agree(kind, training, unroll):
    training = tf.constant(True) if training == "tensor" else training
    layer = layer_of(kind, return_state=True)
    rnn = keras.layers.RNN(cell_of(kind), return_sequences=True, return_state=True, unroll=unroll)
    x = tf.constant(X)

    def run(layer):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, state = layer(x, training=training)
            loss = tf.reduce_sum(y * G)
        weights = [each.value for each in layer.trainable_weights]
        return y, state, *tape.gradient(loss, [x, *weights], unconnected_gradients="zero")

    y, state, *gradients = run(layer)
    its_y, its_state, *its_gradients = run(rnn)
    assert len(layer.weights) == len(rnn.weights)
    agree(kind, y, its_y)
    # Keras rounds the final state to float32
    np.testing.assert_array_equal(its_state.dtype, "float32")
    np.testing.assert_allclose(state, its_state, rtol=2.0**-23, atol=1e-5)
    for mine, theirs in zip(gradients, its_gradients, strict=True):
        # the layers promise 1e-4 of the largest
        largest = np.abs(theirs).max()
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-4 * largest)
    in_training = training is not None and training is not False
    if kind.endswith("not in training") and in_training:
        np.testing.assert_array_equal(y, X)
    elif kind.startswith("spiking"):
        np.testing.assert_array_equal(gradients[0], G * (X > 0))


@pytest.mark.parametrize("kind", ["spiking", "lowpass", "alpha"])
@pytest.mark.parametrize("options", [{}, {"unroll": True}, {"stateful": True}])
def test_cells_in_models(kind, options):
    rnn = keras.layers.RNN(cell_of(kind), return_sequences=True, **options)
    model = keras.Sequential([keras.Input((12, 4), batch_size=3), rnn])
    assert model.output_shape == (3, 12, 4)
    agree(kind, model.predict(X, verbose=0), layer_of(kind)(X))


@pytest.mark.parametrize("kind", ["spiking", "lowpass", "alpha"])
def test_cells_of_one_unit_and_of_one_step(kind):
    x = X[:, :1, :1]
    rnn = keras.layers.RNN(cell_of(kind, 1), return_sequences=True)
    agree(kind, rnn(x), layer_of(kind)(x))
    assert keras.layers.RNN(cell_of(kind, 1))(keras.Input((None, 1))).shape == (None, 1)


@pytest.mark.parametrize("kind", ["spiking", "lowpass", "alpha"])
def test_cells_of_feature_maps(kind):
    maps = X.reshape(3, 12, 2, 2)
    rnn = keras.layers.RNN(cell_of(kind, (2, 2)), return_sequences=True, return_state=True)
    y, state = rnn(maps)
    expected, end = layer_of(kind, return_state=True)(maps)
    agree(kind, y, expected)
    assert state.shape == end.shape
    rnn = keras.layers.RNN([cell_of(kind, (2, 2)) for _ in range(2)], return_sequences=True)
    np.testing.assert_allclose(rnn(maps), layer_of(kind)(expected), rtol=1e-5, atol=1e-3)


def keras_version():
    return tuple(int(part) for part in keras.__version__.split(".")[:2])


def test_what_keras_cannot_shape_says_so():
    message = r"\(2, 2\): keras.layers.RNN does not support symbolic outputs or states with several"
    if keras_version() < (3, 15):  # Keras 3.8 refuses the type before it shows the value
        message += "|Invalid dtype: UnitAxes"
    for kind in ("spiking", "lowpass", "alpha"):
        rnn = keras.layers.RNN(cell_of(kind, (2, 2)))
        with pytest.raises(ValueError, match=message):
            rnn(keras.Input((12, 2, 2)))
    # an alpha filter has two numbers per unit
    rnn = keras.layers.RNN(cell_of("alpha"), return_state=True)
    with pytest.raises(ValueError, match=message.replace(r"2\)", r"4\)", 1)):
        rnn(keras.Input((12, 4)))
    y, state = layer_of("alpha", return_state=True)(keras.Input((12, 4)))
    assert (y.shape, state.shape) == ((None, 12, 4), (None, 2, 4))


def slow_rates(steps):
    """Return rates whose increments float32 rounds to a few digits beside a voltage near 1."""
    rates = np.random.default_rng(3).uniform(0.001, 0.06, (2, 1, 40)).astype(np.float32)
    return np.repeat(rates, steps, axis=1)


def test_cells_in_a_list():
    model = keras.Sequential(
        [
            keras.Input((12, 4)),
            keras.layers.RNN(
                [cell_of(kind) for kind in ("spiking", "lowpass", "alpha")], return_sequences=True
            ),
        ]
    )
    expected = X
    for kind in ("spiking", "lowpass", "alpha"):
        expected = layer_of(kind)(expected)
    # Keras keeps the states of a list in float32: 2⁻²⁴ per step
    y = model.predict(X, verbose=0)
    np.testing.assert_allclose(y, expected, atol=12 * 2.0**-24 * np.abs(expected).max())


def test_a_list_is_exact_where_its_states_are_float64():
    x = slow_rates(1000)
    cells = [kspike_tf.SpikingActivationCell(40, "linear", dt=0.01, seed=n) for n in range(2)]
    expected = x
    for cell in cells:
        layer = kspike_tf.SpikingActivation("linear", dt=0.01, seed=cell.seed)
        expected = layer(expected)
    stack = keras.layers.StackedRNNCells(cells, dtype="float64")
    found = tf.function(keras.layers.RNN(stack, return_sequences=True))(x)
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, expected)
    # otherwise a spike may move, which is why they are float64
    rounded = tf.function(keras.layers.RNN(cells, return_sequences=True))(x)
    assert (rounded != expected).numpy().any()


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_cells_beside_cells_of_keras_train(dtype):
    cells = [
        keras.layers.SimpleRNNCell(5, dtype=dtype),
        cell_of("spiking", 5),
        cell_of("lowpass", 5),
        keras.layers.GRUCell(4, dtype=dtype),
        cell_of("alpha", 4),
    ]
    stack = cells if dtype is None else keras.layers.StackedRNNCells(cells, dtype=dtype)
    model = keras.Sequential([keras.Input((12, 4)), keras.layers.RNN(stack)])
    assert len(model.trainable_weights) == 10
    model.compile("adam", "mse")
    before = [np.array(each) for each in model.get_weights()]
    model.fit(X / 200, X[:, -1], verbose=0)
    after = model.get_weights()
    moved = [(a != b).any() for a, b in zip(before, after, strict=True)]
    assert all(moved)


def test_a_cell_refuses_inputs_of_another_size():
    for kind in ("spiking", "lowpass", "alpha"):
        name = f"{KINDS[kind][0]}Cell"
        message = rf"inputs of {name} must have the size \(3,\) .* Received: \(4,\)"
        with pytest.raises(ValueError, match=message):
            keras.layers.RNN(cell_of(kind, 3))(X)


def test_bad_sizes_are_refused():
    cell = kspike_tf.layers.KerasSpikingCell
    with pytest.raises(TypeError, match=r"size must be an integer or a tuple .* Received: 1.5"):
        cell(1.5)
    with pytest.raises(TypeError, match=r"size must be an integer or .* Received: \(2, True\)"):
        cell((2, True))
    with pytest.raises(ValueError, match=r"size must be positive. Received: size=\(2, 0\)"):
        cell((2, 0))
    with pytest.raises(ValueError, match=r"state_size must be positive. .*state_size=-1"):
        cell(2, state_size=-1)
    with pytest.raises(ValueError, match=r"batch_size or inputs must be given. Received: .*None"):
        cell(2).get_initial_state()


def test_bad_arguments_are_refused():
    for make in (kspike_tf.Lowpass, kspike_tf.Alpha, lambda tau: kspike_tf.LowpassCell(2, tau)):
        for tau in (0, -0.1, float("nan"), float("inf")):
            message = rf"tau_initializer must be positive and finite. .*tau_initializer={tau}"
            with pytest.raises(ValueError, match=message):
                make(tau)
    with pytest.raises(TypeError, match=r"seed must be an integer or None. Received: seed=1.5"):
        kspike_tf.SpikingActivation("relu", seed=1.5)
    for seed in (-(2**63) - 1, 2**64):
        with pytest.raises(ValueError, match=rf"from -2\*\*63 to 2\*\*64 - 1. .*={seed}"):
            kspike_tf.SpikingActivation("relu", seed=seed)
    with pytest.raises(ValueError, match="nonsense"):
        kspike_tf.SpikingActivation("nonsense")
    with pytest.raises((TypeError, ValueError), match="3"):
        kspike_tf.SpikingActivation(3)
    for make in (kspike_tf.SpikingActivation, kspike_tf.Lowpass, kspike_tf.Alpha):
        with pytest.raises(ValueError, match=r"dt must be positive and finite. Received: dt=-1"):
            make("ones" if make is not kspike_tf.SpikingActivation else "relu", dt=-1)
    with pytest.raises(TypeError, match="positional"):
        kspike_tf.Lowpass(0.1, 0.001)
    with pytest.raises(TypeError, match="positional"):
        kspike_tf.SpikingActivation("relu", 0.001)


def test_neurons_of_ones_own_must_say_what_they_do():
    base = kspike_tf.layers.KerasSpikingCell
    with pytest.raises(NotImplementedError, match=r"KerasSpikingCell must implement call_infer"):
        keras.layers.RNN(base(4))(X)
    both = base(4, always_use_inference=False)
    with pytest.raises(NotImplementedError, match=r"it must implement call_training\(inputs"):
        keras.layers.RNN(both)(X, training=True)
    with pytest.raises(NotImplementedError, match=r"KerasSpikingLayer must implement build_cell"):
        kspike_tf.layers.KerasSpikingLayer()(X)


class Counting(kspike_tf.layers.KerasSpikingCell):
    """Cell with states of two shapes and types, which differs between training and inference."""

    def __init__(self, size, **kwargs):
        super().__init__(size, state_size=[size, (2, 3)], always_use_inference=False, **kwargs)

    def call_inference(self, inputs, states):
        total, steps = states
        return total + inputs, [total + inputs, steps + 1]

    def call_training(self, inputs, states):
        return -inputs, states


class CountingLayer(kspike_tf.layers.KerasSpikingLayer):
    def build_cell(self, input_shape):
        return Counting(input_shape[2:], dt=self.dt)


def test_unrolling_leaves_no_loop():
    def loops(**options):
        layer = CountingLayer(**options)
        layer.build(X.shape)
        graph = tf.function(layer).get_concrete_function(tf.TensorSpec(X.shape)).graph
        return sum("While" in each.type for each in graph.get_operations())

    assert loops() > 0
    assert loops(unroll=True) == 0


@pytest.mark.parametrize("time_major", [False, True])
def test_several_states_of_a_neuron_of_ones_own(time_major):
    def turned(x):
        return np.swapaxes(x, 0, 1) if time_major else x

    x = np.round(X)  # makes sums exact
    layer = CountingLayer(return_state=True, stateful=True, time_major=time_major)
    y, total, steps = layer(turned(x), training=False)
    np.testing.assert_array_equal(turned(y), np.cumsum(x, axis=1))
    np.testing.assert_array_equal(total, x.sum(1))
    np.testing.assert_array_equal(steps, np.full((3, 2, 3), 12))
    _, again, steps = layer(turned(x), training=False)
    np.testing.assert_array_equal(again, 2 * x.sum(1))
    y, kept, steps = layer(turned(x), training=True)
    np.testing.assert_array_equal(turned(y), -x)
    np.testing.assert_array_equal(kept, again)
    np.testing.assert_array_equal(steps, np.full((3, 2, 3), 24))
    with pytest.raises(ValueError, match=r"states must hold 2 state\(s\) .* Received: 1"):
        layer.reset_states(np.zeros((3, 4)))
    layer.reset_states([np.ones((3, 4)), np.zeros((3, 2, 3))])
    np.testing.assert_array_equal(layer(turned(x))[1], x.sum(1) + 1)
    symbolic = layer(
        keras.Input((3, 4) if time_major else (12, 4), batch_size=12 if time_major else 3)
    )
    assert [tuple(each.shape) for each in symbolic[1:]] == [(3, 4), (3, 2, 3)]
    config = layer.layer.cell.get_config()
    assert config["state_size"] == [4, (2, 3)]
