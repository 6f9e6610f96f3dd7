"""Tests of `TimeFolded` against a slow loop that applies the layer to every time step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as L

import kspike_tf
from kspike_tf import TimeFolded

RNG = np.random.default_rng(0)


def stepwise(layer, x, **kwargs):
    """Apply a layer to one step after the other."""
    return np.stack([layer(x[:, t], **kwargs).numpy() for t in range(x.shape[1])], axis=1)


def test_predict_has_as_many_steps_as_its_input():
    inp = keras.Input((None, 6, 5, 2))
    model = keras.Model(inp, TimeFolded(L.Conv2D(3, 3))(inp))
    assert model.output_shape == (None, None, 4, 3, 3)
    for steps in (3, 7, 1):
        x = RNG.normal(size=(2, steps, 6, 5, 2)).astype("float32")
        y = model.predict(x, verbose=0)
        # sums of 18 products, in another order for another batch
        np.testing.assert_allclose(y, stepwise(model.layers[1].layer, x), atol=1e-5)


def test_exports_have_as_many_steps_as_their_input(tmp_path):
    inp = keras.Input((None, 4))
    model = keras.Model(inp, TimeFolded(L.Dense(3))(inp))
    model.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    compiled = tf.function(model, jit_compile=True)
    for steps in (3, 7):
        x = RNG.normal(size=(2, steps, 4)).astype("float32")
        for y in (saved.serve(x), compiled(x)):
            np.testing.assert_allclose(y, model(x), rtol=1e-5, atol=1e-6)  # sums, as above


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 4, 3)])
def test_nothing_to_do(shape):
    assert TimeFolded(L.Dense(2))(np.zeros(shape, "float32")).shape == (*shape[:2], 2)


def test_nested_inputs_and_outputs():
    a, b = keras.Input((3,)), keras.Input((5,))
    inner = keras.Model([a, b], {"sum": L.Dense(5)(a) + b, "same": a})
    x, y = RNG.normal(size=(2, 4, 3)), RNG.normal(size=(2, 4, 5))
    first, second = keras.Input((None, 3)), keras.Input((None, 5))
    layer = TimeFolded(inner)
    model = keras.Model([first, second], layer([first, second]))
    assert model.output_shape == {"sum": (None, None, 5), "same": (None, None, 3)} or (
        model.output_shape == [(None, None, 3), (None, None, 5)]
    )
    assert layer.compute_output_shape([(2, 4, 3), (2, 4, 5)])["sum"] == (2, 4, 5)
    outputs = model([x, y])
    np.testing.assert_array_equal(outputs["same"], np.float32(x))
    wanted = np.stack([inner([x[:, t], y[:, t]])["sum"] for t in range(4)], axis=1)
    np.testing.assert_allclose(outputs["sum"], wanted, rtol=1e-5, atol=1e-6)  # sums, as above
    with pytest.raises(ValueError, match="must have the same batch and time"):
        model([x, y[:, :3]])


def test_a_mask_reaches_the_layer_and_what_follows():
    class Masked(L.Layer):
        def call(self, inputs, mask=None):
            return tf.where(mask[:, None], inputs, -1.0)

    x = np.ones((2, 3, 2), np.float32)
    x[1, 1:] = 0
    mask = x.any(-1)
    inp = keras.Input((None, 2))
    y = TimeFolded(Masked())(L.Masking()(inp))
    model = keras.Model(inp, [y, L.LSTM(2)(y)])
    y, last = model.predict(x, verbose=0)
    np.testing.assert_array_equal(y, np.where(mask[..., None], x, -1))
    np.testing.assert_array_equal(last, model.layers[-1](y, mask=mask))


def test_training_reaches_the_layer():
    layer = TimeFolded(keras.Sequential([L.Dropout(0.5, seed=0), L.BatchNormalization()]))
    x = RNG.normal(2, 1, (4, 50, 3)).astype("float32")
    quiet = layer(x, training=False)
    np.testing.assert_allclose(quiet, x / np.sqrt(1.001), rtol=1e-6)  # float32
    loud = layer(x, training=True).numpy()
    np.testing.assert_allclose(loud.mean((0, 1)), 0, atol=1e-5)  # float32
    assert len(np.unique(loud == loud[:, :1])) == 2  # each step has its own mask
    inp = keras.Input((None, 3))
    model = keras.Model(inp, layer(inp))
    model.compile(loss="mse", optimizer="sgd")
    before = model.layers[1].layer.layers[1].moving_mean.numpy()
    model.fit(x, x, verbose=0)
    assert not np.array_equal(before, model.layers[1].layer.layers[1].moving_mean)


def test_types_and_losses_are_the_layers_own():
    layer = TimeFolded(L.Dense(3, dtype="mixed_float16", activity_regularizer="l2"))
    spec = layer(keras.Input((None, 4)))
    y = layer(np.ones((2, 3, 4), np.float32))
    assert (spec.dtype, y.dtype, layer.compute_dtype) == ("float16", tf.float16, "float16")
    assert len(layer.losses) == 1
    assert TimeFolded(L.Dense(3, dtype="float64"))(np.ones((2, 3, 4))).dtype == tf.float64
    tokens = TimeFolded(L.Embedding(9, 2))(np.ones((2, 3, 4), np.int32))
    assert tokens.shape == (2, 3, 4, 2)


def test_it_is_saved_under_the_name_of_the_package(tmp_path):
    inner = keras.Sequential([L.Conv2D(2, 3), L.Flatten(), L.Dense(3)])
    layers = [keras.Input((None, 5, 5, 1)), TimeFolded(inner, name="each"), kspike_tf.Lowpass(0.1)]
    model = keras.Sequential(layers)
    assert keras.saving.get_registered_name(TimeFolded) == "kspike_tf>TimeFolded"
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = RNG.normal(size=(2, 4, 5, 5, 1)).astype("float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_bad_arguments_are_refused():
    with pytest.raises(TypeError, match=r"layer must be a Keras layer. Received: layer=3"):
        TimeFolded(3)
    for stateful in (L.LSTM(2, stateful=True), keras.Sequential([L.LSTM(2, stateful=True)])):
        with pytest.raises(ValueError, match=r"must not be stateful: it would treat .*LSTM"):
            TimeFolded(stateful)
    with pytest.raises(ValueError, match=r"at least three axes, \(batch, time, ...\).*\(2, 3\)"):
        TimeFolded(L.Dense(2))(np.ones((2, 3)))
