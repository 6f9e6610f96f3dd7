"""Generator of the small models that tests/ref/test_archive_fuzz.py damages.

python tests/golden/models/make.py
"""

from pathlib import Path

import keras

import kspike_tf


def spiking():
    """Return a Sequential model with every layer of kspike_tf between two dense ones."""
    return keras.Sequential(
        [
            keras.Input((None, 4)),
            keras.layers.Dense(5, activation="relu"),
            kspike_tf.SpikingActivation("relu", dt=0.01, seed=3),
            kspike_tf.Lowpass(0.1, dt=0.01),
            kspike_tf.Alpha(0.1, dt=0.01),
            keras.layers.Dense(3, activation="softmax"),
        ],
        name="spiking",
    )


def convolutional():
    """Return a Functional model: skip connection, nested model, normalisation, two outputs."""
    inner_in = keras.Input((6, 6, 3))
    inner = keras.Model(inner_in, keras.layers.BatchNormalization()(inner_in), name="inner")
    x = keras.Input((6, 6, 2), name="image")
    y = keras.layers.Conv2D(3, 3, padding="same", activation="gelu", name="conv")(x)
    z = keras.layers.Add(name="add")([y, inner(y)])
    flat = keras.layers.Flatten(name="flat")(keras.layers.MaxPooling2D(name="pool")(z))
    outputs = [keras.layers.Dense(2, name="dense")(flat), keras.layers.Rescaling(0.5)(flat)]
    return keras.Model(x, outputs, name="convolutional")


def recurrent():
    """Return a Sequential model: an embedding, and two recurrent layers, one bidirectional."""
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(7, 3),
            keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True)),
            keras.layers.GRU(2),
            keras.layers.Dense(1),
        ],
        name="recurrent",
    )


def masked():
    """Return a Functional model with saved masks: merged, and passed to a nested model."""
    inner_in = keras.Input((7, 5))
    recurrent_layer = keras.layers.GRU(2, return_sequences=True)
    inner = keras.Model(inner_in, keras.layers.Bidirectional(recurrent_layer)(inner_in))
    x = keras.Input((7, 4), name="series")
    y = keras.layers.Masking()(x)
    several = [
        keras.layers.LSTM(3, return_sequences=True)(y),
        keras.layers.TimeDistributed(keras.layers.Dense(2))(y),
    ]
    z = keras.layers.Maximum()([keras.layers.Concatenate()(several), keras.layers.Dense(5)(y)])
    z = kspike_tf.SpikingActivation("relu", dt=0.1, seed=0)(inner(z))
    return keras.Model(x, keras.layers.GlobalAveragePooling1D()(z), name="masked")


if __name__ == "__main__":
    for make in (spiking, convolutional, recurrent, masked):
        keras.utils.set_random_seed(1)
        make().save(Path(__file__).with_name(f"{make.__name__}.keras"))
