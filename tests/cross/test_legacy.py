"""Tests that Keras 3's whole-model `.h5` files give the same answers as the saved models."""

import keras
import numpy as np
import pytest
from keras import layers

import kspike_ref
import kspike_tf


def spiking():
    """Return a Sequential stack with every layer of kspike_tf."""
    return [
        keras.Input((None, 4)),
        layers.Dense(5, activation="relu"),
        kspike_tf.SpikingActivation("relu", dt=0.01, seed=3),
        kspike_tf.Lowpass(0.1, dt=0.01),
        kspike_tf.Alpha(0.1, dt=0.01),
        layers.Dense(3),
    ]


def convolutional():
    """Return a Sequential stack of the layers whose weights have special names."""
    return [
        keras.Input((8, 8, 4)),
        layers.DepthwiseConv2D(3),
        layers.SeparableConv2D(3, 2),
        layers.BatchNormalization(),
        layers.Conv2DTranspose(2, 2),
        layers.PReLU(),
        layers.Flatten(),
        layers.Dense(2, activation=layers.LeakyReLU(negative_slope=0.3)),
    ]


def nested():
    """Return a Functional model with nested models, wrappers, operations, cells, and a state."""
    x, state = keras.Input((5,)), keras.Input((3,))
    inner = keras.Sequential(
        [keras.Input((5,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(5)],
        name="inner",
    )
    middle = keras.Model(x, inner(x) + 1.0, name="middle")
    series_in = keras.Input((4, 5))
    both = layers.Bidirectional(layers.GRU(2, return_sequences=True))(series_in)
    recurrent = keras.Model(series_in, layers.TimeDistributed(layers.Dense(5))(both), name="r")
    series = recurrent(layers.TimeDistributed(inner)(layers.RepeatVector(4)(middle(x))))
    outputs = [
        layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)])(series),
        layers.GRU(3)(series, initial_state=state),
        layers.Normalization(mean=[1.0] * 5, variance=[2.0] * 5)(inner(x)),
    ]
    return keras.Model([x, state], outputs)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("make", [spiking, convolutional, nested])
def test_whole_model_files(tmp_path, make):
    keras.utils.set_random_seed(1)
    made = make()
    model = made if isinstance(made, keras.Model) else keras.Sequential(made)
    rng = np.random.default_rng(0)
    for weight in model.weights:  # no two weights of one shape can be exchanged unnoticed
        if not weight.path.endswith(("tau", "variance")):
            weight.assign(weight + rng.normal(0, 0.1, weight.shape))
    model.save(tmp_path / "m.h5")
    inputs = [rng.normal(size=[3] + [n or 6 for n in t.shape[1:]]).astype("f4")
              for t in model.inputs]  # fmt: skip
    given = inputs if len(inputs) > 1 else inputs[0]
    answers = (
        model.predict(given, verbose=0),
        kspike_ref.load_model(tmp_path / "m.h5").predict(given),
    )
    wanted, got = (y if isinstance(y, list) else [y] for y in answers)
    for theirs, ours in zip(wanted, got, strict=True):
        # float32 sums in another order
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_pipeline_with_weights_is_refused(tmp_path):
    pipeline = layers.Pipeline([layers.Rescaling(2.0), layers.Dense(3)], name="p")
    keras.Sequential([keras.Input((4,)), pipeline]).save(tmp_path / "m.h5")
    message = "p: a Pipeline with weights, in a whole-model .h5 file: .* save the model as .keras"
    with pytest.raises(kspike_ref.UnsupportedLayerError, match=message):
        kspike_ref.load_model(tmp_path / "m.h5")
    model = keras.Sequential([keras.Input((4,)), layers.Pipeline([layers.Rescaling(2.0)])])
    model.save(tmp_path / "m.h5")
    x = np.ones((2, 4), "f4")
    np.testing.assert_array_equal(kspike_ref.load_model(tmp_path / "m.h5").predict(x), 2 * x)
