"""Tests that kspike_ref and kspike_energy treat `TimeFolded` as Keras does."""

import keras
import numpy as np
import pytest
from keras import layers as L

import kspike_energy
import kspike_ref
import kspike_tf
from kspike_tf import TimeFolded

IMAGES = np.random.default_rng(0).uniform(0, 50, (3, 5, 6, 5, 2)).astype(np.float32)


def inner_model():
    inp = keras.Input((6, 5, 2))
    x = L.Conv2D(3, 3, activation="relu")(inp)
    return keras.Model(inp, L.Flatten()(L.MaxPooling2D(2)(x)), name="inner")


def convolutional(wrap):
    return keras.Sequential(
        [
            keras.Input((None, 6, 5, 2)),
            kspike_tf.SpikingActivation("relu", seed=1, dt=0.01),
            wrap(L.Conv2D(4, 3, strides=2), name="conv"),
            L.ReLU(),
            wrap(L.Flatten(), name="flat"),
            wrap(L.Dense(3), name="dense"),
            kspike_tf.Lowpass(0.05, dt=0.01),
        ]
    )


def nested(wrap):
    inp = keras.Input((None, 6, 5, 2))
    x = kspike_tf.SpikingActivation("relu", seed=1, dt=0.01)(inp)
    return keras.Model(inp, L.Dense(2)(wrap(inner_model(), name="each")(x)))


def shared(wrap):
    inp = keras.Input((5, 6, 5, 2))
    each = wrap(inner_model(), name="each")
    return keras.Model(inp, L.Add()([each(inp), each(L.ReLU()(inp))]))


def masked(wrap):
    inp = keras.Input((None, 6))
    x = wrap(keras.Sequential([L.Dense(4), L.Dense(3)]), name="two")(L.Masking()(inp))
    x = wrap(L.Dense(3), name="one")(x)
    return keras.Model(inp, kspike_tf.Lowpass(0.02)(x))


def made(make, wrap, like=None):
    keras.utils.clear_session(free_memory=False)  # restarts layer names
    model = make(wrap)
    if like is not None:
        model.set_weights(like.get_weights())
    return model


MODELS = [convolutional, nested, shared, masked]


def data_of(make):
    if make is not masked:
        return IMAGES
    x = IMAGES.reshape(6, 5, -1)[..., :6].copy()
    x[2, 3:] = x[4, :2] = 0
    return x


@pytest.mark.filterwarnings("error::UserWarning:keras")
@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_predict_step_and_activity_equal_keras(make, tmp_path):
    keras.utils.set_random_seed(0)
    model = made(make, TimeFolded)
    model.save(tmp_path / "model.keras")
    loaded = kspike_ref.load_model(tmp_path / "model.keras")
    x = data_of(make)
    y = loaded.predict(x)
    np.testing.assert_allclose(y, model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)  # sums
    # bit for bit equal to the same model with TimeDistributed
    other = made(make, L.TimeDistributed, like=model)
    other.save(tmp_path / "other.keras")
    again = kspike_ref.load_model(tmp_path / "other.keras")
    np.testing.assert_array_equal(y, again.predict(x))
    activity, wanted = loaded.activity(x), again.activity(x)
    assert list(activity) == list(wanted)
    for name, values in activity.items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)


@pytest.mark.parametrize("make", [convolutional, nested])
def test_spikes_are_keras_own_and_streaming_is_predict(make, tmp_path):
    model = made(make, TimeFolded)
    model.save(tmp_path / "model.keras")
    loaded = kspike_ref.load_model(tmp_path / "model.keras")
    spiking = next(each for each in model.layers if "spiking" in each.name)
    np.testing.assert_array_equal(loaded.activity(IMAGES)[spiking.name], spiking(IMAGES))
    state, steps = loaded.initial_state(3), []
    for t in range(IMAGES.shape[1]):
        y, state = loaded.step(IMAGES[:, t], state)
        steps.append(y)
    # a batch of one changes the size of matrix products
    np.testing.assert_allclose(np.stack(steps, 1), loaded.predict(IMAGES), rtol=1e-6, atol=1e-6)


def rows(energy):
    return [(layer.name, layer.connections, layer.neurons) for layer in energy.network.layers]


@pytest.mark.parametrize("make", [convolutional, nested, masked], ids=lambda make: make.__name__)
def test_energy_counts_it_as_time_distributed(make, tmp_path):
    model = made(make, TimeFolded)
    other = made(make, L.TimeDistributed, like=model)
    model.save(tmp_path / "model.keras")
    loaded = kspike_ref.load_model(tmp_path / "model.keras")
    energies = [kspike_energy.ModelEnergy(each, data_of(make)) for each in (model, other, loaded)]
    one, two, ref = ([rows(each), each.total_energy("cpu")] for each in energies)
    assert one[0] == two[0]
    counted = [sorted(row for row in each[0] if any(row[1:])) for each in (one, ref)]
    assert counted[0] == counted[1]  # rows come in another order, with extra rows for masks
    assert one[1] == pytest.approx(two[1], rel=1e-12) == pytest.approx(ref[1], rel=1e-5)
