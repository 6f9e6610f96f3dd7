"""Tests of saving, loading, cloning and configs, without custom_objects."""

import functools
import json
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import kspike_tf

SEQUENCE = {
    "return_sequences": False,
    "return_state": True,
    "stateful": True,
    "unroll": True,
    "time_major": True,
}
FILTER = {
    "tau_initializer": keras.initializers.RandomUniform(0.01, 0.1, seed=0),
    "level_initializer": "ones",
    "initial_level_constraint": keras.constraints.NonNeg(),
    "tau_constraint": kspike_tf.constraints.Mean(),
    "apply_during_training": False,
    "dt": 0.01,
}
SPIKING = {"activation": "tanh", "seed": 4, "spiking_aware_training": False, "dt": 0.01}
LAYERS = {
    "SpikingActivation": {**SPIKING, **SEQUENCE},
    "Lowpass": {**FILTER, **SEQUENCE},
    "Alpha": {**FILTER, **SEQUENCE},
}
CELLS = {
    "SpikingActivationCell": {"size": 3, **SPIKING},
    "LowpassCell": {"size": (3,), **FILTER},
    "AlphaCell": {"size": (3, 2), **FILTER},
}


def rates(*shape):
    return np.random.default_rng(0).normal(0, 200, shape).astype(np.float32)


def make_model(dt=None):
    inputs = keras.Input((None, 5))
    x = keras.layers.Dense(6)(inputs)
    regularizer = kspike_tf.regularizers.L2(1e-9, (1, 9))
    x = kspike_tf.SpikingActivation("relu", dt=dt, seed=1, activity_regularizer=regularizer)(x)
    x = kspike_tf.Lowpass(0.02, dt=dt, tau_constraint=kspike_tf.constraints.Mean())(x)
    x = kspike_tf.Alpha(0.03, dt=dt)(x)
    return keras.Model(inputs, x)


def train(model):
    # not "mse": Keras 3.15 cannot load that from HDF5
    model.compile("sgd", keras.losses.MeanSquaredError())
    model.fit(rates(4, 10, 5), rates(4, 10, 6), verbose=0)
    return model


@pytest.mark.parametrize(("name", "kwargs"), {**LAYERS, **CELLS}.items())
def test_configs_round_trip(name, kwargs):
    layer = getattr(kspike_tf, name)(name="named", dtype="mixed_float16", **kwargs)
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    assert again.name == "named"
    assert again.dtype_policy.name == "mixed_float16"
    for key, value in kwargs.items():
        assert key in config
        if isinstance(value, int | float):  # the others are objects
            assert getattr(again, key) == value or key in ("size", "dt")
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    loaded = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(loaded) is type(layer)
    assert json.dumps(keras.saving.serialize_keras_object(loaded)) == text
    assert json.loads(text)["registered_name"] == f"kspike_tf>{name}"


@pytest.mark.parametrize("name", LAYERS)
def test_configs_hold_every_argument(name):
    kwargs = {"activation": "relu"} if name == "SpikingActivation" else {"tau_initializer": 0.1}
    config = getattr(kspike_tf, name)(**kwargs).get_config()
    base = set(keras.layers.Layer().get_config())
    assert set(config) - base == set(LAYERS[name])
    assert config["dt"] == 0.001


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_trained_model_loads_without_custom_objects(tmp_path, suffix):
    model = train(make_model())
    path = tmp_path / f"model.{suffix}"
    model.save(path)
    loaded = keras.models.load_model(path)
    x = rates(3, 50, 5)
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    assert np.abs(expected).max() > 1
    if suffix == "h5":
        return  # Keras 3.15 loads an optimizer from HDF5 that does not know the weights
    # training continues, with the model's optimizer and regularizer
    history = loaded.fit(rates(4, 10, 5), rates(4, 10, 6), verbose=0).history
    expected = model.fit(rates(4, 10, 5), rates(4, 10, 6), verbose=0).history
    assert history["loss"] == expected["loss"]


LOAD = """
import sys
import numpy as np
import keras
import kspike_tf
model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


def test_a_model_loads_in_another_process(tmp_path):
    model = train(make_model())
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", rates(2, 30, 5))
    paths = [str(tmp_path / name) for name in ("model.keras", "x.npy", "y.npy")]
    subprocess.run([sys.executable, "-c", LOAD, *paths], check=True)
    y = model.predict(rates(2, 30, 5), verbose=0)
    # another process may multiply matrices in another order: a spike moves by a step
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), y, atol=0.05 * np.abs(y).max())


def test_weights_alone(tmp_path):
    model, other = train(make_model()), make_model()
    x = rates(2, 20, 5)
    assert (other.predict(x, verbose=0) != model.predict(x, verbose=0)).any()
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    other = make_model()
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))


def test_models_as_json():
    model = make_model()
    again = keras.models.model_from_json(model.to_json())
    assert again.to_json() == model.to_json()
    assert [each.shape for each in again.weights] == [each.shape for each in model.weights]


def test_clones():
    model = train(make_model())
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x = rates(2, 20, 5)
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))
    ours, theirs = ({id(each) for each in every.weights} for every in (model, clone))
    assert not ours & theirs


@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
@pytest.mark.parametrize("nested", [False, True])
def test_a_clone_shares_a_variable_dt(make_variable, nested):
    dt = make_variable(0.001)
    model = keras.Sequential(
        [keras.Input((None, 3)), kspike_tf.SpikingActivation("linear", dt=dt, seed=0)]
    )
    if nested:
        model = keras.Sequential([keras.Input((None, 3)), model])
    clone = keras.models.clone_model(model)
    dt.assign(0.25)
    x = np.full((1, 40, 3), 2, np.float32)
    y = clone(x)
    assert set(np.unique(y)) == {0, 4}
    np.testing.assert_array_equal(y, model(x))


@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
def test_saving_stores_the_current_dt(tmp_path, make_variable):
    dt = make_variable(0.001)
    model = train(make_model(dt))
    dt.assign(0.004)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        layers = json.loads(archive.read("config.json"))["config"]["layers"]
    assert [each["config"].get("dt") for each in layers] == [None, None, 0.004, 0.004, 0.004]
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = rates(2, 20, 5)
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    dt.assign(0.001)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    assert (model.predict(x, verbose=0) != expected).any()
    train(loaded)


@pytest.mark.parametrize("make_variable", [tf.Variable, keras.Variable])
def test_a_variable_dt_is_no_weight(make_variable):
    model = make_model(make_variable(0.001))
    assert len(model.weights) == len(make_model().weights) == 6
    assert len(model.trainable_weights) == 6


@pytest.mark.parametrize(
    "activation",
    [tf.nn.softplus, keras.activations.gelu, "selu", None, keras.layers.LeakyReLU(0.3)],
    ids=["tensorflow", "keras", "name", "none", "layer"],
)
def test_activations_survive(tmp_path, activation):
    model = keras.Sequential(
        [keras.Input((None, 5)), kspike_tf.SpikingActivation(activation, seed=0)]
    )
    if activation is tf.nn.softplus:
        keras.saving.get_custom_objects()["softplus"] = activation
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = rates(2, 20, 5)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_the_weights_of_an_activation_layer_survive(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, 5)),
            kspike_tf.SpikingActivation(keras.layers.PReLU("uniform"), seed=0),
        ]
    )
    train_y = rates(4, 10, 5)
    model.compile("sgd", "mse")
    model.fit(rates(4, 10, 5), train_y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.get_weights(), model.get_weights())
    np.testing.assert_array_equal(loaded(train_y), model(train_y))
    clone = keras.models.clone_model(model)
    assert clone.weights[0] is not model.weights[0]


class NoConfig:
    def __call__(self, x, dtype=None):
        return x


@pytest.mark.parametrize(
    "value",
    [lambda x: x, functools.partial(tf.nn.leaky_relu, alpha=0.1), NoConfig()],
    ids=["lambda", "partial", "object"],
)
def test_what_cannot_be_saved_is_named(tmp_path, value):
    # an initializer or constraint would be called; here it is only stored
    for argument in ("activation", "level_initializer", "initial_level_constraint"):
        if argument == "activation":
            layer = kspike_tf.SpikingActivation(value, name="named")
            cell = kspike_tf.SpikingActivationCell(3, value)
        else:
            layer = kspike_tf.Lowpass(0.1, **{argument: value}, name="named")
            cell = kspike_tf.AlphaCell(3, 0.1, **{argument: value})
        message = rf"{argument} cannot be serialized: pass a name.* Received: .* in .* 'named'"
        with pytest.raises(ValueError, match=message):
            layer.get_config()
        with pytest.raises(ValueError, match=f"{argument} cannot be serialized"):
            cell.get_config()
    model = keras.Sequential([keras.Input((None, 5)), kspike_tf.SpikingActivation(value)])
    with pytest.raises(ValueError, match="activation cannot be serialized"):
        model.save(tmp_path / "model.keras")


def test_cells_in_an_rnn_survive(tmp_path):
    cells = [
        kspike_tf.SpikingActivationCell(5, "relu", seed=0),
        kspike_tf.LowpassCell(5, 0.02),
        keras.layers.SimpleRNNCell(4),
        kspike_tf.AlphaCell(4, 0.02),
    ]
    model = keras.Sequential(
        [keras.Input((None, 5)), keras.layers.RNN(cells, return_sequences=True)]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = rates(2, 20, 5)
    np.testing.assert_array_equal(loaded(x), model(x))


def models_of_other_kinds():
    """Return nested models, layers in time or used twice, several inputs, other options."""
    low = kspike_tf.Lowpass(0.02, dt=0.01)
    inner = keras.Sequential([keras.Input((None, 5)), low, kspike_tf.Alpha(0.03)])
    left, right = keras.Input((None, 5)), keras.Input((None, 5))
    spiking = kspike_tf.SpikingActivation("relu", seed=0)
    windows = keras.Input((2, 10, 5))
    in_time = keras.layers.TimeDistributed(kspike_tf.SpikingActivation("tanh", seed=1, dt=0.01))
    steps = keras.Input((10, 5), batch_size=2)
    options = {"return_sequences": False, "return_state": True, "unroll": True}
    y, state = kspike_tf.Alpha(0.02, **options)(steps)
    time_first = keras.Input((2, 5))
    half = kspike_tf.Lowpass(0.02, time_major=True, dtype="mixed_float16")
    return {
        "nested": keras.Model(left, inner(spiking(left))),
        "several inputs": keras.Model([left, right], [spiking(left), inner(spiking(right))]),
        "in time": keras.Model(windows, in_time(windows)),
        "options": keras.Model(steps, [y, state]),
        "time-major": keras.Model(time_first, half(time_first)),
        "stateful": keras.Model(steps, kspike_tf.Lowpass(0.02, stateful=True)(steps)),
    }


@pytest.mark.parametrize(
    "kind", ["nested", "several inputs", "in time", "options", "time-major", "stateful"]
)
def test_models_of_other_kinds_survive(tmp_path, kind):
    model = models_of_other_kinds()[kind]
    for weight in model.weights:
        weight.assign(weight * 1.5 + 0.1)
    model.save(tmp_path / "model.keras")
    x = [tf.constant(rates(*[size or 2 for size in each.shape])) for each in model.inputs]
    x = x[0] if len(x) == 1 else x
    expected = keras.tree.flatten(model(x))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (keras.models.load_model(tmp_path / "model.keras"), clone):
        for mine, theirs in zip(keras.tree.flatten(other(x)), expected, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)  # states are not saved: they start anew
