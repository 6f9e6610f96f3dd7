"""Tests of networks described by hand."""

import math

import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.synapses import Synapses


def by_hand():
    return Network(
        [
            Layer("hidden", 100_352, 128, rate=20.0, spiking=False, params=100_480),
            Layer("readout", 1280, rate=12.5, output_shape=(None, 10)),
        ],
        name="by hand",
    )


def test_energy():
    energy = ModelEnergy(by_hand())
    assert energy.total_energy("cpu") == pytest.approx((100_352 + 128 + 1280) * 8.6e-9)
    synops = (100_352 * 20 + 1280 * 12.5) * 0.001
    wanted = 50 * (synops * 27.1e-12 + 128 * 81e-12)
    assert energy.total_energy("loihi", timesteps_per_inference=50) == pytest.approx(wanted)
    assert energy.layer_energy("readout", "loihi")[1] == 0
    assert energy.layer_energy(energy.network.layers[1], "loihi")[1] == 0


def test_totals():
    network = by_hand()
    assert (network.connections, network.neurons) == (101_632, 128)
    assert repr(network.layers[1]) == "Layer('readout', connections=1280, neurons=0, spiking=True)"
    assert "by hand" in repr(ModelEnergy(network))


def test_synapses_by_application():
    layer = Layer("twice", synapses=[[Synapses(100, 1.0)], [Synapses(100, 10.0)]])
    assert layer.connections == 200
    assert layer.rate(0.001) == 5.5
    assert layer.synops(0.001) == pytest.approx(1.1)
    assert layer.operations is None


def test_a_rate_is_weighted_by_connections():
    layer = Layer("two inputs", synapses=[[Synapses(300, 1.0), Synapses(100, 5.0)]])
    assert layer.rate(0.001) == 2.0
    assert layer.connections * layer.rate(0.001) * 0.001 == pytest.approx(layer.synops(0.001))


def test_spiking_devices_need_rates():
    energy = ModelEnergy(Network([Layer("a", 10)]))
    energy.total_energy("cpu")
    with pytest.raises(ValueError, match=r"state all rates in the Network.*'loihi'.*layer 'a'"):
        energy.total_energy("loihi")
    with pytest.raises(ValueError, match=r"state all rates in the Network"):
        energy.summary_string(("name", "energy loihi"))


def test_a_layer_without_connections_needs_no_rate():
    energy = ModelEnergy(Network([Layer("a", 0, 5)]))
    assert energy.total_energy("loihi") == pytest.approx(5 * 81e-12)


def test_an_empty_network_costs_nothing():
    energy = ModelEnergy(Network([]))
    assert energy.total_energy("loihi") == 0
    assert math.isnan(energy.compare(["loihi"]).devices[0].ratio)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"connections": -1}, ValueError, "connections of layer 'a' must not be negative.*-1"),
        ({"neurons": 1.5}, TypeError, "neurons of layer 'a' must be a whole number.*1.5"),
        ({"params": True}, TypeError, "params of layer 'a' must be a whole number.*True"),
        ({"rate": -2.0}, ValueError, "rate of layer 'a' must be finite and not negative.*-2.0"),
        ({"rate": math.nan}, ValueError, "rate of layer 'a' must be finite.*nan"),
        ({"rate": "fast"}, TypeError, "rate of layer 'a' must be a number of Hz.*'fast'"),
    ],
)
def test_bad_layers(arguments, error, message):
    with pytest.raises(error, match=message):
        Layer("a", **arguments)


def test_bad_networks():
    with pytest.raises(TypeError, match=r"element of layers must be a kspike_energy.Layer.*'a'"):
        Network(["a"])
    with pytest.raises(ValueError, match=r"two layers are called 'a'"):
        Network([Layer("a"), Layer("a")])
    with pytest.raises(ValueError, match=r"example_data must be None for a Network.*list"):
        ModelEnergy(by_hand(), [1.0])


def test_reports_claim_nothing_about_what_was_described_by_hand():
    text = ModelEnergy(by_hand()).summary_string(("name", "energy loihi"), line_length=200)
    assert "Counts and rates are those stated in the Network." in text
    assert "coded as" not in text
    assert "padding" not in text
