"""Tests of masks: created, passed on, used and dropped as in Keras."""

from __future__ import annotations

import keras
import layerwise
import numpy as np
import pytest
import versions

import kspike_ref
import kspike_tf

L = keras.layers
ops = keras.ops

# Keras warns if a layer does not pass a mask on, which some of these models test.
pytestmark = pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")


def _series():
    """Return series of five lengths, one of them 0; the last one also masks an inner step."""
    x = np.random.default_rng(0).normal(size=(5, 9, 4)).astype(np.float32)
    for i, length in enumerate([9, 4, 1, 0, 6]):
        x[i, length:] = 0
    x[4, 2] = 0
    return x


TOKENS = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0], [1, 0, 4, 2]])
SEQUENCES = {"return_sequences": True}


def _after(*layers):
    """Return a function that applies Masking and then a chain of layers."""

    def connect(x):
        x = L.Masking()(x)
        for layer in layers:
            x = layer(x)
        return x

    return connect


def _merged(layer, both):
    """Return a function that merges two inputs; the second has other masked steps, or none."""

    def connect(x):
        one = L.Masking()(x)
        other = L.Masking()(x[:, ::-1]) if both else L.Dense(4)(x * 1.0)
        y = layer([one, other])
        return [y, L.SimpleRNN(3)(y)]

    return connect


def _decoder(x):
    """Apply a recurrent layer with states from the model: Keras then drops its mask."""
    masked = L.Masking()(x)
    states = L.LSTM(3, return_state=True)(masked)[1:]
    return L.LSTM(3)(masked, initial_state=states)


STREAMING = {
    "simple rnn": _after(L.SimpleRNN(3, **SEQUENCES)),
    "lstm": _after(L.LSTM(3)),
    "layers that pass it on": _after(
        L.Dense(5), L.Dropout(0.5), L.Activation("tanh"), L.LayerNormalization(),
        L.BatchNormalization(), L.UnitNormalization(), L.LeakyReLU(), L.PReLU(shared_axes=[1]),
        L.TimeDistributed(L.Dense(4)), L.LSTM(4, **SEQUENCES), L.GRU(3),
    ),
    "gru with zeros": _after(L.GRU(3, zero_output_for_mask=True, **SEQUENCES)),
    "mean": _after(L.GlobalAveragePooling1D()),
    "maximum drops it": _after(L.GlobalMaxPooling1D()),
    "stacked cells": _after(L.RNN([L.LSTMCell(4), L.GRUCell(3)], **SEQUENCES)),
    "spikes": _after(kspike_tf.SpikingActivation("relu", dt=0.1, seed=1)),
    "filters": _after(
        kspike_tf.Lowpass(0.1, dt=0.1), kspike_tf.Alpha(0.1, dt=0.1, return_sequences=False)
    ),
    "spiking cell": _after(
        L.RNN(kspike_tf.SpikingActivationCell(4, "relu", dt=0.1, seed=1), **SEQUENCES)
    ),
}  # fmt: skip
WHOLE = {
    "backwards": _after(L.GRU(3, go_backwards=True, **SEQUENCES), L.SimpleRNN(2)),
    "both directions": _after(L.Bidirectional(L.LSTM(3, **SEQUENCES)), L.LSTM(2)),
    "two outputs": lambda x: [
        L.LSTM(2)(y)
        for y in L.Bidirectional(L.GRU(3, **SEQUENCES), merge_mode=None)(L.Masking()(x))
    ],
    "states": _after(L.LSTM(3, return_state=True, **SEQUENCES)),
    "time major": _after(
        kspike_tf.SpikingActivation("relu", dt=0.1, seed=1, time_major=True),
        kspike_tf.Lowpass(0.3, dt=0.1, return_state=True, time_major=True),
    ),
    "convolution drops it": _after(L.Conv1D(4, 3, padding="same"), L.LSTM(3)),
    "decoder": _decoder,
    "another value": lambda x: L.LSTM(3)(L.Masking(mask_value=1.5)(x + 1.5)),
    "given by the model": lambda x: L.LSTM(3)(
        x, mask=ops.logical_or(ops.greater(x[:, :, 0], 0.1), ops.less_equal(x[:, :, 1], -1))
    ),
    "nothing is left": _after(L.LSTM(3), L.Dense(2)),
}
# Named: Keras calls its own mask operations "concatenate" too, and numbers them per session.
for _name in ("Add", "Subtract", "Average", "Multiply", "Maximum", "Minimum", "Concatenate"):
    for _both in (True, False):
        WHOLE[f"{_name} {_both}"] = _merged(getattr(L, _name)(name=f"merged_{_name}"), _both)
WHOLE["concatenate steps"] = _merged(L.Concatenate(axis=1, name="merged_steps"), True)
WHOLE["concatenate steps of one"] = _merged(L.Concatenate(axis=1, name="merged_steps"), False)


def _model(connect, shape=(9, 4), dtype="float32"):
    inputs = keras.Input(shape, dtype=dtype)
    model = keras.Model(inputs, connect(inputs))
    rng = np.random.default_rng(1)
    for weight in model.weights:
        values = rng.normal(0, 0.5, weight.shape)
        positive = "variance" in weight.path or weight.path.endswith("tau")
        weight.assign(np.abs(values) + 0.05 if positive else values)
    return model


def _agree(ours, theirs):
    pair = [y if isinstance(y, list | tuple) else [y] for y in (ours, theirs)]
    for one, other in zip(*pair, strict=True):
        # each layer adds up to 1e-5, and no model here has more than three that multiply
        assert layerwise.error(one, other) <= 3e-5


MERGED = ("Concatenate True", "Concatenate False", "concatenate steps", "concatenate steps of one")
FAILING = dict.fromkeys(
    MERGED, versions.since(3, 12, "cannot run Concatenate with masks in a functional model")
)


@pytest.mark.parametrize("name", versions.cases([*STREAMING, *WHOLE], FAILING))
def test_masks(name, tmp_path):
    """Keras writes masks into the model as tensors: each layer gets the mask it had in Keras."""
    connect = (STREAMING | WHOLE)[name]
    x = _series()
    model = _model(connect)
    if "time major" in name:
        x = x[:, :5]  # as many examples as steps, so that a transposed mask would fit too
        model = _model(connect, (5, 4))
    loaded = layerwise.compare(model, tmp_path / "m.keras", x)
    _agree(loaded.predict(x), model(x, training=False))


@pytest.mark.parametrize("name", STREAMING)
def test_streaming_with_masks(name, tmp_path):
    model = _model(STREAMING[name], (None, 4))
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    x = _series()
    whole, state = loaded.predict(x), loaded.initial_state(5)
    np.testing.assert_array_equal(loaded.activity(x)[loaded.outputs[0]], whole)
    for t in range(9):
        y, state = loaded.step(x[:, t], state)
        expected = whole[:, t] if whole.ndim == 3 else loaded.predict(x[:, : t + 1])
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize(
    "layers",
    [
        [L.Masking(), L.TimeDistributed(L.Dense(3)), L.LSTM(3)],
        [L.Masking(), L.BatchNormalization(), kspike_tf.Lowpass(0.1, dt=0.1)],
        [L.Masking(), L.Conv1D(3, 2), L.Bidirectional(L.GRU(3))],
        [L.Dense(3), L.Masking(), L.GlobalAveragePooling1D()],
        [L.Masking(), L.TimeDistributed(keras.Sequential([L.Dense(3)])), L.LSTM(3)],
    ],
)
def test_masks_that_a_file_does_not_hold(layers, tmp_path):
    """A Sequential model saves only its layers: the masks between them follow from these."""
    model = keras.Sequential([L.Input((9, 4)), *layers])
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    x = _series()
    _agree(loaded.predict(x), model.predict(x, verbose=0))
    np.testing.assert_array_equal(loaded.predict(x, batch_size=2), loaded.predict(x))


def test_embedding_with_zeros(tmp_path):
    model = _model(lambda x: L.GRU(3)(L.Embedding(5, 4, mask_zero=True)(x)), (None,), dtype="int32")
    loaded = layerwise.compare(model, tmp_path / "m.keras", TOKENS)
    state = loaded.initial_state(4)
    for t in range(4):
        y, state = loaded.step(TOKENS[:, t], state)
    np.testing.assert_array_equal(y, loaded.predict(TOKENS))


def _sentences():
    words = np.random.default_rng(0).integers(0, 5, (3, 4, 6))
    words[:, 2, 3:] = 0
    words[1, 3] = 0
    return words


@pytest.mark.parametrize("kind", ["layer", "model"])
def test_masks_within_a_step(kind, tmp_path):
    """Sentences of words: every sentence uses the mask of its words."""
    words = L.Input((6, 4))
    inner = L.LSTM(3) if kind == "layer" else keras.Model(words, L.LSTM(3)(words))
    model = _model(
        lambda x: L.Dense(2)(L.TimeDistributed(inner)(L.Embedding(5, 4, mask_zero=True)(x))),
        (4, 6),
        dtype="int32",
    )
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    _agree(loaded.predict(_sentences()), model(_sentences()))


def test_masks_that_go_into_models_and_come_out(tmp_path):
    x = L.Input((9, 4))
    inner = keras.Model(x, L.SimpleRNN(4, **SEQUENCES)(L.Dense(4)(x)))
    own = L.Input((9, 4))
    masking = keras.Model(own, L.Masking()(own))
    model = _model(lambda x: [L.LSTM(3)(inner(L.Masking()(x))), L.GRU(3)(masking(x)), inner(x)])
    model.save(tmp_path / "m.keras")
    _agree(kspike_ref.load_model(tmp_path / "m.keras").predict(_series()), model(_series()))


def test_masks_that_keras_cannot_use_either(tmp_path):
    model = keras.Sequential(
        [L.Input((9, 4)), L.Masking(), L.TimeDistributed(L.Softmax(), name="odd")]
    )
    model.save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="odd: a mask with 1 axes; Keras"):
        kspike_ref.load_model(tmp_path / "m.keras")
