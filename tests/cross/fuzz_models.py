"""Small Keras models for the fuzzer: states, several inputs, nesting, integers, time first.

Weights and inputs are multiples of 1/4 and activations are exact, so sums of products are exact
too: spikes cannot flip, and answers can be compared without large tolerances.
"""

from __future__ import annotations

import keras
import numpy as np

import kspike_tf

L = keras.layers
ops = keras.ops


def lowpass_with_a_state():
    x, s = keras.Input((None, 3), name="x"), keras.Input((3,), name="s")
    return keras.Model([x, s], kspike_tf.Lowpass(0.1, dt=0.01)(x, initial_state=[s]))


def spikes_with_a_state():
    x, v = keras.Input((None, 3), name="x"), keras.Input((3,), name="v")
    layer = kspike_tf.SpikingActivation("relu", dt=0.25, return_state=True)
    return keras.Model([x, v], layer(x, initial_state=[v]))


def time_first_with_a_state():
    x, s = keras.Input((4, 2), name="x"), keras.Input((2,), name="s")
    y = kspike_tf.Lowpass(0.1, dt=0.01, time_major=True)(x, initial_state=[L.ReLU()(s)])
    return keras.Model([x, s], y)


def alpha_time_first():
    x = keras.Input((3, 2), name="x")
    return keras.Model(x, kspike_tf.Alpha(0.1, dt=0.01, time_major=True)(x))


def recurrent_with_states():
    x, h, c = keras.Input((None, 2), name="x"), keras.Input((3,), name="h"), keras.Input((3,))
    y = L.LSTM(3, return_sequences=True)(x, initial_state=[h, c])
    z = L.SimpleRNN(2, activation="relu")(y, initial_state=L.Dense(2)(h))
    return keras.Model([x, h, c], [y, z])


def both_directions():
    x, h, g = keras.Input((5, 2), name="x"), keras.Input((2,), name="h"), keras.Input((2,))
    y = L.Bidirectional(L.GRU(2, return_sequences=True))(x, initial_state=[h, g])
    return keras.Model([x, h, g], L.GlobalAveragePooling1D()(y))


def nested():
    inner_in = keras.Input((2, 3), name="inner_in")
    inner = keras.Model(inner_in, L.Dense(2)(L.Flatten()(inner_in)), name="inner")
    middle_in = keras.Input((2, 3))
    middle = keras.Model(middle_in, {"a": inner(middle_in), "b": L.ReLU()(inner(middle_in))})
    x = keras.Input((2, 3), name="x")
    return keras.Model(x, middle(x))


def folded_over_time():
    step_in = keras.Input((4, 2))
    step = keras.Model(step_in, L.GlobalMaxPooling1D()(L.Conv1D(3, 2)(step_in)), name="step")
    x = keras.Input((5, 4, 2), name="x")
    y = kspike_tf.SpikingActivation("relu", dt=0.25, seed=1)(L.TimeDistributed(step)(x))
    return keras.Model(x, kspike_tf.Lowpass(0.5, dt=0.25)(y))


def folded_state():
    step_in = keras.Input((4, 2))
    step = keras.Model(step_in, L.SimpleRNN(2, activation="relu")(step_in), name="step")
    x = keras.Input((3, 4, 2), name="x")
    return keras.Model(x, L.TimeDistributed(step)(x))


def several_inputs():
    a, b = keras.Input((None, 2), name="a"), keras.Input((None, 3), name="b")
    y = L.Concatenate()([a, L.Dense(2, activation="relu")(b)])
    y = kspike_tf.SpikingActivation("relu", dt=0.25, seed=0)(y)
    return keras.Model({"a": a, "b": b}, {"y": y, "z": L.Add()([a, a])})


def integers():
    ids = keras.Input((4,), dtype="int32", name="ids")
    y = L.Embedding(6, 3)(ids)
    mask = ops.not_equal(ids, 0)
    total = ops.sum(y * ops.expand_dims(ops.cast(mask, "float32"), -1), axis=1)
    return keras.Model(ids, [total, ops.sum(ids, axis=1), ops.max(ids, axis=1)])


def bools():
    x, keep = keras.Input((3, 2), name="x"), keras.Input((3,), dtype="bool", name="keep")
    y = L.LSTM(2, return_sequences=True)(x, mask=keep)
    return keras.Model([x, keep], [y, ops.logical_not(keep)])


def skip():
    x = keras.Input((None, 3), name="x")
    y = kspike_tf.SpikingActivation("relu", dt=0.25, seed=0)(L.Dense(3)(x))
    z = kspike_tf.Alpha(0.5, dt=0.25)(L.Add()([y, x]))
    return keras.Model(x, [L.Dense(2, activation="softmax")(z), L.GlobalAveragePooling1D()(y)])


def images():
    x = keras.Input((4, 4, 2), name="x")
    y = L.BatchNormalization()(L.Conv2D(2, 3, padding="same", activation="relu")(x))
    y = L.MaxPooling2D()(y)
    return keras.Model(x, L.Dense(2)(L.Flatten()(L.UpSampling2D()(y))))


MODELS = [
    lowpass_with_a_state,
    spikes_with_a_state,
    time_first_with_a_state,
    alpha_time_first,
    recurrent_with_states,
    both_directions,
    nested,
    folded_over_time,
    folded_state,
    several_inputs,
    integers,
    bools,
    skip,
    images,
]


def made(make):
    """Build a model whose weights are multiples of 1/4."""
    keras.utils.set_random_seed(1)
    model = make()
    rng = np.random.default_rng(2)
    for weight in model.weights:
        name = weight.path.split("/")[-1]
        if name in ("tau", "moving_variance", "gamma") or "scale" in name or weight.dtype == "int8":
            continue
        weight.assign(rng.integers(-4, 5, weight.shape) / 4)
    return model
