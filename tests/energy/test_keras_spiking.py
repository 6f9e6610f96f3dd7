"""Tests that scripts written for KerasSpiking run, and give its numbers."""

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest

import kspike_tf
from kspike_energy import Device, Layer, ModelEnergy, Network, model_energy

L = keras.layers


def lstm_stats(node):
    """Return the statistics that a published script registers: axis 1 of the input is time."""
    cells = np.prod(node.output_shapes[1:])
    connections = cells * node.input_shapes[1] * 3 - cells
    return {"connections": connections, "neurons": cells, "spiking": False}


def test_a_published_script_for_an_lstm():
    ModelEnergy.register_layer(L.LSTM)(lstm_stats)
    inp = keras.Input((100, 12))
    layer = L.LSTM(62)
    model = keras.Model(inp, layer(inp))
    wanted = {"connections": 18_538, "neurons": 62, "spiking": False}
    assert ModelEnergy.compute_layer_stats(layer) == wanted
    assert ModelEnergy(model).layer_stats[layer] == wanted


@pytest.mark.parametrize(
    ("layer", "shapes", "inputs", "outputs", "step_inputs", "step_outputs"),
    [
        (L.LSTM(6), [(9, 4)], (None, 9, 4), (None, 6), (None, 4), (None, 6)),
        (
            L.LSTM(6, return_sequences=True, return_state=True),
            [(None, 4)],
            (None, None, 4),
            [(None, None, 6), (None, 6), (None, 6)],
            (None, 4),
            [(None, 6), (None, 6), (None, 6)],
        ),
        (
            L.Concatenate(),
            [(6,), (5,)],
            [(None, 6), (None, 5)],
            (None, 11),
            [(None, 6), (None, 5)],
            (None, 11),
        ),
    ],
    ids=["lstm", "states", "merge"],
)
def test_shapes_that_a_function_sees(layer, shapes, inputs, outputs, step_inputs, step_outputs):
    # KerasSpiking passed the first two pairs for the same layers.
    nodes = []
    ModelEnergy.register_layer(type(layer))(lambda node: nodes.append(node) or {})
    given = [keras.Input(shape) for shape in shapes]
    ModelEnergy(keras.Model(given, layer(given if len(given) > 1 else given[0])))
    (node,) = nodes
    assert (node.input_shapes, node.output_shapes) == (inputs, outputs)
    assert (node.step_input_shapes, node.step_output_shapes) == (step_inputs, step_outputs)
    assert node.outbound_layer is node.layer is layer


def test_a_wrapped_layer_sees_no_time():
    nodes = []
    ModelEnergy.register_layer(L.Dense)(lambda node: nodes.append(node) or {})
    inp = keras.Input((7, 12))
    ModelEnergy(keras.Model(inp, L.TimeDistributed(L.Dense(3))(inp)))
    assert (nodes[0].input_shapes, nodes[0].output_shapes) == ((None, 12), (None, 3))


def test_a_product_with_an_open_time_axis_says_what_to_use():
    ModelEnergy.register_layer(L.LSTM)(lambda node: {"connections": np.prod(node.input_shapes[1:])})
    inp = keras.Input((None, 4))
    model = keras.Model(inp, L.LSTM(3, name="cell")(inp))
    with pytest.raises(TypeError) as caught:
        ModelEnergy(model)
    assert "layer 'cell' is (None, None, 4)" in caught.value.__notes__[0]
    assert "step_input_shapes" in caught.value.__notes__[0]


def test_nodes_of_keras():
    inp = keras.Input((8, 8, 3))
    conv, relu, dense = L.Conv2D(4, 3), L.ReLU(), L.Dense(5, "relu")
    steps = L.TimeDistributed(L.Dense(5))
    model = keras.Model(inp, dense(relu(conv(inp))))
    energy = ModelEnergy(model)
    steps(keras.Input((None, 10)))
    for layer, function in (
        (conv, model_energy.conv_stats),
        (relu, model_energy.act_stats),
        (dense, model_energy.dense_stats),
        (steps, model_energy.timedistributed_stats),
    ):
        node = layer._inbound_nodes[0]
        assert function(node) == ModelEnergy.compute_layer_stats(layer, node)
        assert function(node) == ModelEnergy.compute_layer_stats(layer)
        if layer is not steps:
            assert energy.node_stats[node] == function(node)
    assert model_energy.dense_stats(dense._inbound_nodes[0])["connections"] == 36 * 4 * 5
    with pytest.raises(TypeError, match=r"node must be a kspike_energy.Node or a node of Keras"):
        ModelEnergy.compute_layer_stats(dense, 3)
    with pytest.raises(TypeError, match=r"node must be a kspike_energy.Node or a node of Keras"):
        model_energy.dense_stats(dense)


def test_attributes_that_scripts_read():
    inp = keras.Input((10,))
    shared, act = L.Dense(10, kernel_initializer="ones"), L.ReLU()
    model = keras.Model(inp, act(shared(shared(inp))))
    data = np.ones((3, 10))
    energy = ModelEnergy(model, data)
    assert energy.example_data is data
    assert energy.layer_stats == {
        model.layers[0]: {"connections": 0, "neurons": 0, "spiking": True},
        shared: {"connections": 200, "neurons": 0, "spiking": True},
        act: {"connections": 0, "neurons": 10, "spiking": False},
    }
    one = {"connections": 100, "neurons": 0, "spiking": True}
    assert [energy.node_stats[node] for node in shared._inbound_nodes] == [one, one]
    assert energy.layer_rates[act] == 100
    assert ModelEnergy(model).layer_rates == {}
    assert ModelEnergy(model).example_data is None


def test_attributes_of_a_network_and_of_a_model_inside_models():
    row = Layer("a", 10, 2, rate=5.0)
    energy = ModelEnergy(Network([row]))
    assert energy.layer_stats == {row: {"connections": 10, "neurons": 2, "spiking": True}}
    assert energy.layer_rates == {row: 5.0}
    inp = keras.Input((6,))
    dense = L.Dense(4, "relu")
    inner = keras.Sequential([keras.Input((6,)), dense])
    model = keras.Model(inp, L.Add()([inner(inp), inner(2.0 * inp)]))
    assert ModelEnergy(model).layer_stats[dense] == {
        "connections": 48,
        "neurons": 8,
        "spiking": False,
    }


class Mine(L.Layer):
    def call(self, x):
        return x


def test_functions_by_class():
    computers = ModelEnergy.layer_stats_computers
    inp = keras.Input((6,))
    dense = L.Dense(4)
    dense(inp)
    assert computers[L.Dense](dense._inbound_nodes[0])["connections"] == 24
    assert Mine not in computers
    computers[Mine] = lambda node: {"neurons": 3}
    assert Mine in list(computers)
    assert len(computers) == len(list(computers))
    mine = Mine()
    mine(inp)
    assert ModelEnergy.compute_layer_stats(mine) == {"neurons": 3}
    del computers[Mine]
    assert Mine not in computers
    with pytest.raises(KeyError):
        del computers[L.Dense]  # a rule of this package cannot be deleted
    ModelEnergy.register_layer(L.Dense)(lambda node: {})
    assert computers[L.Dense](None) == computers["Dense"](None) == {}
    del computers[L.Dense]
    assert computers["Dense"](dense._inbound_nodes[0])["connections"] == 24
    with pytest.raises(TypeError, match="layer_class must be a class"):
        computers[3] = lambda node: {}


def test_registering_a_layer_twice_warns():
    def first(node):
        return {"neurons": 1}

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ModelEnergy.register_layer(Mine)(first)
        ModelEnergy.register_layer(Mine)(first)  # the same again: nothing changes
    with pytest.warns(UserWarning, match=r"layer 'Mine' was registered already") as caught:

        @ModelEnergy.register_layer(Mine)
        def second(node):
            return {"neurons": 2}

    assert caught[0].filename == __file__
    mine = Mine()
    mine(keras.Input((6,)))
    assert ModelEnergy.compute_layer_stats(mine) == {"neurons": 2}


def test_devices_read_and_write_like_dictionaries():
    devices = ModelEnergy.devices
    assert devices["cpu"]["energy_per_synop"] == 8.6e-9
    assert dict(devices["loihi"]) == {
        "energy_per_synop": 2.71e-11,
        "energy_per_neuron": 81e-12,
        "spiking": True,
    }
    assert devices["cpu"].get("nothing", 3) == 3
    devices["x"] = {"spiking": False, "energy_per_synop": 1e-9, "energy_per_neuron": 1e-9}
    assert devices["x"] == Device("x", 1e-9, 1e-9, False)
    devices["y"] = {**devices["loihi"], "energy_per_synop": 1e-12}
    devices["z"] = devices["loihi"]
    assert (devices["z"].name, devices["z"].synop_range) == ("z", (23.6e-12, 27.1e-12))
    energy = ModelEnergy(Network([Layer("a", 1000, rate=100.0)]))
    assert energy.total_energy("y") == pytest.approx(100e-12)
    devices["z"]["energy_per_synop"] = 2e-12  # a user's figure has no published range
    assert energy.total_energy("z") == pytest.approx(200e-12)
    assert (devices["z"].synop_range, devices["z"].source) == (None, "")
    assert devices["loihi"].source
    assert devices.pop("x").name == "x"
    del devices["z"]
    assert "z" not in devices


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (lambda d: d.__setitem__("x", 3), TypeError, "must be a Device or a dictionary.*3"),
        (lambda d: d.__setitem__("x", {"spiking": True}), ValueError, "Missing: .*'energy_per_s"),
        (
            lambda d: d.__setitem__("x", {"energy_per_synops": 1}),
            ValueError,
            "did you mean 'energy_per_synop'",
        ),
        (lambda d: d["cpu"].__setitem__("energy_per_synop", -1), ValueError, "not be negative"),
        (lambda d: d["cpu"].__setitem__("energy_per_synops", 1), KeyError, "did you mean"),
        (lambda d: d["cpu"].__setitem__("name", "x"), KeyError, "no 'name' to set"),
        (lambda d: d["lohi"], KeyError, "did you mean 'loihi'"),
    ],
)
def test_bad_writes_change_nothing(write, error, message):
    before = {name: dict(device) for name, device in ModelEnergy.devices.items()}
    with pytest.raises(error, match=message):
        write(ModelEnergy.devices)
    assert {name: dict(device) for name, device in ModelEnergy.devices.items()} == before


def test_columns_with_spaces_around_them():
    energy = ModelEnergy(Network([Layer("a", 1000, 10, rate=100.0)]))
    spaced = energy.summary_string(("name ", " energy  cpu ", "rate "))
    assert spaced == energy.summary_string(("name", "energy cpu", "rate"))


def test_time_steps_have_one_name_everywhere():
    energy = ModelEnergy(Network([Layer("a", 1000, 10, rate=100.0)]))
    assert energy.compare(timesteps_per_inference=20) == energy.compare(timesteps=20)
    assert energy.compare(["loihi"], 20).devices[0].energy == energy.total_energy("loihi", 20)
    with pytest.raises(TypeError, match="not both"):
        energy.compare(timesteps_per_inference=20, timesteps=10)
    with pytest.raises(ValueError, match="timesteps_per_inference must be at least 1"):
        energy.compare(timesteps_per_inference=0)


IMAGE = (12, 12, 4)

# Connections, neurons and whether it spikes, as KerasSpiking 0.3.0 counts one layer.
COUNTED = {
    "valid": (L.Conv2D(6, 3), IMAGE, (21_600, 0, True)),
    "same": (L.Conv2D(6, 3, padding="same", activation="relu"), IMAGE, (31_104, 864, False)),
    "strides": (L.Conv2D(6, 3, strides=2, padding="same"), IMAGE, (7_776, 0, True)),
    "dilation": (L.Conv2D(6, 3, dilation_rate=2), IMAGE, (13_824, 0, True)),
    "groups": (L.Conv2D(6, 3, groups=2), IMAGE, (10_800, 0, True)),
    "3d": (L.Conv3D(3, 2), (6, 6, 6, 2), (6_000, 0, True)),
    "1d": (L.Conv1D(4, 3, padding="causal"), (5, 8), (480, 0, True)),
    "1d in time": (L.Conv1D(4, 3), (None, 8), (96, 0, True)),
    "transposed": (L.Conv2DTranspose(6, 3, strides=2), IMAGE, (202_500, 0, True)),
    "transposed, same": (
        L.Conv2DTranspose(6, 3, strides=2, padding="same"),
        IMAGE,
        (186_624, 0, True),
    ),
    "transposed, oblong": (
        L.Conv2DTranspose(5, (3, 2), strides=(1, 2), activation="relu"),
        (6, 5, 4),
        (12_000, 400, False),
    ),
    "1d transposed": (L.Conv1DTranspose(3, 2), (6, 2), (126, 0, True)),
    "3d transposed": (
        L.Conv3DTranspose(3, 2, padding="same", strides=2),
        (4, 4, 4, 2),
        (36_864, 0, True),
    ),
    "dense": (L.Dense(4, "relu"), (5, 8), (160, 20, False)),
    "dense in time": (L.Dense(4, "relu"), (None, 8), (32, 4, False)),
    "time distributed": (L.TimeDistributed(L.Dense(4, "relu")), (5, 8), (32, 4, False)),
    "time distributed, same": (
        L.TimeDistributed(L.Conv2D(3, 3, padding="same", activation="relu")),
        (5, 8, 8, 2),
        (3_456, 192, False),
    ),
    "relu": (L.ReLU(), (5, 8), (0, 40, False)),
    "relu in time": (L.ReLU(), (None, 8), (0, 8, False)),
    "leaky": (L.LeakyReLU(), IMAGE, (0, 576, False)),
    "linear": (L.Activation("linear"), IMAGE, (0, 0, True)),
    "activation": (L.Activation("softmax"), IMAGE, (0, 576, False)),
    "spikes": (kspike_tf.SpikingActivation("relu"), (None, 8), (0, 8, True)),
    "spikes in 5 steps": (kspike_tf.SpikingActivation("relu"), (5, 8), (0, 8, True)),
    "flat": (L.Flatten(), IMAGE, (0, 0, True)),
    "global mean": (L.GlobalAveragePooling2D(), IMAGE, (0, 0, True)),
}
UNKNOWN = [
    (L.DepthwiseConv2D(3, activation="relu"), IMAGE),
    (L.SeparableConv2D(6, 3), IMAGE),
    (L.MaxPooling2D(), IMAGE),
    (L.AveragePooling2D(2), IMAGE),
    (L.GlobalMaxPooling2D(), IMAGE),
    (L.UpSampling2D(), IMAGE),
    (L.BatchNormalization(), IMAGE),
    (L.LayerNormalization(), IMAGE),
    (L.ELU(), IMAGE),
    (L.Softmax(), IMAGE),
    (L.PReLU(), IMAGE),
    (L.Embedding(9, 4), (5,)),
    (L.TimeDistributed(L.MaxPooling2D()), (5, 8, 8, 2)),
    (L.LSTM(4), (None, 8)),
    (L.Bidirectional(L.GRU(4)), (None, 8)),
    (kspike_tf.Lowpass(0.1), (None, 8)),
    (kspike_tf.Alpha(0.1), (None, 8)),
    (keras.Sequential([keras.Input((6,)), L.Dense(4, "relu")]), (6,)),
]


def counted(layer, shape):
    inp = keras.Input(shape)
    energy = ModelEnergy(keras.Model(inp, layer(inp)), convention="keras-spiking")
    rows = energy.network.layers[1:]
    return (
        sum(row.connections for row in rows),
        sum(row.neurons for row in rows),
        all(row.spiking for row in rows),
    )


@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_keras_spiking(name):
    layer, shape, wanted = COUNTED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert counted(layer, shape) == wanted


@pytest.mark.parametrize(("layer", "shape"), UNKNOWN, ids=lambda v: type(v).__name__)
def test_layers_that_keras_spiking_does_not_know(layer, shape):
    with pytest.warns(UserWarning, match="KerasSpiking does not know these layers"):
        assert counted(layer, shape) == (0, 0, True)


def test_the_guide_tells_how_many_kinds_of_layers_were_compared():
    guide = Path(__file__).parents[2] / "docs" / "guides" / "energy.md"
    assert f"for {len(COUNTED)} kinds of layers that it" in guide.read_text()


def test_merges_cost_keras_spiking_nothing():
    given = [keras.Input((6,)), keras.Input((6,))]
    data = [np.full((2, 6), 1.0), np.full((2, 6), 5.0)]
    layer = L.Add()
    model = keras.Model(given, layer(given))
    assert ModelEnergy(model, data).layer_stats[layer]["connections"] == 12
    energy = ModelEnergy(model, data, convention="keras-spiking")
    assert energy.layer_stats[layer]["connections"] == 0
    assert energy.layer_rates[layer] == 3
    assert "Counted as KerasSpiking does" in energy.summary_string()
    assert energy.assumptions(1, 0.001)["convention"] == "keras-spiking"


def test_what_a_filter_adds_to_the_example_of_the_guide():
    inp = keras.Input((None, 784))
    x = L.Dense(64, kernel_initializer=keras.initializers.Constant(1 / 157))(inp)  # 100 Hz
    x = kspike_tf.Lowpass(0.01)(kspike_tf.SpikingActivation("relu", seed=0)(x))
    model = keras.Model(inp, L.Dense(10)(x))
    data = np.full((8, 10, 784), 20.0)
    ours = ModelEnergy(model, data).total_energy("loihi", 10)
    with pytest.warns(UserWarning, match=r"counts nothing for them: lowpass \(Lowpass\)"):
        theirs = ModelEnergy(model, data, convention="keras-spiking").total_energy("loihi", 10)
    assert ours - theirs == pytest.approx(81e-12 * 64 * 10, rel=1e-3)
    assert ours / theirs == pytest.approx(1.15, abs=0.01)  # as stated in the guide


def test_a_reused_layer_as_keras_spiking_adds_it_up():
    inp = keras.Input((10,))
    shared = L.Dense(10, kernel_initializer="ones")
    model = keras.Model(inp, shared(shared(inp)))
    energy = ModelEnergy(model, np.ones((3, 10)), convention="keras-spiking")
    assert energy.layer_rates[shared] == pytest.approx(11)
    # KerasSpiking's own results: (2 · 100) connections × (1 + 10) Hz.
    assert energy.layer_energy(shared, "loihi", 10) == pytest.approx((5.962e-10, 0.0))
    assert energy.layer_energy(shared, "cpu", 10) == pytest.approx((1.72e-6, 0.0))
    with pytest.raises(ValueError, match="pass example_data to estimate energy on the spiking"):
        ModelEnergy(model, convention="keras-spiking").total_energy("loihi")


def test_registered_functions_come_before_the_convention():
    ModelEnergy.register_layer(L.MaxPooling2D)(lambda node: {"connections": 7})
    assert counted(L.MaxPooling2D(), IMAGE) == (7, 0, True)


@pytest.mark.parametrize("option", [{"events": "exact"}, {"input_coding": "dense"}])
def test_the_convention_has_one_way_to_count_events(option):
    with pytest.raises(ValueError, match="convention='keras-spiking' requires events='mean'"):
        ModelEnergy(Network([]), convention="keras-spiking", **option)


def test_an_unknown_convention():
    with pytest.raises(ValueError, match=r"convention must be one of .* did you mean 'keras-sp"):
        ModelEnergy(Network([]), convention="keras_spiking")


def test_node_stats_of_a_nested_model_that_is_applied_twice():
    inner_in = keras.Input((6,))
    inner = keras.Model(inner_in, keras.layers.Dense(6, "relu", name="d")(inner_in), name="inner")
    inp = keras.Input((6,))
    energy = ModelEnergy(keras.Model(inp, inner(inner(inp))))
    (stats,) = (s for s in energy.node_stats.values() if s["connections"])
    assert stats == {"connections": 2 * 36, "neurons": 2 * 6, "spiking": False}
