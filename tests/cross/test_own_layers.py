"""Tests of layers and functions that users register: new, built-in, lambdas, activations."""

import importlib.util
import pathlib
import pickle

import keras
import numpy as np
import pytest
from agreement import check, check_mixes, check_streams, normal, random_weights, unary

import kspike_ref
from kspike_energy import ModelEnergy
from kspike_ref.layers import registry

L = keras.layers
EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """Undo the registrations of a test."""
    monkeypatch.setattr(registry, "_own_layers", dict(registry._own_layers))
    monkeypatch.setattr(registry, "_own_functions", dict(registry._own_functions))


@keras.saving.register_keras_serializable("own_layers")
def cubed(x):
    return x * x * x


@keras.saving.register_keras_serializable("own_layers")
def bent(x):
    return x / (2 + abs(x))


def numpy_cube(x):
    return x * x * x


def twice_and_shift(x, shift=0.0):
    return 2 * x + shift


def test_a_lambda_by_its_layer_name(tmp_path):
    x, y = L.Input((3,)), L.Input((3,))
    outputs = [
        L.Lambda(twice_and_shift, name="twice", arguments={"shift": 3.0})(x),
        L.Lambda(lambda pair: pair[0] * pair[1], name="product")([x, y]),
        L.Lambda(lambda t: (t, keras.ops.sum(t, -1, keepdims=True)), name="two")(x)[1],
        L.Lambda(lambda t: keras.ops.expand_dims(t, 1), name="longer")(x),
    ]
    kspike_ref.register_layer("twice")(twice_and_shift)
    kspike_ref.register_layer("product")(lambda pair: pair[0] * pair[1])
    kspike_ref.register_layer("two")(lambda t: (t, t.sum(-1, keepdims=True)))
    kspike_ref.register_layer("longer")(lambda t: t[:, None])
    loaded = check(keras.Model([x, y], outputs), tmp_path, [normal(4, 3), normal(4, 3, seed=1)])
    shapes = {node.name: node.output_shapes for node in loaded.nodes}
    assert shapes["longer"] == ((None, 1, 3),)
    assert shapes["two"] == ((None, 3), (None, 1))


def test_a_lambda_may_mix_time_and_a_layer_for_it_may_not(tmp_path):
    model = keras.Sequential([L.Input((None, 3)), L.Lambda(cubed, name="cube"),
                              L.SimpleRNN(2, return_sequences=True)])  # fmt: skip
    kspike_ref.register_layer("cube")(numpy_cube)
    check_mixes(check(model, tmp_path, normal(2, 4, 3)))

    @kspike_ref.register_layer("cube")
    class Cube(kspike_ref.Layer):
        pointwise_from = 3

        def call(self, x):
            return x * x * x

    check_streams(check(model, tmp_path, normal(2, 4, 3)), normal(2, 4, 3))


def test_a_lambda_that_drops_the_batch_is_refused(tmp_path):
    unary(L.Lambda(lambda t: t, name="flat"), 3).save(tmp_path / "m.keras")
    kspike_ref.register_layer("flat")(lambda t: t.reshape(-1))
    with pytest.raises(kspike_ref.UnsupportedLayerError, match="'flat' must keep axis 0 as the"):
        kspike_ref.load_model(tmp_path / "m.keras")


def test_activations(tmp_path):
    kspike_ref.register_layer("own_layers>bent")(bent)
    kspike_ref.register_layer("twice_and_shift")(twice_and_shift)
    layers = [L.Dense(3, bent), L.Activation(bent), L.Conv1D(2, 2, activation=twice_and_shift),
              L.LSTM(3, activation=bent, return_sequences=True)]  # fmt: skip
    model = random_weights(keras.Sequential([L.Input((6, 4)), *layers]))
    loaded = check(model, tmp_path, normal(3, 6, 4) / 2)
    again = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_array_equal(again.predict(normal(3, 6, 4)), loaded.predict(normal(3, 6, 4)))


def test_an_activation_must_keep_the_shape(tmp_path):
    kspike_ref.register_layer("own_layers>cubed")(lambda x: x.sum(-1))
    unary(L.Dense(3, cubed), 4).save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"'own_layers>cubed' must keep the shape \(2, 3\)"):
        loaded.predict(normal(2, 4))


def test_built_in_names(tmp_path):
    """One layer that kspike_ref lacks, and one that is replaced."""

    @kspike_ref.register_layer("Hashing")
    class Remainder(kspike_ref.Layer):
        def call(self, x):
            return x % self.config["num_bins"]

    @kspike_ref.register_layer("Rescaling")
    class Half(kspike_ref.Layer):
        def call(self, x):
            return x / 2

    x, y = L.Input((3,), dtype="int32"), L.Input((3,))
    keras.Model([x, y], [L.Hashing(5)(x), L.Rescaling(7)(y)]).save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    bins, half = loaded.predict([np.array([[7, 4, 5]], "int32"), np.ones((1, 3), "f4")])
    assert bins.tolist() == [[2, 4, 0]]
    assert half.tolist() == [[0.5] * 3]


@keras.saving.register_keras_serializable("own_layers")
class Unknown(L.Layer):
    def call(self, x):
        return x


def test_every_refusal_says_why_and_what_to_do_once_a_kind(tmp_path):
    x = y = L.Input((3,), name="x")
    for i in range(7):
        y = Unknown(name=f"unknown{i}")(y)
    y = L.Lambda(lambda t: t, name="code")(y)
    y = L.Dense(3, activation=cubed, name="named")(y)
    y = L.Dense(3, activation=lambda t: t, name="nameless")(y)
    y = keras.ops.fft((y, y))[0]
    words = [L.Input((1,), dtype="string", name=name) for name in "st"]
    crossed = L.HashedCrossing(5, name="crossed")(words)
    keras.Model([x, *words], [y, crossed]).save(tmp_path / "m.keras")
    with pytest.raises(kspike_ref.UnsupportedLayerError) as error:
        kspike_ref.load_model(tmp_path / "m.keras")
    text = str(error.value)
    assert "unknown0, unknown1, unknown2, unknown3, unknown4 and 2 others: " in text
    assert text.count("kspike_ref.register_layer('own_layers>Unknown')") == 1
    assert "code: Lambda is Python code" in text
    assert "kspike_ref.register_layer('code')" in text
    assert "named: activation own_layers>cubed: register the function with" in text
    assert "nameless: an activation without a name, such as a lambda" in text
    assert "the operation FFT" in text
    assert "kspike_ref.register_layer('HashedCrossing')" in text
    assert len(error.value.layers) == 12
    assert len(text.splitlines()) == 7


def _example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_custom_neuron_in_all_three_packages(tmp_path):
    """The layer holds the weights of the neuron's cell."""
    trained, reference = _example("custom_neuron"), _example("custom_neuron_reference")
    keras.utils.set_random_seed(1)
    model = trained.make_model()
    model.layers[0].set_weights([3 * w for w in model.layers[0].get_weights()])
    model.get_layer("lif").layer.cell.log_tau.assign(np.log(np.linspace(0.01, 0.05, 64)))
    x = np.random.default_rng(0).random((5, 12, 64), np.float32)
    model.save(tmp_path / "m.keras")
    loaded = kspike_ref.load_model(tmp_path / "m.keras")
    assert "layer/cell/log_tau" in loaded.layers[2].weights
    spikes = np.asarray(keras.Model(model.inputs, model.get_layer("lif").output)(x))
    ours = loaded.activity(x)["lif"]
    assert spikes.any()
    # If a voltage is within rounding of the threshold, only one of them may spike.
    assert (ours != spikes).mean() <= 1e-3
    state = loaded.initial_state(5)
    for t in range(12):
        y, state = loaded.step(x[:, t], state)
    np.testing.assert_array_equal(y, loaded.predict(x))
    counted = {layer.name: layer for layer in ModelEnergy(loaded).network.layers}
    assert counted["lif"].neurons == 64
    assert counted["lif"].connections == 0
    assert reference.NAME == "custom_neuron>LIF"
