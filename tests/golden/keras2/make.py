"""Generator of small Keras 2 models and their answers; it needs tf_keras.

TF_USE_LEGACY_KERAS=1 python tests/golden/keras2/make.py
"""

import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

HERE = Path(__file__).parent
layers = keras.layers


def recurrent():
    """Return a Sequential model with options under old names, and the other hard_sigmoid."""
    model = keras.Sequential(name="recurrent")
    model.add(layers.Dense(5, input_shape=(7, 3)))
    model.add(layers.LeakyReLU(alpha=0.1))
    model.add(layers.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True))
    model.add(layers.ThresholdedReLU(theta=0.01))
    model.add(layers.GRU(3, activation="hard_sigmoid", reset_after=False))
    model.add(layers.ELU(alpha=0.5))
    model.add(layers.Dense(2, activation=layers.LeakyReLU(alpha=0.4)))
    return model


def time_major():
    """Return a Sequential model whose first axis is time."""
    first = layers.LSTM(4, time_major=True, return_sequences=True, batch_input_shape=(6, None, 3))
    last = layers.SimpleRNN(3, time_major=True, go_backwards=True)
    return keras.Sequential([first, last], name="time_major")


def convolutional():
    """Return a Sequential model with every kind of convolution, and normalisation."""
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, padding="same", input_shape=(8, 8, 2), activation="swish"),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activation="hard_sigmoid"),
            layers.BatchNormalization(momentum=0.5),
            layers.SeparableConv2D(5, 3, padding="same"),
            layers.PReLU(shared_axes=[1, 2]),
            layers.Conv2DTranspose(3, 2, strides=2),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.LayerNormalization(),
            layers.Dense(3, activation="softmax"),
        ],
        name="convolutional",
    )


def nested():
    """Return a Functional model: both kinds nested, shared; states, wrappers, four outputs."""
    x, state = keras.Input((4,), name="x"), keras.Input((3,), name="state")
    inner_in = keras.Input((4,))
    normal = layers.BatchNormalization(name="block/normal")
    inner = keras.Model(inner_in, layers.Dense(4)(normal(layers.Dense(4)(inner_in))), name="inner")
    head = keras.Sequential([keras.Input((4,)), layers.Dense(2)], name="head")
    both = layers.Concatenate()([inner(x), x])
    added = layers.Add()([inner(x), layers.Dense(4, activation="relu")(both)])
    series = layers.Reshape((4, 1))(added + x)
    series = layers.Bidirectional(layers.GRU(2, return_sequences=True))(series)
    series = layers.TimeDistributed(layers.Dense(2))(series)
    last, after = layers.GRU(3, return_state=True)(series, initial_state=state)
    return keras.Model([x, state], [head(added), head(inner(x)), last * 2.0, after], name="nested")


def embedded():
    """Return a Sequential model of integer inputs, with a mask."""
    return keras.Sequential(
        [
            layers.Embedding(9, 3, input_length=6, mask_zero=True),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode="sum"),
            layers.GlobalAveragePooling1D(),
        ],
        name="embedded",
    )


def compress(path):
    """Compress an archive without changing its members."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)


def main():
    """Write the models, their inputs and their outputs."""
    rng, kept = np.random.default_rng(0), {}
    for make in (recurrent, time_major, convolutional, nested, embedded):
        keras.backend.clear_session()
        keras.utils.set_random_seed(1)
        model, name = make(), make.__name__
        if name == "embedded":
            model.build((None, 6))
        inputs = [
            rng.normal(size=[5 if n is None else n for n in tensor.shape]).astype("f4")
            for tensor in model.inputs or [tf.zeros((5, 6))]
        ]
        if name == "embedded":
            inputs = [rng.integers(0, 9, (5, 6)).astype("i4")]
        model.set_weights(
            [
                rng.normal(0.3, 0.5, w.shape) ** (2 if "variance" in v.name else 1)
                for w, v in zip(model.get_weights(), model.weights, strict=True)
            ]
        )
        outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
        for i, x in enumerate(inputs):
            kept[f"{name}/x{i}"] = x
        for i, y in enumerate(tf.nest.flatten(outputs)):
            kept[f"{name}/y{i}"] = y.numpy()
        model.save(HERE / f"{name}.keras")
        compress(HERE / f"{name}.keras")
        model.save(HERE / f"{name}.h5")
    np.savez_compressed(HERE / "answers.npz", **kept)


if __name__ == "__main__":
    main()
