"""Generator of this version's saved files and their answers, in a folder per version of Keras.

Run ``python tests/golden/versions/make.py`` at a release, with the oldest Keras that is supported
and with the newest. A newer Keras reads the files of an older one, but not the reverse. The files
of a released version must not change: delete an existing folder before you make it again.
"""

from __future__ import annotations

import json
import shutil
import sys

import keras
import numpy as np
from kept import EXACT, HERE, VERSION, machine

import kspike_ref
import kspike_tf

L = keras.layers


def spiking():
    """Return a trained model with a regularizer and spikes of all steps and of the last one."""
    inputs = keras.Input((7, 4))
    few = kspike_tf.regularizers.L2(1e-9, (1, 9))
    x = L.Dense(5, activation="relu")(inputs)
    x = kspike_tf.SpikingActivation("relu", dt=0.01, seed=3, activity_regularizer=few)(x)
    x = L.Dense(6)(x)
    y = kspike_tf.SpikingActivation("relu", dt=0.01, seed=2**63, return_sequences=False)(x)
    model = keras.Model(inputs, [x, y])
    model.compile("adam", [keras.losses.MeanSquaredError()] * 2)
    model.fit(rates(8, 7, 4), [np.zeros((8, 7, 6)), np.zeros((8, 6))], verbose=0)
    return model


def filters():
    """Return filters of one and two unit axes, with trained levels and a constraint."""
    random = keras.initializers.RandomUniform
    shared = {"dt": 0.01, "tau_constraint": kspike_tf.constraints.Mean()}
    return keras.Sequential(
        [
            keras.Input((7, 4)),
            kspike_tf.Lowpass(random(0.01, 0.1, seed=1), level_initializer="ones", **shared),
            L.Reshape((7, 2, 2)),
            kspike_tf.Alpha(random(0.01, 0.1, seed=2), level_initializer="ones", dt=0.01),
            kspike_tf.Lowpass(0.05, dt=0.01, return_sequences=False),
        ]
    )


def cells():
    """Return a stack of the cells of all layers."""
    stack = L.StackedRNNCells(
        [
            kspike_tf.SpikingActivationCell(4, "relu", dt=0.01, seed=1),
            kspike_tf.LowpassCell(4, 0.02, dt=0.01),
            kspike_tf.AlphaCell(4, 0.03, dt=0.01),
        ],
        dtype="float64",
    )
    return keras.Sequential([keras.Input((7, 4)), L.RNN(stack, return_sequences=True)])


def time_folded():
    """Return a model whose layers run at every time step."""
    return keras.Sequential(
        [
            keras.Input((7, 4)),
            kspike_tf.TimeFolded(L.Dense(3, activation="relu")),
            L.TimeDistributed(L.Dense(2)),
            kspike_tf.SpikingActivation("relu", dt=0.01, seed=1),
            L.GlobalMaxPooling1D(),
        ]
    )


def activations():
    """Return a model with several activation functions before spikes."""
    inputs = keras.Input((7, 4))
    names = ("tanh", "sigmoid", "softplus", "gelu")
    spikes = [kspike_tf.SpikingActivation(name, dt=0.5, seed=1)(inputs) for name in names]
    return keras.Model(inputs, L.Concatenate()(spikes))


def convolutional():
    """Return a model of convolutions and pooling."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            L.Conv2D(3, 3, strides=2, padding="same", activation="relu"),
            L.DepthwiseConv2D(2, depth_multiplier=2),
            L.Conv2DTranspose(2, 2, strides=2),
            L.MaxPooling2D(2),
            L.Flatten(),
            L.Dense(3),
        ]
    )


def normalised():
    """Return a model of normalisation, dropout and activation layers."""
    inputs = keras.Input((7, 4))
    x = L.BatchNormalization()(inputs)
    x = L.PReLU(shared_axes=[1])(L.LayerNormalization()(x))
    return keras.Model(inputs, L.Softmax()(L.Dropout(0.5)(L.UnitNormalization()(x))))


def recurrent():
    """Return a model of an embedding and recurrent layers of every kind."""
    return keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            L.Embedding(9, 3),
            L.Bidirectional(L.LSTM(2, return_sequences=True)),
            L.GRU(3, return_sequences=True, go_backwards=True),
            L.SimpleRNN(2),
        ]
    )


def conv_recurrent():
    """Return a convolutional LSTM."""
    return keras.Sequential([keras.Input((4, 5, 2)), L.ConvLSTM1D(2, 2, return_sequences=True)])


def attention():
    """Return a model with attention over time."""
    inputs = keras.Input((7, 4))
    attended = L.MultiHeadAttention(2, 3)(inputs, inputs)
    return keras.Model(inputs, L.Attention()([attended, inputs]))


def masked():
    """Return a model whose mask passes through spikes, a filter and a recurrent layer."""
    return keras.Sequential(
        [
            keras.Input((7, 4)),
            L.Masking(),
            kspike_tf.SpikingActivation("relu", dt=0.01, seed=1),
            kspike_tf.Lowpass(0.02, dt=0.01),
            L.LSTM(3),
        ]
    )


def nested():
    """Return a model that applies another one twice, with two inputs and two outputs."""
    inside = keras.Input((4,))
    inner = keras.Model(inside, L.Dense(3, activation="relu")(inside))
    one, other = keras.Input((4,)), keras.Input((4,))
    both = [inner(one), inner(other)]
    return keras.Model([one, other], [L.Add()(both), L.Concatenate()([*both, one])])


def operations():
    """Return a model of functions of keras.ops."""
    inputs = keras.Input((7, 4))
    x = keras.ops.maximum(inputs[:, 1:], 0.5) * 2
    x = keras.ops.concatenate([keras.ops.reshape(x, (-1, 24)), keras.ops.sum(inputs, 1)], -1)
    return keras.Model(inputs, keras.ops.transpose(x[:, None], (0, 2, 1)))


def half():
    """Return layers that compute in bfloat16 and keep their weights in float32."""
    layers = [L.Dense(5), kspike_tf.SpikingActivation("relu", dt=0.01, seed=1), L.Dense(2)]
    configs = [{**layer.get_config(), "dtype": "mixed_bfloat16"} for layer in layers]
    pairs = zip(layers, configs, strict=True)
    return keras.Sequential([keras.Input((7, 4)), *(type(a).from_config(c) for a, c in pairs)])


def quantised():
    """Return dense layers with eight-bit weights."""
    model = keras.Sequential([keras.Input((4,)), L.Dense(5, activation="relu"), L.Dense(2)])
    model.quantize("int8")
    return model


MODELS = (
    spiking, filters, cells, time_folded, activations, convolutional, normalised, recurrent,
    conv_recurrent, attention, masked, nested, operations, half, quantised,
)  # fmt: skip


def rates(*shape):
    """Return whole numbers; one step is zero for all units."""
    x = np.random.default_rng(0).integers(-60, 300, shape).astype(np.float32)
    x[:, 2:3] = 0
    return x


def inputs_of(model):
    """Return three examples for each input of a model."""
    made = []
    for tensor in model.inputs:
        x = rates(3, *tensor.shape[1:])
        made.append(np.abs(x).astype(np.int32) % 9 if tensor.dtype == "int32" else x)
    return made


def in_eighths(model):
    """Round float32 weights to multiples of 1/8, so that sums are exact in any order."""
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype == np.float32:
            weight.assign(np.rint(values * 8 + np.sign(values) * 0.5) / 8)


def write(folder):
    """Write a file for each model, and kspike_ref's answers to some inputs."""
    answers = {}
    for make in MODELS:
        keras.utils.set_random_seed(1)
        name, model = make.__name__, make()
        if name in EXACT:
            in_eighths(model)
        path = folder / f"{name}.keras"
        model.save(path)
        x = inputs_of(model)
        y = kspike_ref.load_model(path).predict(x if len(x) > 1 else x[0])
        listed = y if isinstance(y, list) else [y]
        if not all(np.isfinite(one).all() and one.any() for one in listed):
            raise ValueError(f"{name} must give finite numbers, not all of them 0")
        answers |= {f"{name}/x{i}": one for i, one in enumerate(x)}
        answers |= {f"{name}/y{i}": one for i, one in enumerate(listed)}
    np.savez_compressed(folder / "answers.npz", **answers)
    made_with = {"keras": keras.version(), "machine": machine()}
    (folder / "made_with.json").write_text(json.dumps(made_with, indent=1) + "\n")


def main():
    major, minor, *_ = keras.version().split(".")
    folder = HERE / f"{VERSION}-keras{major}.{minor}"
    if folder.exists():
        sys.exit(f"{folder} is there. Files of a released version stay as they are")
    folder.mkdir()
    try:
        write(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise


if __name__ == "__main__":
    main()
