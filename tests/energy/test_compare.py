"""Devices side by side."""

import pytest

from kspike_energy import Layer, ModelEnergy, Network


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


def test_at_the_break_even_rate_both_devices_need_the_same(energy):
    comparison = energy.compare(["loihi", "spinnaker2", "odin"], timesteps=10, baseline="arm")
    assert len(comparison.layers) == 6
    for row in comparison.layers:
        layer = next(x for x in energy.network.layers if x.name == row.layer)
        same = Network([Layer("x", layer.connections, layer.neurons, rate=row.break_even_rate)])
        there = ModelEnergy(same)
        assert there.total_energy(row.device, 10) == pytest.approx(there.total_energy("arm"))
        assert row.wins == (row.rate < row.break_even_rate)


def test_unit_updates_alone_can_cost_too_much():
    energy = ModelEnergy(Network([Layer("a", 10, 1000, rate=0.1)], name="n"))
    comparison = energy.compare(["spinnaker2"], timesteps=100, baseline="gpu")
    assert comparison.layers[0].break_even_rate < 0
    assert not comparison.layers[0].wins
    assert "never" in str(comparison)


def test_quantised_break_even(energy):
    comparison = energy.compare(["loihi"], timesteps=10)
    assert comparison.quantised_bits == 4  # ⌈log2(11)⌉
    assert [row.beats_quantised for row in comparison.layers] == [False, True]  # 0.2 and 0.002
    assert [row.spikes_per_step for row in comparison.layers] == pytest.approx([0.2, 0.002])
    bits = [energy.compare(["cpu"], timesteps=t).quantised_bits for t in (1, 2, 3, 4, 7, 8)]
    assert bits == [1, 2, 2, 3, 3, 4]
    assert "covers 5 to 10 steps only" not in str(comparison)
    assert "covers 5 to 10 steps only" in str(energy.compare(["loihi"], timesteps=50))


def test_text(energy):
    text = str(energy.compare(["cpu", "loihi", "odin"], timesteps=10))
    lines = text.splitlines()
    assert lines[0] == "two: 10 steps of 0.001 s"
    assert "J/inf" in lines[1]
    assert "/ cpu" in lines[1]
    assert "odin (synops only)" in text
    assert "Break-even [Hz]" in text
    assert "arXiv 2409.08290" in text


def test_as_data(energy):
    comparison = energy.compare(["cpu", "loihi"], timesteps=10)
    data = comparison.to_dict()
    assert data["devices"][1]["device"] == "loihi"
    assert data["assumptions"]["timesteps_per_inference"] == 10
    records = comparison.to_records()
    assert records[1]["dt"] == 0.001
    assert "<td>loihi</td>" in comparison._repr_html_()


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
    with pytest.raises(ValueError, match=r"timesteps must be at least 1. Received: timesteps=0"):
        energy.compare(timesteps=0)
    with pytest.raises(
        TypeError, match=r"timesteps must be a whole number. Received: timesteps=1.5"
    ):
        energy.compare(timesteps=1.5)
