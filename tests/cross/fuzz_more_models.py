"""More Keras models for the fuzzer: attention, masks, cells, number types, int8, Keras 2.

Weights and inputs are multiples of 1/4, as in ``fuzz_models``.
"""

from __future__ import annotations

from pathlib import Path

import keras

import kspike_tf

L = keras.layers
ops = keras.ops

# Keras 2 models are read from the files that tests/ref/test_legacy.py compares, not built here.
KERAS_2 = Path(__file__).parents[1] / "golden" / "keras2"
KERAS_2_NAMES = ["recurrent", "time_major", "nested", "embedded"]


def attention_with_masks():
    ids, x = keras.Input((4,), dtype="int32", name="ids"), keras.Input((3, 4), name="x")
    allowed = keras.Input((4, 3), dtype="bool", name="allowed")
    query = L.Embedding(6, 4, mask_zero=True)(ids)
    y = L.MultiHeadAttention(2, 2)(query, x, attention_mask=allowed)
    z = L.Attention(use_scale=True)([query, query], use_causal_mask=True)
    return keras.Model([ids, x, allowed], [y, L.GlobalAveragePooling1D()(z)])


def grouped_attention():
    x, keep = keras.Input((3, 4), name="x"), keras.Input((3,), dtype="bool", name="keep")
    y = L.GroupQueryAttention(2, 4, 2)(x, x, query_mask=keep, value_mask=keep)
    z = L.AdditiveAttention()([x, x, y], mask=[keep, keep])
    return keras.Model([x, keep], L.LSTM(2)(z))


def time_folded():
    x = keras.Input((None, 4, 2), name="x")
    step_in = keras.Input((4, 2))
    step = keras.Model(step_in, L.Flatten()(L.Conv1D(2, 2, activation="relu")(step_in)))
    y = kspike_tf.TimeFolded(L.Dense(3))(kspike_tf.TimeFolded(step)(x))
    y = kspike_tf.SpikingActivation("relu", dt=0.25, seed=3)(y)
    return keras.Model(x, [kspike_tf.TimeFolded(L.Softmax())(y), y])


def types_of_numbers():
    pixels = keras.Input((3, 2), dtype="uint8", name="pixels")
    keep = keras.Input((3, 2), dtype="bool", name="keep")
    n = keras.Input((3, 2), dtype="int64", name="n")
    total = ops.sum(pixels * ops.cast(keep, "uint8"), axis=1)
    mean = ops.mean(n, axis=-1) + ops.cast(ops.any(keep, axis=-1), "float32")
    where = ops.where(keep, n, ops.cast(pixels, "int64") // 2)
    scaled = L.Rescaling(0.25)(pixels)
    return keras.Model(
        [pixels, keep, n], [total, mean, where, ops.argmax(n, axis=1), scaled, ops.maximum(n, 1)]
    )


def quantized():
    x = keras.Input((None, 4), name="x")
    y = L.Dense(3, activation="relu")(x)
    model = keras.Model(x, kspike_tf.Lowpass(0.5, dt=0.25)(y))
    model.quantize("int8")
    return model


def wrapped_twice():
    x = keras.Input((None, 3, 2), name="x")
    y = L.TimeDistributed(L.Bidirectional(L.LSTM(2, return_sequences=True)))(x)
    z = L.TimeDistributed(L.TimeDistributed(L.Dense(2)))(y)
    back = L.GRU(2, go_backwards=True, return_sequences=True)
    z = L.Bidirectional(L.GRU(2, return_sequences=True), backward_layer=back, merge_mode="sum")(
        L.Reshape((-1, 6))(z)
    )
    return keras.Model(x, z)


def gated_backwards():
    x = keras.Input((4, 2), name="x")
    y = ops.transpose(L.Permute((2, 1))(x), (0, 2, 1))
    y = L.GRU(3, reset_after=False, go_backwards=True, return_sequences=True)(y)
    y, last = L.GRU(2, return_sequences=True, return_state=True, unroll=True)(y)
    return keras.Model(x, [ops.flip(y, axis=1), L.GRU(2, use_bias=False)(y, initial_state=last)])


def stacked_cells():
    x, h = keras.Input((None, 2), name="x"), keras.Input((2,), name="h")
    cells = L.StackedRNNCells([L.LSTMCell(2), L.GRUCell(3), L.SimpleRNNCell(2, activation="relu")])
    y = L.RNN(cells, return_sequences=True)(x)
    spikes = kspike_tf.SpikingActivationCell(2, activation="relu", dt=0.25, seed=4)
    spikes = [spikes, kspike_tf.LowpassCell(2, 0.5, dt=0.25)]
    z = L.RNN(spikes, return_sequences=True, return_state=True)(x)
    last = L.RNN([L.SimpleRNNCell(2)])(x, initial_state=[h])
    return keras.Model([x, h], [y, z[0], z[2], last])


def drawn_voltages():
    x = keras.Input((None, 2), name="x")
    y = kspike_tf.SpikingActivation("relu", dt=0.25)(L.Dense(2)(x))
    cell = kspike_tf.SpikingActivationCell(2, activation="relu", dt=0.25)
    z = L.RNN(cell, return_sequences=True)(y)
    return keras.Model(x, [kspike_tf.Alpha(0.5, dt=0.25)(z), y])


def masking():
    x = keras.Input((None, 3), name="x")
    masked = L.Masking(0.25)(x)
    y = kspike_tf.SpikingActivation("relu", dt=0.25, seed=5)(L.TimeDistributed(L.Dense(2))(masked))
    y = kspike_tf.Lowpass(0.5, dt=0.25)(y)
    z = L.Bidirectional(L.SimpleRNN(2, return_sequences=True))(masked)
    z = L.Concatenate()([y, z, masked])
    return keras.Model(x, [L.LSTM(2, return_sequences=True)(z), L.GlobalAveragePooling1D()(z)])


MODELS = [
    attention_with_masks,
    grouped_attention,
    time_folded,
    types_of_numbers,
    quantized,
    wrapped_twice,
    gated_backwards,
    stacked_cells,
    drawn_voltages,
    masking,
]
