"""Tests of estimates as dictionaries, records, tables and HTML."""

import io
import json

import keras
import numpy as np
import pandas as pd
import pytest

from kspike_energy import Layer, ModelEnergy, Network
from kspike_energy.devices.measured import measured_devices

ASSUMPTIONS = {
    "dt", "dt_from", "timesteps_per_inference", "timesteps_from",
    "batch_size", "events", "input_coding", "padding",
    "convention", "normalization",
    "time_axis",
}  # fmt: skip


@pytest.fixture
def energy(rng):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)]
    )
    return ModelEnergy(model, rng.random((5, 4)) * 100)


def test_dictionary(energy):
    data = energy.to_dict(["cpu", "loihi", "odin"], timesteps_per_inference=10)
    assert set(data["assumptions"]) == ASSUMPTIONS
    assert data["assumptions"]["timesteps_per_inference"] == 10
    assert data["devices"]["cpu"]["source"].startswith("Degnan")
    assert (data["connections"], data["neurons"]) == (18, 3)
    for name, total in data["totals"].items():
        parts = [layer["energy"][name]["total"] for layer in data["layers"]]
        assert sum(parts) == pytest.approx(total["energy"])
        assert total["low"] <= total["energy"] <= total["high"]
    assert data["totals"]["loihi"]["energy"] == energy.total_energy("loihi", 10)
    assert not data["totals"]["odin"]["neurons_included"]


def test_json_says_the_same(energy):
    data = json.loads(energy.to_json(["cpu", "loihi"], 5, dt=0.002))
    assert data["assumptions"]["dt"] == 0.002
    assert data["totals"] == energy.to_dict(["cpu", "loihi"], 5, dt=0.002)["totals"]


def test_records_for_pandas(energy):
    table = pd.DataFrame(energy.to_records(["cpu", "loihi"], timesteps_per_inference=10))
    assert set(table.columns) >= ASSUMPTIONS
    totals = table.groupby("device")["energy"].sum()
    assert totals["loihi"] == pytest.approx(energy.total_energy("loihi", 10))
    assert (table["energy"] == table["synop_energy"] + table["neuron_energy"]).all()
    assert list(table["connections"]) == [0, 12, 6] * 2


def test_devices_by_default():
    without = ModelEnergy(Network([Layer("a", 5)]))
    fitted = {device.name for device in measured_devices()}  # fitted devices need no rates
    assert {record["device"] for record in without.to_records()} == fitted | {
        "cpu", "gpu", "arm", "45nm-fp32", "45nm-fp16", "45nm-int8",
    }  # fmt: skip
    sized = ModelEnergy(Network([Layer("a", 5, output_shape=(None, 5))]))
    assert {record["device"] for record in sized.to_records()} == fitted | {
        "cpu", "gpu", "arm", "45nm-fp32", "45nm-fp16", "45nm-int8", "45nm-int32-sram",
    }  # fmt: skip
    with_rates = ModelEnergy(Network([Layer("a", 5, 5, rate=1.0)]))
    assert set(with_rates.to_dict()["totals"]) == set(ModelEnergy.devices)


def test_gaps_have_no_number():
    energy = ModelEnergy(Network([Layer("a", 5), Layer("odd", problem="nobody knows")]))
    data = energy.to_dict(["cpu"])
    assert data["left_out"] == ["odd"]
    assert data["layers"][1]["connections"] is None
    assert data["layers"][1]["energy"]["cpu"] is None
    assert energy.to_records(["cpu"])[1]["energy"] is None
    assert json.loads(energy.to_json(["cpu"]))["layers"][1]["problem"] == "nobody knows"


def test_notebook(energy):
    html = energy._repr_html_()
    assert ">Connections</th>" in html
    assert html.count("<tr>") == 5  # a header, three layers, a total
    assert " µJ</td>" in html or " nJ</td>" in html
    assert "<li>cpu: every connection once" in html
    assert "&lt;" not in repr(energy)


@pytest.mark.parametrize(
    ("steps", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_bad_timesteps(energy, steps, error):
    for function in (energy.total_energy, energy.energy_range):
        with pytest.raises(error, match=r"timesteps_per_inference must be"):
            function("cpu", steps)
    for function in (energy.to_dict, energy.to_records, energy.to_json):
        with pytest.raises(error, match=r"timesteps_per_inference must be"):
            function(["cpu"], steps)
    with pytest.raises(error, match=r"timesteps_per_inference must be"):
        energy.layer_energy("dense", "cpu", steps)
    with pytest.raises(error, match=r"timesteps_per_inference must be"):
        energy.summary(timesteps_per_inference=steps)


@pytest.mark.parametrize("layer", ["nothing", None, keras.layers.ReLU(name="stranger"), 3])
def test_unknown_layer(energy, layer):
    with pytest.raises(ValueError, match=r"layer must be a layer of 'sequential.*Received: "):
        energy.layer_energy(layer, "cpu")


def test_numpy_counts_are_plain_numbers(energy):
    assert all(type(layer.connections) is int for layer in energy.network.layers)
    assert type(energy.total_energy("loihi", np.int64(3))) is float


def test_tables_in_a_console_with_rich(energy):
    from rich.console import Console

    console = Console(width=200, record=True, file=io.StringIO())
    console.print(energy.compare(["cpu", "loihi"], timesteps=10))
    console.print(ModelEnergy.devices)
    text = console.export_text()
    assert "loihi" in text
    assert "Degnan" in text
