"""Tests of the examples on the reference page, and of their printed output."""

import keras
import numpy as np

import kspike_energy as keras_spiking
from kspike_energy import model_energy


def _page_model():
    inp = keras.Input((784,), name="input_3")
    dense = keras.layers.Dense(units=128, activation="relu", name="dense_2")(inp)
    return keras.Model(inp, dense)


# The page's own lines, with the padding that its formatting has lost.
SUMMARY = """\
Layer (type)        | Output shape|Param #|Conn #|Neuron #|J/inf (cpu)
--------------------|-------------|-------|------|--------|-----------
input_3 (InputLayer)|[(None, 784)]|      0|     0|       0|          0
dense_2 (Dense)     |  (None, 128)| 100480|100352|     128|    0.00086
======================================================================
Total energy per inference [Joules/inf] (cpu): 8.64e-04
"""

TWO_DEVICES = """\
Layer (type)        |J/inf (cpu)|J/inf (my-cpu)
--------------------|-----------|--------------
input_3 (InputLayer)|          0|             0
dense_2 (Dense)     |    0.00086|         1e-05
===============================================
Total energy per inference [Joules/inf] (cpu): 8.64e-04
Total energy per inference [Joules/inf] (my-cpu): 1.03e-05"""


def test_summary(capsys):
    energy = keras_spiking.ModelEnergy(_page_model())
    energy.summary(line_length=80)
    printed = capsys.readouterr().out
    assert printed.startswith(SUMMARY)
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_registered_device(capsys):
    energy = keras_spiking.ModelEnergy(_page_model())
    keras_spiking.ModelEnergy.register_device(
        "my-cpu", energy_per_synop=1e-10, energy_per_neuron=2e-9, spiking=False
    )
    energy.summary(columns=("name", "energy cpu", "energy my-cpu"), line_length=80)
    assert capsys.readouterr().out.startswith(TWO_DEVICES)


def test_layer_stats(capsys):
    inp = keras.Input([None, 10])
    layer = keras.layers.TimeDistributed(keras.layers.Dense(5, "relu"))
    keras.Model(inp, [layer(inp)])
    print(keras_spiking.ModelEnergy.compute_layer_stats(layer))
    assert capsys.readouterr().out == "{'connections': 50, 'neurons': 5, 'spiking': False}\n"


def test_registered_layer(capsys):
    @keras_spiking.ModelEnergy.register_layer(keras.layers.UpSampling2D)
    def upsampling2d_stats(node):
        # note: ignore the batch dimension when computing output size
        output_size = np.prod(node.output_shapes[1:])
        return {"connections": output_size, "neurons": 0}

    inp = keras.Input([4, 4, 3])
    layer = keras.layers.UpSampling2D(size=(2, 2))
    model = keras.Model(inp, [layer(inp)])
    print(keras_spiking.ModelEnergy.compute_layer_stats(layer))
    assert capsys.readouterr().out == "{'connections': 192, 'neurons': 0}\n"
    assert keras_spiking.ModelEnergy(model).network.connections == 192


def test_statistics_under_their_old_names():
    inp = keras.Input((8, 8, 3))
    conv = keras.layers.Conv2D(4, 3, activation="relu")
    relu = keras.layers.ReLU()
    dense = keras.layers.Dense(5)
    out = dense(relu(conv(inp)))
    keras.Model(inp, out)
    seen = {}

    def remember(name):
        def statistics(node):
            seen[name] = node
            return {}

        return statistics

    for layer in (conv, relu, dense):
        keras_spiking.ModelEnergy.register_layer(type(layer))(remember(type(layer)))
        keras_spiking.ModelEnergy.compute_layer_stats(layer)
    conv_node, relu_node, dense_node = seen.values()
    assert model_energy.conv_stats(conv_node) == {
        "connections": 6 * 6 * 9 * 3 * 4,
        "neurons": 6 * 6 * 4,
        "spiking": False,
    }
    assert model_energy.act_stats(relu_node) == {
        "connections": 0,
        "neurons": 6 * 6 * 4,
        "spiking": False,
    }
    assert model_energy.dense_stats(dense_node)["connections"] == 6 * 6 * 4 * 5
    assert model_energy.spikingactivation_stats(relu_node)["neurons"] == 6 * 6 * 4
    assert model_energy.layer_stats(relu_node) == {"connections": 0, "neurons": 0, "spiking": True}


def test_time_distributed_statistics_ask_for_those_of_the_wrapped_layer():
    nodes = []

    @keras_spiking.ModelEnergy.register_layer(keras.layers.TimeDistributed)
    def statistics(node):
        nodes.append(node)
        return model_energy.timedistributed_stats(node)

    inp = keras.Input((None, 10))
    layer = keras.layers.TimeDistributed(keras.layers.Dense(5, "relu"))
    keras.Model(inp, layer(inp))
    assert keras_spiking.ModelEnergy.compute_layer_stats(layer) == {
        "connections": 50,
        "neurons": 5,
        "spiking": False,
    }
    assert nodes[0].layer is layer
    assert nodes[0].input_shapes == (None, None, 10)
    assert nodes[0].step_input_shapes == (None, 10)
    assert nodes[0].input_tensors[0] is inp
