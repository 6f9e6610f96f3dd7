"""Tests of adapters: how to add one, and that frameworks are imported only when needed."""

import subprocess
import sys

import numpy as np
import pytest

from kspike_energy import Adapter, Application, LayerSpec, ModelEnergy, register_adapter
from kspike_energy.adapters import find


class TinyNet:
    """Minimal framework: dense layers, one after the other."""

    def __init__(self, *weights):
        self.weights = weights


class TinyAdapter(Adapter):
    """Third-party adapter: list the layers, and run a batch."""

    def applications(self, model, shapes=None):
        found = []
        for index, weight in enumerate(model.weights):
            config = {"units": weight.shape[1], "activation": "linear"}
            spec = LayerSpec(
                layer=weight,
                name=f"dense_{index}",
                kind="Dense",  # selects the counting rule
                type_name="TinyDense",
                read_config=lambda config=config: config,
                wrap=lambda key: [],
            )
            found.append(
                Application(
                    spec=spec,
                    inputs=((None, weight.shape[0]),),
                    outputs=((None, weight.shape[1]),),
                    input_ids=(index,),
                    output_ids=(index + 1,),
                )
            )
        return found

    def run(self, model, batch):
        for weight in model.weights:
            yield [batch]
            batch = batch @ weight


@pytest.fixture(autouse=True)
def _adapters_as_found():
    known = dict(find._ADAPTERS)
    yield
    find._ADAPTERS.clear()
    find._ADAPTERS.update(known)


@pytest.fixture
def net(rng):
    return TinyNet(rng.random((6, 5)), rng.random((5, 4)))


@pytest.mark.parametrize("key", ["type", "name"])
def test_a_framework_of_a_third_party(net, rng, key):
    register_adapter(TinyNet if key == "type" else f"{TinyNet.__module__}.TinyNet", TinyAdapter)
    data = rng.random((7, 6))
    energy = ModelEnergy(net, data, batch_size=3)
    assert [layer.connections for layer in energy.network.layers] == [30, 20]
    wanted = data.mean(), (data @ net.weights[0]).mean()
    assert [layer.rate(0.001) for layer in energy.network.layers] == pytest.approx(wanted)
    synops = (30 * wanted[0] + 20 * wanted[1]) * 0.001
    assert energy.total_energy("odin", 1) == pytest.approx(synops * 12.7e-12)
    assert energy.network.name == "TinyNet"
    assert "dense_1 (TinyDense)" in energy.summary_string()


def test_a_subclass_of_the_model_is_taken_too(net):
    class Special(TinyNet):
        pass

    register_adapter(TinyNet, TinyAdapter)
    assert ModelEnergy(Special(*net.weights)).network.connections == 50


def test_a_model_that_nobody_registered(net):
    with pytest.raises(TypeError, match=r"model must be a Keras model.*Received: .*TinyNet"):
        ModelEnergy(net)


def test_bad_registrations():
    with pytest.raises(TypeError, match=r"model_type must be a class or its dotted name.*3"):
        register_adapter(3, TinyAdapter)
    with pytest.raises(TypeError, match=r"adapter must be a subclass of Adapter.*TinyNet"):
        register_adapter(TinyNet, TinyNet)


FRAMEWORKS = (
    *("tensorflow", "keras", "kspike_ref", "kspike_tf"),
    *("jinja2", "matplotlib", "rich", "tqdm"),
)


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_no_framework_is_imported():
    code = (
        "import sys, kspike_energy as k\n"
        "k.ModelEnergy(k.Network([k.Layer('a', 1, rate=1.)])).summary(('name', 'energy loihi'))\n"
        "try: k.ModelEnergy(3)\n"
        "except TypeError: pass\n"
        f"print([m for m in {FRAMEWORKS} if m in sys.modules])"
    )
    assert in_a_new_process(code).splitlines()[-1] == "[]"


def test_a_model_of_kspike_ref_brings_no_keras(tmp_path):
    import keras

    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, "relu")])
    model.save(tmp_path / "m.keras")
    code = (
        "import sys; sys.modules.update(tensorflow=None, keras=None)\n"
        "import kspike_ref, kspike_energy\n"
        f"model = kspike_ref.load_model({str(tmp_path / 'm.keras')!r})\n"
        "print(kspike_energy.ModelEnergy(model).network.connections)"
    )
    assert in_a_new_process(code) == "30"


def test_models_that_have_no_graph():
    import keras

    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(TypeError, match=r"model must be a Functional or Sequential Keras model"):
        ModelEnergy(Subclassed())


def test_a_model_with_its_own_call_is_not_read_as_its_graph():
    import keras

    class Scaled(keras.Model):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training=training, mask=mask)

    x = keras.Input((4,))
    model = Scaled(x, keras.layers.Dense(3)(x))
    with pytest.raises(TypeError, match=r"or one with its own call, has no graph.*Scaled"):
        ModelEnergy(model)
    outer = keras.Model(y := keras.Input((4,)), model(y))
    assert len(ModelEnergy(outer).network.gaps) == 1
    with pytest.raises(ValueError, match=r"model 'open' has no shapes yet"):
        ModelEnergy(keras.Sequential([keras.layers.Dense(3)], name="open"))


def test_counting_leaves_the_model_as_it_was(rng):
    import keras

    layers = keras.layers
    inp = keras.Input((6,))
    shared = layers.Dense(6)
    x = layers.Dropout(0.5, seed=1)(shared(shared(inp)))
    x = layers.BatchNormalization()(layers.GaussianNoise(1.0)(x))
    model = keras.Model(inp, keras.ops.relu(x))
    weights = [keras.ops.convert_to_numpy(w) for w in model.variables]
    nodes = [len(op._inbound_nodes) for op in model.operations]
    shape = (len(model.layers), len(model.operations), len(model.weights))
    ModelEnergy(model, rng.random((5, 6))).summary_string()
    assert (len(model.layers), len(model.operations), len(model.weights)) == shape
    assert [len(op._inbound_nodes) for op in model.operations] == nodes
    for before, after in zip(weights, model.variables, strict=True):
        np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(after))


def test_the_state_of_a_stateful_layer_is_left_alone(rng):
    import keras

    model = keras.Sequential(
        [keras.Input(batch_shape=(2, 3, 4)), keras.layers.SimpleRNN(3, stateful=True)]
    )
    model.predict(rng.random((2, 3, 4)), verbose=0)
    before = [keras.ops.convert_to_numpy(s) for s in model.layers[0].states]
    ModelEnergy(model, rng.random((2, 3, 4)), batch_size=2)
    for old, new in zip(before, model.layers[0].states, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new))
