"""Tests of converted models in kspike_ref: the same predictions, the same rates."""

import keras
import numpy as np
import pytest

import kspike_ref
import kspike_tf

layers = keras.layers


def convolutional():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
    x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(x)])
    x = layers.Concatenate()([x, layers.Conv2D(2, 1, activation="relu")(x)])
    x = keras.ops.relu(layers.Dense(6)(layers.Flatten()(x)))
    side = layers.Dense(2, name="side")(layers.Dense(3, activation="tanh")(x))
    return keras.Model(inputs, {"side": side, "main": layers.Dense(3, activation="softmax")(x)})


@pytest.mark.parametrize("options", [{}, {"readout": "mean"}, {"readout": "sequence"}])
@pytest.mark.parametrize("trainable_rates", [False, True])
def test_same_predictions(options, trainable_rates, tmp_path):
    keras.utils.set_random_seed(0)
    model = convolutional()
    x = np.random.default_rng(0).uniform(0, 1, (40, 6, 6, 2)).astype("float32")
    conversion = kspike_tf.convert(
        model, calibration_data=x, trainable_rates=trainable_rates, **options
    )
    conversion.model.save(tmp_path / "spiking.keras")
    loaded = kspike_ref.load_model(tmp_path / "spiking.keras")
    found = loaded.predict(x, timesteps=30)
    expected = conversion.predict(x, 30, verbose=0)
    for key, values in expected.items():
        # Sums of a convolution differ in the last bits, so a few spikes come one step later.
        np.testing.assert_allclose(found[key], values, atol=0.05)
    assert np.mean(found["main"].argmax(-1) == expected["main"].argmax(-1)) > 0.999


def test_same_rates(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, 5)),
            layers.Dense(7, name="in"),
            kspike_tf.SpikingActivation("relu", dt=0.01, seed=3, name="spikes"),
            kspike_tf.Lowpass(0.05, dt=0.01, return_sequences=False),
            layers.Dense(2),
        ]
    )
    model.layers[0].set_weights([np.full((5, 7), 8.0), np.linspace(-9, 9, 7)])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 1, (40, 5)).astype("float32")
    found = kspike_tf.rate_report(kspike_ref.load_model(tmp_path / "model.keras"), x, timesteps=25)
    expected = kspike_tf.rate_report(model, x, timesteps=25)
    for one, other in zip(found.to_records(), expected.to_records(), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, float):
                assert value == pytest.approx(other[key], rel=1e-4)  # sums in another order
            else:
                assert value == other[key]
