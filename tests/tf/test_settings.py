"""Tests of settings that change after a layer is built: they take effect, or are refused."""

import json
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf
from kspike_tf.layers import KerasSpikingCell, KerasSpikingLayer

X = np.random.default_rng(0).uniform(0, 30, (4, 9, 3)).astype(np.float32)

CHANGES = [
    (lambda **k: kspike_tf.SpikingActivation("relu", **{"seed": 0, **k}), {"dt": 0.1}),
    (lambda **k: kspike_tf.SpikingActivation("relu", **{"seed": 0, **k}), {"seed": 5}),
    (lambda **k: kspike_tf.SpikingActivation(**{"activation": "relu", "seed": 0, **k}),
     {"activation": "tanh"}),
    (lambda **k: kspike_tf.SpikingActivation("relu", **{"seed": 0, **k}),
     {"spiking_aware_training": False}),
    (lambda **k: kspike_tf.Lowpass(0.1, **k), {"dt": 0.1}),
    (lambda **k: kspike_tf.Lowpass(0.1, **k), {"apply_during_training": False}),
    (lambda **k: kspike_tf.Alpha(0.1, **k), {"dt": 0.1}),
    (lambda **k: kspike_tf.Alpha(0.1, **k), {"apply_during_training": False}),
    (lambda **k: keras.layers.RNN(
        kspike_tf.LowpassCell(3, 0.1, **k), return_sequences=True), {"dt": 0.1}),
]  # fmt: skip


def model_of(layer):
    model = keras.Sequential([keras.Input((None, 3)), layer, keras.layers.Dense(2)])
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.0))
    return model


def answers(model):
    """Return outputs of Keras' traced functions in inference and in training."""
    target = np.zeros((*X.shape[:2], 2))
    model.reset_metrics()  # otherwise Keras 3.8 returns the mean of all losses so far
    return [model.predict(X, verbose=0), model.train_on_batch(X, target)]


@pytest.mark.parametrize(("make", "change"), CHANGES)
def test_a_setting_takes_effect_in_functions_that_are_traced_already(make, change, tmp_path):
    model = model_of(make())
    before = answers(model)
    layer = model.layers[0]
    [(name, value)] = change.items()
    target = layer.cell if isinstance(layer, keras.layers.RNN) else layer
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        setattr(target, name, value)
    after = answers(model)
    wanted = model_of(make(**change))
    wanted.set_weights(model.get_weights())
    for one, other in zip(after, answers(wanted), strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(not np.array_equal(old, new) for old, new in zip(before, after, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), after[0])
    configs = [json.dumps(each.get_config()) for each in (layer, loaded.layers[0])]
    assert configs[0] == configs[1]


def test_a_callback_changes_settings_in_the_midst_of_fit():
    class Change(keras.callbacks.Callback):
        def change(self, *args, **kwargs):
            layer = self.model.layers[0]
            layer.spiking_aware_training = not layer.spiking_aware_training
            layer.dt = 2 * layer.dt

        on_epoch_begin = on_train_batch_end = on_test_batch_end = on_predict_batch_end = change

    model = model_of(kspike_tf.SpikingActivation("relu", seed=0, dt=0.01))
    target = np.zeros((*X.shape[:2], 2))
    options = {"batch_size": 2, "verbose": 0, "callbacks": [Change()]}
    model.fit(X, target, validation_data=(X, target), **options)
    assert model.layers[0].dt == 0.01 * 2**5
    model.predict(X, **options)
    wanted = model_of(kspike_tf.SpikingActivation("relu", seed=0, dt=0.01 * 2**7))
    wanted.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(X, verbose=0), wanted.predict(X, verbose=0))


def test_layer_and_cell_have_one_copy():
    layer = kspike_tf.SpikingActivation("relu", seed=0)
    layer.seed = 1
    layer(X)
    cell = layer.layer.cell
    layer.dt = variable = tf.Variable(0.5)
    assert cell.dt.variable is variable
    cell.seed = 4
    cell.always_use_inference = False
    assert (layer.seed, layer.spiking_aware_training) == (4, False)
    assert (layer.get_config()["seed"], cell.get_config()["seed"]) == (4, 4)
    with pytest.raises(TypeError, match="seed must be an integer or None"):
        layer.seed = 0.5
    assert cell.seed == 4


def test_a_function_of_the_user_is_warned_of():
    layer = kspike_tf.Lowpass(0.1)
    run = tf.function(lambda x: layer(x))
    old = run(X)
    with pytest.warns(UserWarning, match=r"dt of .*were already traced.* are traced again\. A"):
        layer.dt = 0.01
    np.testing.assert_array_equal(run(X), old)
    assert not np.array_equal(layer(X), old)


REFUSED = [
    ("stateful", True), ("time_major", True), ("unroll", True), ("return_state", True),
    ("return_sequences", False), ("tau_initializer", 0.5), ("level_initializer", "ones"),
    ("tau_constraint", "non_neg"), ("initial_level_constraint", "non_neg"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_what_is_built_in_is_refused(name, value):
    layer = kspike_tf.Alpha(0.1)
    setattr(layer, name, value)
    assert layer.get_config()[name] != kspike_tf.Alpha(0.1).get_config()[name]
    layer = kspike_tf.Alpha(0.1)
    layer(X)
    config = layer.get_config()
    setattr(layer, name, getattr(layer, name))  # no change
    with pytest.raises(AttributeError, match=rf"{name} can no longer change.*is built.*config"):
        setattr(layer, name, value)
    assert layer.get_config() == config


def test_activations_with_weights_are_refused():
    layer = kspike_tf.SpikingActivation("relu")
    layer(X)
    with pytest.raises(AttributeError, match="activation can no longer change"):
        layer.activation = keras.layers.PReLU()
    with pytest.raises(AttributeError, match="size can no longer change"):
        layer.layer.cell.size = 4


def test_a_layer_with_a_cell_of_its_own_is_refused():
    class Cell(KerasSpikingCell):
        def call_inference(self, inputs, states):
            return inputs * self.step_length(), states

    class Layer(KerasSpikingLayer):
        def build_cell(self, input_shape):
            return Cell(input_shape[2:], dt=2 * self.dt)

    layer = Layer(dt=0.25)
    layer(X)
    assert (layer.dt, layer.layer.cell.dt) == (0.25, 0.5)
    for each in (layer, layer.layer.cell):
        with pytest.raises(AttributeError, match="dt can no longer change"):
            each.dt = 0.1


@pytest.mark.parametrize("kind", ["layer", "rnn"])
@pytest.mark.parametrize("name", ["Lowpass", "Alpha"])
def test_a_filter_that_training_leaves_out_has_zero_gradients(kind, name):
    if kind == "layer":
        layer = getattr(kspike_tf, name)(0.1, apply_during_training=False)
    else:
        cell = getattr(kspike_tf, f"{name}Cell")(3, 0.1, apply_during_training=False)
        layer = keras.layers.RNN(cell, return_sequences=True)
    model = keras.Sequential([keras.Input((None, 3)), layer])
    model.compile(loss="mse", optimizer="sgd")
    before = model.get_weights()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Gradients do not exist")
        model.fit(X, X, verbose=0)  # without any gradient, Keras raises
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(layer(x, training=True) ** 2)
    gradients = tape.gradient(y, [x, *layer.trainable_weights])
    np.testing.assert_array_equal(gradients[0], 2 * X)
    assert [float(tf.reduce_sum(tf.abs(each))) for each in gradients[1:]] == [0, 0]


@pytest.mark.parametrize("make", [kspike_tf.Lowpass, kspike_tf.Alpha])
@pytest.mark.parametrize(
    ("name", "option"), [("tau", "tau_initializer"), ("initial_level", "level_initializer")]
)
def test_assigning_a_weight_is_refused(make, name, option):
    layer = make(0.1)
    for _ in range(2):  # before building and afterwards
        with pytest.raises(AttributeError, match=rf"pass {option} .*layer.{name}.assign"):
            setattr(layer, name, 0.5)
        before = layer(X)
    layer.tau.assign(np.full((1, 3), 0.5))
    assert not np.array_equal(layer(X), before)


def test_a_subclass_may_have_an_attribute_named_as_a_weight():
    class Own(kspike_tf.Lowpass):
        def __init__(self, tau):
            super().__init__(tau)
            self.tau = tau

    layer = Own(0.1)
    np.testing.assert_array_equal(layer(X), kspike_tf.Lowpass(0.1)(X))
    assert layer.tau == 0.1
