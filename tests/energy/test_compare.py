"""Tests of the comparison of devices."""

from dataclasses import replace

import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.presentation.comparison_data import DeviceEnergy, winners
from kspike_energy.registry import DEVICES
from kspike_energy.synapses import Synapses


@pytest.fixture
def energy():
    return ModelEnergy(
        Network([Layer("busy", 1000, 10, rate=200.0), Layer("calm", 500, rate=2.0)], name="two")
    )


def test_ratios_to_the_baseline(energy):
    comparison = energy.compare(["cpu", "gpu", "loihi"], timesteps=10, baseline="gpu")
    ratios = {device.device: device.ratio for device in comparison.devices}
    assert ratios["gpu"] == 1
    assert ratios["cpu"] == pytest.approx(8.6 / 0.3)
    loihi = energy.total_energy("loihi", 10)
    assert ratios["loihi"] == pytest.approx(loihi / energy.total_energy("gpu"))
    assert [device.device for device in energy.compare(baseline="arm").devices] == [
        "cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2",
    ]  # fmt: skip


def test_it_is_shown_in_one_line(energy):
    comparison = energy.compare(["cpu", "loihi"], timesteps=10)
    # 1,500 connections and 10 neurons at 8.6 nJ on a CPU; 2,010 events of 27.1 pJ and 100 updates
    # of 81 pJ on Loihi.
    assert repr(comparison) == "<Comparison of two: 10 steps of 1 ms: cpu 13 µJ, loihi 62.6 nJ>"
    many = energy.compare(["cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2", "odin"])
    assert repr(many).endswith(", 1 more>")


def test_at_the_break_even_rate_both_devices_need_the_same(energy):
    comparison = energy.compare(["loihi", "spinnaker2", "odin"], timesteps=10, baseline="arm")
    assert len(comparison.layers) == 6
    for row in comparison.layers:
        layer = next(x for x in energy.network.layers if x.name == row.layer)
        same = Network([Layer("x", layer.connections, layer.neurons, rate=row.break_even_rate)])
        there = ModelEnergy(same)
        assert there.total_energy(row.device, 10) == pytest.approx(there.total_energy("arm"))
        assert row.wins == (row.rate < row.break_even_rate)


@pytest.mark.parametrize("limit", [0.9, 1.1])
def test_who_wins_a_layer_whose_inputs_have_two_time_steps(limit):
    """A layer wins exactly if its energy is lower."""
    signals = [Synapses(100, 300.0, dt=0.001), Synapses(100, 20.0, dt=0.01)]
    joules = 10 * (100 * 0.3 + 100 * 0.2) * 1e-12 + 5 * 10 * 1e-12
    ModelEnergy.register_device("events", 1e-12, 1e-12, True)
    ModelEnergy.register_device("all", limit * joules / 200, 0.0, False)
    energy = ModelEnergy(Network([Layer("a", neurons=5, dt=0.001, synapses=[signals])]))
    comparison = energy.compare(["events"], timesteps=10, baseline="all")
    assert comparison.devices[0].energy == pytest.approx(joules)
    (row,) = comparison.layers
    assert row.wins == (limit > 1)
    assert row.spikes_per_step == pytest.approx(0.25)


def test_one_step_is_one_step(energy):
    assert str(energy.compare(["cpu"], timesteps=1)).startswith("two: 1 step of 1 ms\n")


def test_the_energy_of_a_baseline_without_a_row_is_stated(energy):
    alone = energy.compare(["loihi"], timesteps=10)
    note = "/ cpu: the ratio to 13 µJ, the energy on cpu."
    assert alone.baseline_energy == energy.total_energy("cpu") == pytest.approx(1510 * 8.6e-9)
    assert note in str(alone)
    assert note in alone._repr_html_()
    assert "the ratio to" not in str(energy.compare(["cpu", "loihi"], timesteps=10))


def test_numbers_below_a_million_have_no_exponent(energy):
    comparison = energy.compare(["cpu", "loihi", "45nm-int8"], timesteps=10, baseline="45nm-int8")
    assert f"{comparison.devices[0].ratio:.3g}" == "3.74e+04"
    assert "37400" in str(comparison)
    assert "e+0" not in str(comparison)
    assert "e+0" not in str(energy.compare(["loihi"], timesteps=10))


def test_unit_updates_alone_can_cost_too_much():
    energy = ModelEnergy(Network([Layer("a", 10, 1000, rate=0.1)], name="n"))
    comparison = energy.compare(["spinnaker2"], timesteps=100, baseline="gpu")
    assert comparison.layers[0].break_even_rate < 0
    assert not comparison.layers[0].wins
    assert "never" in str(comparison)


def test_quantised_break_even(energy):
    comparison = energy.compare(["loihi"], timesteps=10)
    assert comparison.quantised_bits == 4  # ⌈log2(11)⌉
    assert comparison.quantised.weight_bits == 8
    assert [row.beats_quantised for row in comparison.layers] == [False, True]  # 0.2 and 0.002
    assert [row.spikes_per_step for row in comparison.layers] == pytest.approx([0.2, 0.002])
    bits = [energy.compare(["cpu"], timesteps=t).quantised_bits for t in (1, 2, 3, 4, 7, 8)]
    assert bits == [1, 2, 2, 3, 3, 4]
    text = " ".join(str(energy.compare(["loihi"], timesteps=5, weight_bits=4)).split())
    assert "Break-even: 5.7% of the inputs spike in a step; 3.4% to 10.8% if one" in text
    assert "moving a spike 3.9% to 10.8%" in text
    assert "1 to 15 steps only" not in str(comparison)
    far = " ".join(str(energy.compare(["loihi"], timesteps=50)).split())
    assert "1 to 15 steps only" in far


def test_text(energy):
    text = str(energy.compare(["cpu", "loihi", "odin"], timesteps=10))
    lines = text.splitlines()
    assert lines[0] == "two: 10 steps of 1 ms"
    assert "Energy/inf" in lines[1]
    assert "/ cpu" in lines[1]
    assert "|     13 µJ|" in lines[3]
    assert "odin (synops only)" in text
    assert "Break-even [Hz]" in text
    assert "arXiv 2409.08290" in text


def test_layers_that_are_not_counted_are_named(energy):
    energy.network.layers.append(Layer("odd", problem="nobody knows"))
    comparison = energy.compare(["cpu", "loihi"], timesteps=10)
    assert "Not counted, and left out of all totals: odd" in str(comparison).splitlines()
    assert "Not counted, and left out of all totals: odd" in comparison._repr_html_()


def test_as_data(energy):
    comparison = energy.compare(["cpu", "loihi"], timesteps=10)
    data = comparison.to_dict()
    assert data["devices"][1]["device"] == "loihi"
    assert data["assumptions"]["timesteps_per_inference"] == 10
    assert data["quantised_bits"] == 4
    assert data["winners"][0]["side"] == "spiking"
    records = comparison.to_records()
    assert records[1]["dt"] == 0.001
    html = comparison._repr_html_()
    assert ">loihi</td>" in html
    assert ">13 µJ</td>" in html
    assert "Break-even with cpu" in html


def winner(energy, devices, **kwargs):
    (found,) = energy.compare(devices, timesteps=10, **kwargs).winners
    return found


def test_winner_by_one_model(energy):
    found = winner(energy, ["cpu", "gpu", "loihi"])
    assert (found.model, found.side) == ("operations", "spiking")
    assert (found.spiking.device, found.ordinary.device) == ("loihi", "gpu")
    assert found.factor == pytest.approx(found.ordinary.energy / found.spiking.energy)
    assert winner(energy, ["gpu", "spinnaker"]).side == "ordinary"
    assert winner(energy, ["gpu", "spinnaker2"]).side is None  # 453 nJ, and 239 nJ to 1.12 µJ
    assert energy.compare(["cpu", "gpu"]).winners == ()


def test_networks_that_need_nothing():
    def lines(*layers):
        return " ".join(str(ModelEnergy(Network(layers)).compare(["cpu", "loihi"])).split())

    idle = lines(Layer("a", rate=0.0))
    assert "By operations alone: loihi and cpu need 0 J each: no winner." in idle
    silent = lines(Layer("a", 1000, rate=0.0))
    assert "loihi (0 J) needs less than cpu (8.6 µJ): the spiking network wins." in silent
    (found,) = ModelEnergy(Network([Layer("a", rate=0.0)])).compare(["cpu", "loihi"]).winners
    assert (found.side, found.factor) == (None, 1.0)
    assert "inf times" not in idle + silent


def device(name, *readings, spiking=False):
    low, high = min(readings), max(readings)
    return DeviceEnergy(name, readings[0], low, high, 1.0, spiking, True, "memory", readings)


def test_winner_by_memory_needs_less_in_both_readings():
    def side(spiking, ordinary):
        (found,) = winners([device("s", *spiking, spiking=True), device("o", *ordinary)])
        return found.side

    assert side((5, 10), (6, 12)) == "spiking"  # the ranges overlap
    assert side((6, 12), (5, 10)) == "ordinary"
    assert side((5, 10), (12, 6)) is None  # less in only one reading


def test_readings_of_different_memories_are_not_compared():
    known = DEVICES._devices["45nm-int32-sram"]
    other = replace(known, name="mine", memory=replace(known.memory, queue=10))
    DEVICES._devices["mine"] = other
    energy = ModelEnergy(Network([Layer("x", 1000, 10, rate=100.0)]))
    names = ["45nm-int32-sram", "45nm-int32-sram-spiking"]
    assert all(len(one.readings) == 2 for one in energy.compare(names).devices)
    assert all(one.readings == () for one in energy.compare([*names[1:], "mine"]).devices)
    assert "readings" not in energy.compare(names).to_records()[0]


def test_models_side_by_side():
    layers = [
        Layer("busy", 1000, 10, rate=400.0),
        Layer("calm", 500, rate=300.0, output_shape=(None, 10)),
    ]
    comparison = ModelEnergy(Network(layers, name="two")).compare(
        models=["operations", "measured", "memory"], timesteps=10
    )
    assert [device.model for device in comparison.devices] == (
        ["operations"] * 6 + ["measured"] * 6 + ["memory"] * 2
    )
    assert [winner.model for winner in comparison.winners] == ["operations", "measured", "memory"]
    sides = {winner.model: winner.side for winner in comparison.winners}
    assert sides == {"operations": "spiking", "measured": None, "memory": "ordinary"}
    text = " ".join(str(comparison).split())
    assert (
        "The models disagree about the winner: spiking by operations alone, ordinary by "
        "operations and memory."
    ) in text
    assert "The models disagree" in comparison._repr_html_()
    # Break-even rates compare only devices of the same model.
    assert {row.device for row in comparison.layers} == {"loihi", "spinnaker", "spinnaker2"}


def test_models_besides_devices(energy):
    names = [d.device for d in energy.compare(["odin", "cpu"], models=["operations"]).devices]
    assert names == ["odin", "cpu", "gpu", "arm", "loihi", "spinnaker", "spinnaker2"]


def test_a_spiking_baseline_has_no_break_even(energy):
    comparison = energy.compare(["cpu", "loihi"], baseline="loihi")
    assert comparison.layers == ()
    assert "Break-even" not in str(comparison)


def test_bad_arguments(energy):
    with pytest.raises(ValueError, match=r"devices must name at least one device"):
        energy.compare([])
    with pytest.raises(ValueError, match=r"device must be one of.*'tpu'"):
        energy.compare(["tpu"])
    with pytest.raises(ValueError, match=r"device must be one of.*'tpu'"):
        energy.compare(baseline="tpu")
    with pytest.raises(ValueError, match=r"models must be one of.*did you mean 'memory'"):
        energy.compare(models=["memry"])
    with pytest.raises(ValueError, match=r"models must name at least one model"):
        energy.compare(models=[])
    for name in ("devices", "models"):
        with pytest.raises(TypeError, match=rf"{name} must be a list of names. Received: {name}="):
            energy.compare(**{name: "cpu"})
    with pytest.raises(ValueError, match=r"weight_bits must be at least 1"):
        energy.compare(weight_bits=0)
    with pytest.raises(ValueError, match=r"output_shape of layer 'calm' must be stated"):
        energy.compare(models=["memory"])
    with pytest.raises(ValueError, match=r"timesteps must be at least 1. Received: timesteps=0"):
        energy.compare(timesteps=0)
    with pytest.raises(
        TypeError, match=r"timesteps must be a whole number. Received: timesteps=1.5"
    ):
        energy.compare(timesteps=1.5)
